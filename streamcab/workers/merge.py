"""The statuses of workers as the status of one daemon. Pure functions."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from streamcab.message import DAEMON, DaemonStatus


@dataclass
class Ended:
    """The counts of workers that have ended, so that no sum ever falls."""

    lost_ms: float = 0.0
    counters: Counter[str] = field(default_factory=Counter)

    def add(self, status: DaemonStatus) -> None:
        """Add the last status of a worker that has ended."""
        self.lost_ms += status.lost_ms
        self.counters.update(status.counters)


def merged(
    statuses: Sequence[DaemonStatus],
    ended: Ended,
    counters: Iterable[tuple[str, int]],
    details: Iterable[str],
    *,
    time: float,
    uptime_s: float,
) -> DaemonStatus:
    """Return one status: sums of streams, rates, losses and counters, the longest pass, and every detail once.

    Args:
        statuses: The newest status of each worker that runs.
        ended: Sums of the workers before them.
        counters: Counters of the process that runs the workers.
        details: What that process has to say; it comes first.
        time: Unix time in s.
        uptime_s: Age of the daemon in s.
    """
    sums = Counter(ended.counters)
    for status in statuses:
        sums.update(status.counters)
    for name, n in counters:
        sums[name] += n
    said = [*details, *(part for s in statuses for part in s.detail.split("; "))]
    return DaemonStatus(
        stream=DAEMON,
        time=time,
        streams=sum(s.streams for s in statuses),
        pass_ms=max((s.pass_ms for s in statuses), default=0.0),
        intervals_per_s=round(sum(s.intervals_per_s for s in statuses), 1),
        lost_ms=round(ended.lost_ms + sum(s.lost_ms for s in statuses), 1),
        uptime_s=round(uptime_s, 1),
        counters=dict(sums),
        detail="; ".join(dict.fromkeys(filter(None, said))),
    )
