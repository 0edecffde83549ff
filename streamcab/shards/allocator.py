"""Allocation of calls to shards: the least loaded one, counting calls that were promised and have not come yet.

Pure but for tokens; the caller passes the time. Knows nothing of HTTP or of Ray.
"""

import secrets
import threading
from dataclasses import dataclass, field

LEASE_S = 10.0
"""How long a promised call counts before its first packet: after that it is a stream, or did not come."""


@dataclass
class Place:
    """A shard as callers see it.

    state    `loading`, `serving`, `draining`, `mute` or `lost`
    rtp      addresses for RTP, HOST:PORT
    streams  calls that it hears                most  calls that it can hear
    """

    index: int
    state: str = "loading"
    rtp: list[str] = field(default_factory=list)
    streams: int = 0
    most: int = 0
    draining: bool = False
    promised: dict[str, float] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """Return the state, with the operator's wish."""
        return "draining" if self.draining and self.state == "serving" else self.state


@dataclass(frozen=True)
class Allocation:
    """The place of a call: a shard's address and port; `token` names the promise."""

    address: str
    port: int
    shard: int
    token: str


class Allocator:
    """The places of all shards; methods may be called from any thread."""

    def __init__(self, count: int) -> None:
        self.places = [Place(k) for k in range(1, count + 1)]
        self._lock = threading.Lock()

    def allocate(self, now: float) -> Allocation | None:
        """Promise a place for a call at monotonic `now`; None if no shard has room."""
        with self._lock:
            for place in self.places:
                place.promised = {token: until for token, until in place.promised.items() if until > now}
            open_ = [p for p in self.places if p.said == "serving" and p.rtp and _load(p) < p.most]
            if not open_:
                return None
            place = min(open_, key=lambda p: (_load(p) / p.most, p.index))
            token = secrets.token_urlsafe(16)
            place.promised[token] = now + LEASE_S
            host, _, port = place.rtp[0].rpartition(":")
            return Allocation(host.strip("[]"), int(port), place.index, token)

    def release(self, token: str) -> bool:
        """Take back a promise whose call will not come; return whether it still stood."""
        with self._lock:
            return any(place.promised.pop(token, None) is not None for place in self.places)

    def drain(self, index: int, on: bool) -> bool:
        """Stop or resume allocating to a shard; return whether there is one of this number."""
        with self._lock:
            for place in self.places:
                if place.index == index:
                    place.draining = on
                    return True
        return False


def _load(place: Place) -> int:
    return place.streams + len(place.promised)
