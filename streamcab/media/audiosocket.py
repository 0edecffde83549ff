"""Asterisk's AudioSocket: a byte stream over TCP of type (1 byte), length (2 bytes, big-endian) and payload.

https://docs.asterisk.org/Configuration/Channel-Drivers/AudioSocket/
"""

import uuid
from collections.abc import Iterator, Sequence

from streamcab.media.events import Audio, Digit, Event, Malformed, Start, Stop
from streamcab.media.serializer import Handshake, Serializer

HANG_UP, ID, DTMF, ERROR = 0x00, 0x01, 0x03, 0xFF
RATES = dict(zip(range(0x10, 0x19), (8, 12, 16, 24, 32, 44.1, 48, 96, 192), strict=True))
"""kHz of 16-bit little-endian samples, by type."""
SILENCE = b"\x10\x01\x40" + bytes(320)
"""20 ms of it: sent while nothing comes, since Asterisk ends a call that neither side uses for 2 s."""


class AudioSocket(Serializer):
    """One connection. The call begins with the first audio, which tells the rate."""

    name = "audiosocket"
    strict = True
    stops = False

    def __init__(self, shake: Handshake) -> None:
        super().__init__(shake)
        self._id = ""
        self._type = 0
        self._rest = b""

    def stream(self, data: bytes) -> Iterator[Event]:
        """Read whatever has come from the network, cut anywhere."""
        data = self._rest + data if self._rest else data
        at, n = 0, len(data)
        while n - at >= 3:
            end = at + 3 + (data[at + 1] << 8 | data[at + 2])
            if end > n:
                break
            kind, payload = data[at], data[at + 3 : end]
            at = end
            yield from self._message(kind, payload)
        self._rest = data[at:]

    def hung_up(self, code: int) -> bool:
        """Return whether a silent close ends the call: Asterisk says nothing and closes."""
        return True

    def _message(self, kind: int, payload: bytes) -> Sequence[Event]:
        if kind in RATES:
            return self._audio(kind, payload)
        if kind == ID:
            if len(payload) != 16 or self._id:
                raise Malformed("an id of another length than 16 bytes, or a second one")
            self._id = str(uuid.UUID(bytes=payload))
            return ()
        if kind == DTMF:
            return (Digit(),)
        if kind == HANG_UP:
            return (Stop("hung up"),)
        if kind == ERROR:
            return (Stop("Asterisk reported an error"),)
        raise Malformed("a message of an unknown type")

    def _audio(self, kind: int, payload: bytes) -> Sequence[Event]:
        if not self._id:
            raise Malformed("audio before the call's id")
        audio = Audio(0, payload)
        if kind == self._type:
            return (audio,)
        if self.started is not None:
            raise Malformed("audio of another type than before")
        if kind == 0x10 and len(payload) == 160:
            raise Malformed("G.711 under the type of 16-bit samples: dial AudioSocket with c(slin)")
        self._type = kind
        rate = round(RATES[kind] * 1000)
        return (self.begin(Start(self._id, ("caller",), "L16LE", rate)), audio)
