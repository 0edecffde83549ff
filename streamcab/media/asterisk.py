"""Asterisk's chan_websocket: one text, plain or JSON, then the codec's bytes.

https://docs.asterisk.org/Configuration/Channel-Drivers/WebSocket/
"""

from collections.abc import Sequence

from streamcab.media.events import Audio, Digit, Event, Malformed, Start
from streamcab.media.fields import json_object, labels_of, object_at, text_at
from streamcab.media.serializer import Serializer

FORMATS = {
    "ulaw": ("PCMU", 8000),
    "alaw": ("PCMA", 8000),
    "slin": ("L16LE", 8000),
    "slin12": ("L16LE", 12000),
    "slin16": ("L16LE", 16000),
    "slin24": ("L16LE", 24000),
    "slin32": ("L16LE", 32000),
    "slin44": ("L16LE", 44100),
    "slin48": ("L16LE", 48000),
    "slin96": ("L16LE", 96000),
    "slin192": ("L16LE", 192000),
}
"""Asterisk's name of a format: codec and rate."""


class Asterisk(Serializer):
    """One direction of one channel."""

    name = "asterisk"
    subprotocols = frozenset({"media"})
    # A ping hung up the call, until asterisk/asterisk#1722.
    pings = False
    stops = False

    def text(self, data: bytes) -> Sequence[Event]:
        """See Serializer."""
        event, told = self._read(data)
        if event == "DTMF_END":
            return (Digit(),)
        if event != "MEDIA_START":
            return ()
        name = text_at(told, "format")
        if name not in FORMATS:
            raise Malformed("a format that streamcab does not take over a WebSocket; ask Asterisk for slin16")
        codec, rate = FORMATS[name]
        labels = {"channel": text_at(told, "channel"), "channel_id": text_at(told, "channel_id")}
        return (
            self.begin(
                Start(
                    call=text_at(told, "connection_id", "channel_id") or self.unnamed(),
                    tracks=("caller",),
                    codec=codec,
                    rate=rate,
                    labels=labels_of(
                        {k: v for k, v in labels.items() if v}, object_at(told, "channel_variables")
                    ),
                )
            ),
        )

    def binary(self, data: bytes) -> Sequence[Event]:
        """See Serializer."""
        if self.started is None:
            raise Malformed("audio before its description")
        return (Audio(0, data),)

    @staticmethod
    def _read(data: bytes) -> tuple[str, dict[str, object]]:
        """Read the event and its fields, from JSON or from `EVENT name:value name:value`."""
        if data.lstrip().startswith(b"{"):
            told = json_object(data)
            return text_at(told, "event"), told
        try:
            event, *pairs = data.decode().split()
        except ValueError:
            raise Malformed("neither JSON nor words") from None
        return event, {name: value for name, colon, value in (p.partition(":") for p in pairs) if colon}
