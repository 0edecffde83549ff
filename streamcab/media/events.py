"""The events that a serializer reports of one connection, whichever protocol it speaks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

CODECS = ("PCMU", "PCMA", "L16LE", "L16BE", "L16")
"""G.711, and 16-bit samples: little-endian, big-endian, or in an order that the samples must tell."""
RATES = frozenset(
    {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000, 176400, 192000}
)
"""Sampling rates that a platform may announce, in Hz."""


class Malformed(ValueError):
    """A message violates the protocol. The text says how, and contains nothing of the message."""


@dataclass(frozen=True)
class Start:
    """A call begins, or goes on over another connection.

    call         the platform's id of the call; the same after a reconnect
    tracks       names of the directions or parties, each a stream of its own
    interleaved  the tracks are the channels of one payload, sample by sample
    labels       what the platform says of the call, such as custom parameters
    numbers      telephone numbers, `from` and `to`: kept apart, since they are personal
    """

    call: str
    tracks: tuple[str, ...]
    codec: str
    rate: int
    interleaved: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)


class Audio(NamedTuple):
    """Some audio of a track, or of all tracks if they are interleaved.

    `at_ms`: time of its first sample on the protocol's own clock; None where the protocol has none.
    """

    track: int
    payload: bytes
    at_ms: int | None = None


@dataclass(frozen=True)
class Gap:
    """Audio of all tracks that will never come."""

    seconds: float


@dataclass(frozen=True)
class Digit:
    """A key that was pressed. It is counted, and not kept: keys can be a card's number."""


@dataclass(frozen=True)
class Reply:
    """A text message that the protocol owes the platform."""

    text: str


@dataclass(frozen=True)
class Stop:
    """The call is over."""

    reason: str


Event = Start | Audio | Gap | Digit | Reply | Stop
