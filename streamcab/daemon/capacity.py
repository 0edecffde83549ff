"""The number of streams that this machine can hear, from what the streams cost while they are heard.

The cost of a stream is the work of the loop for each second of its audio, averaged over the last seconds. It is
measured as the daemon runs, so it follows the model, the machine, and the machine's other load. Knows nothing of
individual streams: times and counts are passed in.
"""

from math import exp, inf

import numpy as np

SHARE = 0.9
"""Share of the loop's time that may be planned for: the rest is for bursts."""
FEW = 64
"""So many streams share passes that cost little more than those of one: what one costs says nothing of them."""
HELD = 0.25
"""Share of the audio taken in lately from which on what is held back hides the cost of a stream."""
MEMORY_S = 2.0
"""Seconds after which a measurement counts for a third of a new one."""


class Capacity:
    """The number of streams for which there is time.

    cost  seconds of work for each second of a stream; 0 until something was measured
    """

    def __init__(self) -> None:
        self.cost = 0.0
        self._then = self._waited = 0.0
        self._busy = self._computed = self._unpaced = self._dropped = 0.0
        # Sums that fade: work, seconds of streams, and audio that came and that was computed.
        self._sums = np.zeros(4)

    def expect(self, cost: float) -> None:
        """Begin with this cost, until streams were heard."""
        self.cost = cost

    def note(self, busy: float, computed: float, unpaced: float, dropped: float) -> None:
        """Record a turn of the loop; all in seconds.

        Args:
            busy: how long it took.
            computed: audio, and holes in it, that went through the net.
            unpaced: of this, audio of streams that have no pace.
            dropped: audio that it gave up.
        """
        self._busy += busy
        self._computed += computed
        self._unpaced += unpaced
        self._dropped += dropped

    def measure(self, now: float, streams: int, waiting: float, held: float = 0.0) -> None:
        """Close a stretch of turns.

        Args:
            now: monotonic time.
            streams: streams with a pace that are heard.
            waiting: seconds of audio that wait for a turn, of all these streams.
            held: seconds of audio that had their turn, and wait for what follows them before they are computed.
        """
        elapsed = now - self._then
        waiting += held
        arrived = max(self._computed + self._dropped + waiting - self._waited, 0.0)
        # A stream without a pace counts for as many as it keeps busy.
        self._sums *= exp(-elapsed / MEMORY_S)
        self._sums += self._busy, streams * elapsed + self._unpaced, arrived, self._computed
        busy, of_streams, came, computed = self._sums.tolist()
        self._then, self._waited = now, waiting
        self._busy = self._computed = self._unpaced = self._dropped = 0.0
        # Work on what is held back, as at the start of many streams, has not borne its fruit yet.
        if streams and computed > 0 and of_streams > 0 and held < HELD * (computed + held):
            # A stream that pauses brings less than a second of audio each second; one that catches up costs no more.
            self.cost = busy / computed * min(came / of_streams, 1.0)

    @property
    def streams(self) -> float:
        """Streams that can be heard at a time; infinite until something was measured."""
        return max(SHARE / self.cost, FEW) if self.cost > 0 else inf
