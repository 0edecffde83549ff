"""What an intake tells of its calls. Plain values."""

from dataclasses import dataclass

from streamcab.rtp.bank import ScatterBank
from streamcab.rtp.rtcp import Name


@dataclass(frozen=True)
class CallStarted:
    """A call has left probation."""

    slot: int
    generation: int
    bank: ScatterBank
    host: str
    port: int
    ssrc: int
    local: int
    """Index of the socket."""
    kind: int
    """Payload type of its newest packet."""


@dataclass(frozen=True)
class CallEnded:
    """A call is over; its samples stay until the slot is released."""

    slot: int
    generation: int
    reason: str


@dataclass(frozen=True)
class CodecChanged:
    """A call sends another payload type from now on."""

    slot: int
    kind: int


@dataclass(frozen=True)
class SourceChanged:
    """A call goes on under another SSRC."""

    slot: int
    ssrc: int


@dataclass(frozen=True)
class FlawFound:
    """What is wrong with the packets of a call: a name and words. Without words it is wrong no more."""

    slot: int
    name: str
    words: str


Event = CallStarted | CallEnded | CodecChanged | SourceChanged | FlawFound | Name
