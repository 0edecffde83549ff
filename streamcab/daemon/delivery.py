"""Hands answers and statuses to the reporter when they are due: by a stream's own time, by the clock, or at its end.

Knows nothing of sources that begin, of threads, or of how a message is published.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from streamcab.clock import Clock
from streamcab.daemon.admission import Admission
from streamcab.daemon.passes import PassRunner
from streamcab.daemon.reporter import Reporter
from streamcab.daemon.streams import Live, StreamTable
from streamcab.inference.answer import Standings
from streamcab.inference.cadence import Due
from streamcab.inference.reading import Reading
from streamcab.inference.slots import Slots
from streamcab.source import GONE

STATUS_S = 1.0
"""Seconds between two statuses of a stream, and of the daemon."""


class Delivery:
    """Delivers what `passes` computed of the streams of a table.

    `moved`: the streams whose source has changed its state, of which nobody has been told yet; any thread appends.
    """

    def __init__(
        self,
        streams: StreamTable,
        passes: PassRunner,
        reporter: Reporter,
        admission: Admission,
        clock: Clock,
        delay: int,
    ) -> None:
        """`delay`: of the net, in intervals."""
        self._streams, self._passes, self._reporter = streams, passes, reporter
        self._admission, self._clock, self._delay = admission, clock, delay
        self.moved: deque[Live] = deque()

    def by_stream(self, answers: Sequence[Due]) -> None:
        """Deliver the answers of a pass that fell due by the streams' own time, in order."""
        now = self._clock.monotonic()
        for due in answers:
            reading = due.reading
            # Position of the network's input at the newest interval of this answer.
            intervals = reading.seen + self._delay
            self._predict(reading, self._streams.standings(reading.slots, now, intervals, due.power))

    def by_clock(self, slots: Slots, every_s: float, visit_s: float) -> list[Live]:
        """Deliver the due answers of paced streams among `slots`, if there is news, and the last ones of all that end.

        Args:
            slots: of the streams that a pass has heard.
            every_s: seconds between two answers of a stream.
            visit_s: seconds between two passes for a stream.

        Returns:
            The streams that have ended.
        """
        now, streams = self._clock.monotonic(), self._streams
        finished = streams.finished[slots]
        untold = slots[(streams.told[slots] <= now - STATUS_S) & ~finished]
        # Half a visit early counts as due: the next visit would be half a visit late.
        in_time = streams.due[slots] <= now + visit_s / 2
        due = slots[streams.paced[slots] & streams.news[slots] & in_time | finished]
        if len(due):
            streams.news[due] = False
            streams.due[due] = np.maximum(streams.due[due] + every_s, now)
            self._predict(self._passes.read(due), streams.standings(due, now))
        if len(untold):
            self.statuses(untold)
        return streams.of(slots[finished])

    def statuses(self, slots: Slots) -> None:
        """Deliver the statuses of these streams."""
        self._passes.examine(slots, self._clock.monotonic())
        self._reporter.statuses(slots)

    def moves(self) -> None:
        """Deliver changes of sources at once: without audio, no prediction would carry them."""
        moved: dict[int, Live] = {}
        while self.moved:
            live = self.moved.popleft()
            if self._streams.has(live):
                moved[live.slot] = live
        if not moved:
            return
        slots = np.array(list(moved), np.intp)
        for live in moved.values():
            if live.line.state in GONE:
                live.state = "lost"
        self._streams.news[slots], self._streams.due[slots] = True, 0.0
        self.statuses(slots)

    def _predict(self, reading: Reading, standings: Standings) -> None:
        """Deliver answers, and the statuses of streams whose state they have changed."""
        changed = self._reporter.predictions(reading, standings)
        self._admission.judge(self._streams.of(reading.slots), self._clock.monotonic())
        if changed:
            self.statuses(np.array([live.slot for live in changed]))
