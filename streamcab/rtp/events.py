"""The events of an intake, as plain values."""

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
    channel: int = 0
    """The channel that is a call of its own, from 1; 0 for all of them."""


@dataclass(frozen=True)
class CallEnded:
    """A call has ended; its samples stay until the slot is released."""

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
    """A call continues under another SSRC."""

    slot: int
    ssrc: int


@dataclass(frozen=True)
class FlawFound:
    """A flaw of the packets of a call: a name and words. Empty words mean that the flaw is gone."""

    slot: int
    name: str
    words: str


Event = CallStarted | CallEnded | CodecChanged | SourceChanged | FlawFound | Name
