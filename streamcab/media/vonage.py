"""Vonage's Voice WebSocket: one text that says the rate, then 16-bit samples. The audio is the mix of all parties.

https://developer.vonage.com/voice/voice-api/concepts/websockets
"""

from collections.abc import Sequence

from streamcab.media.events import Audio, Digit, Event, Malformed, Start
from streamcab.media.fields import json_object, labels_of, numbers_of, rate_of, text_at
from streamcab.media.serializer import Serializer

CALL = ("call_uuid", "uuid", "conversation_uuid", "call_id", "callId", "call")
"""What customers call the call's id, which Vonage sends only if it is asked to."""


class Vonage(Serializer):
    """The first text contains the customer's own headers beside Vonage's."""

    name = "vonage"
    stops = False

    def text(self, data: bytes) -> Sequence[Event]:
        """See Serializer."""
        found = json_object(data)
        event = found.get("event")
        if event == "websocket:dtmf":
            return (Digit(),)
        if event != "websocket:connected":
            return ()
        kind, _, rate = text_at(found, "content-type").partition(";rate=")
        if kind != "audio/l16":
            raise Malformed("a content type other than audio/l16")
        own = {k: v for k, v in found.items() if k not in ("event", "content-type", "from", "to")}
        named = {**self.shake.params, **own}
        return (
            self.begin(
                Start(
                    call=text_at(named, *CALL) or self.unnamed(),
                    tracks=("mix",),
                    codec="L16LE",
                    rate=rate_of(rate),
                    labels=labels_of(own),
                    numbers=numbers_of(found),
                )
            ),
        )

    def binary(self, data: bytes) -> Sequence[Event]:
        """See Serializer."""
        if self.started is None:
            raise Malformed("audio before its description")
        return (Audio(0, data),)
