"""A worker of a rehearsal, in step with its pool: calls of the programme, under a clock that stops at each ticket.

Tickets come, and readings go back, over the socket on which calls would come. Knows nothing of what is assessed.
"""

import threading
from contextlib import suppress

import msgspec

from streamcab.soak.clock import RehearsalClock, weigh
from streamcab.soak.programme import TICK_S, PlannedCalls
from streamcab.workers.process import Orders

LOOK_S = 0.2


class Ticket(msgspec.Struct, frozen=True):
    """Leave to go on.

    Attributes:
        calls, period_s: The programme of all workers.
        wall: Unix time of its first tick.
        begin: Tick at which a worker begins that has just been started.
        until: Tick before which it stops.
    """

    calls: int
    period_s: float
    wall: float
    begin: int
    until: int


class Rehearsal:
    """The source and the clock of a worker with these orders."""

    def __init__(self, orders: Orders, stop: threading.Event) -> None:
        self._stop = stop
        self._socket = orders.sockets.ports().rtp[0]
        self._socket.settimeout(LOOK_S)
        first = self._until = self._ticket()
        assert first is not None, "ended before it began"
        self.source = PlannedCalls(first.calls, first.period_s, orders.index - 1, orders.workers)
        self.clock = RehearsalClock(self._due, first.begin, first.wall)

    def _due(self, number: int, now: float) -> None:
        self.source.tick(number, now)
        if self._until is None or number + 1 < self._until.until:
            return
        self._socket.send(msgspec.json.encode(weigh((number + 1) * TICK_S / 3600)))
        self._until = self._ticket()

    def _ticket(self) -> Ticket | None:
        """Wait for the next ticket; None at the end."""
        while not self._stop.is_set():
            with suppress(TimeoutError):
                return msgspec.json.decode(self._socket.recv(1024), type=Ticket)
        return None
