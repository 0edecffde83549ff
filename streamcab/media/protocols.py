"""The protocols by the first part of the path that names them."""

from streamcab.media.asterisk import Asterisk
from streamcab.media.audiohook import AudioHook
from streamcab.media.exotel import Exotel
from streamcab.media.freeswitch import FreeSwitch, Jambonz
from streamcab.media.plivo import Plivo
from streamcab.media.serializer import Serializer
from streamcab.media.telnyx import Telnyx
from streamcab.media.twilio import Twilio
from streamcab.media.vonage import Vonage

WEBSOCKET: dict[str, type[Serializer]] = {
    kind.name: kind
    for kind in (Twilio, Vonage, Telnyx, Plivo, Exotel, Jambonz, FreeSwitch, Asterisk, AudioHook)
}


def protocol_of(path: str) -> type[Serializer] | None:
    """Return the protocol of `/twilio`, `/twilio/anything` and so on; None if the path names none."""
    first, _, _ = path.removeprefix("/").partition("/")
    return WEBSOCKET.get(first) if path.startswith("/") else None
