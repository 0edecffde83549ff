"""The protocol of sinks: what they are given, and what they return. Knows nothing of queues or of networks."""

from dataclasses import dataclass
from typing import Protocol

import msgspec

from streamcab.calls import Call


class Event(msgspec.Struct, frozen=True):
    """The JSON object that a sink sends: a call that has ended, or one that goes on.

    Attributes:
        id: The same at each try, so that receivers can drop duplicates.
        type: call.ended or call.update.
        run: Of the daemon, as in the feed.
        call: As streamcab.calls.Call.
    """

    id: str
    type: str
    run: str
    call: Call


@dataclass(frozen=True)
class Parcel:
    """One event on its way to one sink."""

    row: int
    uid: str
    type: str
    body: bytes
    born: float
    tries: int


@dataclass(frozen=True)
class Letter:
    """A parcel that was given up, with the last reason."""

    sink: str
    uid: str
    body: bytes
    born: float
    tries: int
    error: str


@dataclass(frozen=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True)
class Later:
    """It did not work, and may work later; the receiver may have said when."""

    why: str
    after_s: float = 0.0


@dataclass(frozen=True)
class Refused:
    """It will never work: the receiver does not want it."""

    why: str


Outcome = Delivered | Later | Refused


class Sink(Protocol):
    """Delivers parcels, one at a time, in one thread of its own. Returns what became of it; never raises."""

    name: str

    def deliver(self, parcel: Parcel) -> Outcome:
        """Send one parcel, for some seconds at most."""

    def close(self) -> None:
        """Give its connection back."""
