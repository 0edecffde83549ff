"""`bench calls --ramp`: more and more calls, up to three times what the machine carries, and few again.

Knows nothing of how calls are sent or heard: see calls.py.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from streamcab.bench.calls import Run, Serving
from streamcab.bench.report import Report
from streamcab.bench.traffic import Plan, Traffic
from streamcab.errors import SourceError

SHARES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 0.5)
"""Calls offered in each stretch, as multiples of the number that the machine carries."""
SETTLE_S = 5.0
"""At the beginning of each stretch, in which calls join."""
INTERVAL_S = 0.025


@dataclass(frozen=True)
class Level:
    """A stretch of a ramp, without its first seconds.

    offered   calls that were sent                      heard    streams that the daemon had, on average
    goodput   seconds of audio classified each second   p99_ms   from a packet to its prediction
    waiting   whether new calls waited                  resting  whether streams rested in turns
    """

    offered: int
    heard: float
    goodput: float
    p99_ms: float
    waiting: bool
    resting: bool


@dataclass(frozen=True)
class Ramp:
    """A ramp. early_lost_ms: what calls lost in their first 30 s. back_s: how long the end of the load took to pass."""

    levels: Sequence[Level]
    early_lost_ms: float
    calls: int
    refused: int
    back_s: float
    report: Report

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)

    @property
    def least(self) -> float:
        """The smallest goodput from the peak of it on, while the load rises, as a share of that peak."""
        rising = [level.goodput for level in self.levels[:-1]]
        peak = int(np.argmax(rising))
        return min(rising[peak:]) / rising[peak] if rising[peak] else 0.0


def measure(
    traffic: Traffic,
    serving: Serving,
    say: Callable[[str], None] = lambda _: None,
    shares: Sequence[float] = SHARES,
) -> Ramp:
    """Run a ramp around `traffic.streams` calls, each stretch for `traffic.seconds`. SourceError as in calls.py."""
    levels = [max(round(share * traffic.streams), 1) for share in shares]
    traffic = replace(traffic, streams=max(levels), seconds=traffic.seconds * len(levels), levels=levels)
    plan = Plan(traffic)
    with tempfile.TemporaryDirectory(prefix="streamcab-bench") as folder:
        run = Run(traffic, plan, serving, Path(folder), say)
        report = run.run()
    probe, length = run.probe, plan.frames * plan.frame_s / len(levels)
    if not probe.statuses:
        raise SourceError("the daemon said nothing of itself")
    found = [
        _level(run, offered, run.start + i * length + min(SETTLE_S, length / 2), run.start + (i + 1) * length)
        for i, offered in enumerate(levels)
    ]
    end = run.start + (len(levels) - 1) * length
    back = next((at - end for at, status in probe.statuses if at >= end and not status.detail), np.inf)
    refused = probe.statuses[-1][1].counters.get("refused-overload", 0)
    return Ramp(found, float(probe.early_lost_ms.sum()), plan.calls, refused, float(back), report)


def _level(run: Run, offered: int, since: float, until: float) -> Level:
    statuses = [status for at, status in run.probe.statuses if since <= at < until]
    latencies = run.probe.latencies(run.start, run.heard_from, since=since, until=until)
    return Level(
        offered,
        heard=float(np.mean([status.streams for status in statuses])) if statuses else 0.0,
        goodput=float(np.mean([status.intervals_per_s for status in statuses])) * INTERVAL_S
        if statuses
        else 0.0,
        p99_ms=float(np.percentile(latencies, 99)) if len(latencies) else float("nan"),
        waiting=any("for the machine to have time" in status.detail for status in statuses),
        resting=any("rest in turns" in status.detail for status in statuses),
    )


def text(ramp: Ramp) -> str:
    """Format it for people, as a table in Markdown."""
    lines = [
        "| calls offered | streams | goodput, s of audio each s | p99, ms | rest in turns | wait |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {level.offered} | {level.heard:.0f} | {level.goodput:.0f} | {level.p99_ms:.0f} | "
        f"{'yes' if level.resting else 'no'} | {'yes' if level.waiting else 'no'} |"
        for level in ramp.levels
    ]
    lines += [
        "",
        f"goodput beyond its peak: at least {ramp.least:.0%} of it",
        f"calls never heard: {ramp.refused} of {ramp.calls}",
        f"lost in the first 30 s of calls: {ramp.early_lost_ms:.0f} ms",
        f"back to normal {ramp.back_s:.1f} s after the load",
    ]
    return "\n".join(lines)
