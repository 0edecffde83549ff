"""The interface of a protocol to the server: a base class with the usual answers, and the opening request.

Knows nothing of sockets: headers and queries are plain dictionaries here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from streamcab.media.events import Event, Malformed, Start


@dataclass(frozen=True)
class Handshake:
    """The opening request of a connection.

    path     as it arrived, without the query
    query    as it arrived, without the question mark
    params   the query's names and values, the last of each name
    headers  by lower-case name, the first of each name
    peer     the other end's address
    """

    path: str
    query: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""
    serial: int = 0
    """Number of the connection, for calls that have no id of their own."""


class Serializer:
    """One connection: messages in, events out. Malformed for a message that is not of the protocol."""

    name: ClassVar[str] = ""
    """As in the path of the address and in the names of calls."""
    subprotocols: ClassVar[frozenset[str]] = frozenset()
    """WebSocket subprotocols that it answers to."""
    pings: ClassVar[bool] = True
    """Whether the platform bears the server's pings."""
    lookback_s: ClassVar[float] = 0.0
    """How late a message may be, in seconds of audio."""
    strict: ClassVar[bool] = False
    """Whether one malformed message makes the rest unreadable."""
    largest: ClassVar[int] = 262_144
    """Bytes of a message, or of what a byte stream brings at once."""
    stops: ClassVar[bool] = True
    """Whether the end of a call is said before the connection closes, so that a mere close is a break."""

    def __init__(self, shake: Handshake) -> None:
        self.shake = shake
        self.started: Start | None = None

    def opened(self) -> Sequence[Event]:
        """Return the events of the opening request alone."""
        return ()

    def text(self, data: bytes) -> Sequence[Event]:
        """Read a text message, as UTF-8."""
        raise Malformed("a text message")

    def binary(self, data: bytes) -> Sequence[Event]:
        """Read a binary message."""
        raise Malformed("a binary message")

    def hung_up(self, code: int) -> bool:
        """Return whether a connection that closed with this code is a finished call, not a broken one."""
        return not self.stops and code == 1000

    def begin(self, start: Start) -> Start:
        """Remember the announcement. Malformed if there was one before."""
        if self.started is not None:
            raise Malformed("a second start")
        self.started = start
        return start

    def unnamed(self) -> str:
        """Return an id for a call whose platform gives none: the connection's number."""
        return f"{self.shake.serial:06d}"
