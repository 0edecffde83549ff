"""Payload types as text: `97=opus/48000/2` on a command line, or the lines of an SDP file (RFC 8866).

Knows nothing of packets or sockets.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from streamcab.errors import ConfigError, SourceError
from streamcab.rtp.codec import NAMES, STATIC, Encoding
from streamcab.rtp.decoder import available
from streamcab.rtp.packet import Fate
from streamcab.rtp.payload import PayloadTypes

SPECIAL = {"TELEPHONE-EVENT": Fate.EVENT, "CN": Fate.COMFORT_NOISE}


@dataclass
class TypeMap:
    """The meaning of payload type numbers: audio, or a known type without audio."""

    encodings: dict[int, Encoding] = field(default_factory=dict)
    special: dict[int, Fate] = field(default_factory=dict)
    endpoints: list[str] = field(default_factory=list)
    """Destinations of the audio in an SDP, as `host:port`."""

    def update(self, other: "TypeMap") -> None:
        """Merge another map into this one; its entries take precedence."""
        for number in (*other.encodings, *other.special):
            self.encodings.pop(number, None)
            self.special.pop(number, None)
        self.encodings |= other.encodings
        self.special |= other.special
        self.endpoints += other.endpoints


def _meaning(number: int, text: str) -> TypeMap:
    """Parse `opus/48000/2` to a map of one entry. The text of a ValueError names the fault."""
    name, *rest = text.strip().split("/")
    name = name.upper()
    if not 0 <= number < 128:
        raise ValueError("a payload type is a number from 0 to 127")
    if 64 <= number < 96:
        raise ValueError("payload types 64 to 95 cannot be distinguished from RTCP")
    if name in SPECIAL:
        return TypeMap(special={number: SPECIAL[name]})
    if name not in NAMES:
        raise ValueError(f"no codec {name!r} here; there are {', '.join(NAMES)}")
    if len(rest) > 2 or not all(part.isascii() and part.isdigit() for part in rest):
        raise ValueError("write name/clock or name/clock/channels")
    clock = int(rest[0]) if rest else {"OPUS": 48000}.get(name, 8000)
    channels = int(rest[1]) if len(rest) > 1 else 1
    wanted = {"OPUS": 48000, "G722": 8000}.get(name, clock)
    if clock != wanted:
        raise ValueError(f"the RTP clock of {name} is {wanted} Hz")
    if not 4000 <= clock <= 192000:
        raise ValueError("the clock must be 4000 to 192000 Hz")
    if not 1 <= channels <= 32:
        raise ValueError("there must be 1 to 32 channels")
    # Opus always declares 2 channels (RFC 7587 section 7); its decoder returns one.
    return TypeMap(encodings={number: Encoding(name, clock, 1 if name in ("OPUS", "G722") else channels)})


def parse_types(entries: Iterable[str] | Mapping[int, str]) -> TypeMap:
    """Parse texts such as `97=opus/48000/2`, or {97: "opus/48000/2"}. ConfigError for an invalid one."""
    if isinstance(entries, Mapping):
        entries = [f"{number}={text}" for number, text in entries.items()]
    types = TypeMap()
    for entry in entries:
        number, _, text = entry.partition("=")
        try:
            if not number.strip().isdigit():
                raise ValueError("write NUMBER=NAME/CLOCK/CHANNELS")
            types.update(_meaning(int(number), text))
        except ValueError as error:
            raise ConfigError(f"payload type {entry!r}: {error}, as in 97=opus/48000/2") from None
    return types


def parse_sdp(text: str, origin: str = "SDP") -> TypeMap:
    """Return the audio formats of a session description. Formats without a codec here are left out: their packets
    are counted as unknown. ConfigError if it holds no audio that can be decoded, or is not an SDP.
    """
    types = TypeMap()
    session_host = host = ""
    port, offered = 0, set[int]()
    audio = seen = False

    def close() -> None:
        if audio and port:
            types.endpoints.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    for line in text.splitlines():
        kind, equals, value = line.strip().partition("=")
        words = value.split()
        if not equals or len(kind) != 1 or not words:
            continue
        if kind == "m":
            close()
            audio, seen, host = words[0] == "audio", True, session_host
            offered = {int(word) for word in words[3:] if word.isascii() and word.isdigit()}
            port = (
                int(words[1].partition("/")[0])
                if len(words) > 1 and words[1].partition("/")[0].isdigit()
                else 0
            )
            if audio:
                types.encodings |= {n: STATIC[n] for n in offered & STATIC.keys() - types.encodings.keys()}
        elif kind == "c" and len(words) == 3:
            host = words[2].partition("/")[0]
            session_host = session_host if seen else host
        elif kind == "a" and audio and value.startswith("rtpmap:"):
            number, _, meaning = value.removeprefix("rtpmap:").partition(" ")
            if number.isascii() and number.isdigit() and int(number) in offered:
                try:
                    types.update(_meaning(int(number), meaning))
                except ValueError:
                    types.encodings.pop(int(number), None)
    close()
    if not types.encodings:
        what = "holds no audio that can be decoded here" if seen else "is no session description: no m= line"
        raise ConfigError(f"{origin}: {what}")
    return types


def decodable(wanted: TypeMap) -> PayloadTypes:
    """Return the static payload types with those of a map, marked as missing where PyAV is.

    Raises:
        SourceError: The map names a codec that needs PyAV, which is not installed.
    """
    have = available()
    asked = sorted({e.name for e in wanted.encodings.values() if e.stateful})
    if asked and not have:
        raise SourceError(
            f"{' and '.join(asked)} cannot be decoded without PyAV: `pip install streamcab[codecs]`"
        )
    encodings = {k: v for k, v in STATIC.items() if k not in wanted.special} | wanted.encodings
    missing = frozenset() if have else frozenset(e.name for e in encodings.values() if e.stateful)
    return PayloadTypes(encodings, wanted.special, missing, guess=True)
