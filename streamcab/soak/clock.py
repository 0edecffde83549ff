"""The clock of a rehearsal, and readings of a process at moments of it. Knows nothing of what is rehearsed."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streamcab.soak.programme import TICK_S


@dataclass(frozen=True)
class Weight:
    """Memory and files of the process at one moment of the rehearsal."""

    hours: float
    rss_mb: float
    descriptors: int
    threads: int


class RehearsalClock:
    """Time that passes only when somebody waits.

    Args:
        due: Is called at each tick with its number and the time.
        begin: Number of the first tick.
        wall: Unix time of tick 0; now unless given.
        tick_s: Seconds of a tick.
    """

    def __init__(
        self,
        due: Callable[[int, float], None],
        begin: int = 0,
        wall: float | None = None,
        tick_s: float = TICK_S,
    ) -> None:
        self._due, self._tick_s = due, tick_s
        self._zero = time.monotonic()
        self._wall = time.time() if wall is None else wall
        self.ticks = begin
        self._passed = begin * tick_s

    def monotonic(self) -> float:
        """See Clock."""
        return self._zero + self._passed

    def time(self) -> float:
        """See Clock."""
        return self._wall + self._passed

    def sleep(self, seconds: float) -> None:
        """See Clock."""
        until = self._passed + max(seconds, 1e-3)
        while (self.ticks + 1) * self._tick_s <= until:
            self._passed = (self.ticks + 1) * self._tick_s
            self._due(self.ticks, self.monotonic())
            self.ticks += 1
        self._passed = max(self._passed, until)

    def wait(self, event: threading.Event, seconds: float) -> None:
        """See Clock."""
        if not event.is_set():
            self.sleep(seconds)


def weigh(hours: float) -> Weight:
    """Weigh this process, now."""
    words = Path("/proc/self/statm").read_text(encoding="utf-8").split()
    rss = int(words[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return Weight(hours, round(rss, 2), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))
