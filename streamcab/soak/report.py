"""What a rehearsal finds, and the verdict on it.

Knows nothing of how a rehearsal is run, nor of the programme but that each period is the one before.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamcab.message import AnyMessage, DaemonStatus, Prediction
from streamcab.soak.clock import Weight
from streamcab.soak.programme import TAPE_RATE, identity

SAME = 1e-5
"""Probabilities that differ by less are the same: what the order of sums in a batch may change."""
WARM_S = 90.0
"""At a stream's start the window and the normaliser have heard less than they will: no answer of then repeats."""
SETTLED = 2
"""Periods after which nothing may grow: retained messages and caches have filled by then."""


@dataclass
class Report:
    """The result of a rehearsal. `hours` are the clock's, `audio_hours` those of all streams together."""

    hours: float
    audio_hours: float
    wall_s: float
    calls: int
    messages: int
    missed: int
    lost_ms: float
    visitors: int
    compared: int
    difference: float
    weights: list[Weight]
    most_growth_mb: float
    period_s: float
    failures: list[str] = field(default_factory=list)

    def slope(self, what: str) -> float:
        """Return the growth of `what` of Weight in an hour of the clock, once all has settled: least squares."""
        settled = [w for w in self.weights if w.hours * 3600 >= SETTLED * self.period_s]
        if len(settled) < 3:
            return 0.0
        hours = np.array([w.hours for w in settled])
        values = np.array([float(getattr(w, what)) for w in settled])
        return float(np.polyfit(hours, values, 1)[0])


class Answers:
    """Compares the answers of the last period with those of the first."""

    def __init__(self, period_s: float, periods: int) -> None:
        self._period_s, self._last = period_s, periods - 1
        self._first: dict[tuple[object, ...], dict[str, float]] = {}
        self.compared, self.difference = 0, 0.0
        self.odd: list[str] = []

    def take(self, p: Prediction, now_s: float) -> None:
        call = identity(p.stream)
        if call is None:
            period, at = divmod(p.sample, round(self._period_s * TAPE_RATE))
            key: tuple[object, ...] = ("microphone", at)
            if at < WARM_S * TAPE_RATE:
                return
        elif p.state == "ended":
            period, key = int(now_s // self._period_s), call
        else:
            return
        if period == 0:
            self._first[key] = p.probs
        elif period == self._last and key in self._first:
            before = self._first[key]
            self.compared += 1
            if before.keys() != p.probs.keys():
                self.difference = 1.0
                self.odd.append(f"{key}: {before} became {p.probs}")
                return
            apart = max((abs(before[label] - p.probs[label]) for label in before), default=0.0)
            self.difference = max(self.difference, apart)
            if apart > SAME:
                self.odd.append(f"{key}: differs by {apart:.2g}")


class Findings:
    """Collects what is heard of a rehearsal and what it weighs, until its report.

    Args:
        period_s: Seconds of a period.
        periods: Number of periods.
        wall: Unix time of the first tick.
        say: Receives a line for each weight.

    Attributes:
        visitors: Subscribers that came and went.
        status: The newest status of the daemon.
    """

    def __init__(self, period_s: float, periods: int, wall: float, say: Callable[[str], None]) -> None:
        self._answers, self._weights = Answers(period_s, periods), list[Weight]()
        self._period_s, self._wall, self._say, self._began = period_s, wall, say, time.monotonic()
        self._messages = self.visitors = 0
        self.status: DaemonStatus | None = None

    def read(self, messages: Iterable[AnyMessage]) -> None:
        """Take messages of the feed, in order."""
        for message in messages:
            self._messages += 1
            if isinstance(message, Prediction):
                self._answers.take(message, message.time - self._wall)
            elif isinstance(message, DaemonStatus):
                self.status = message

    def weigh(self, w: Weight, calls: int | None = None) -> None:
        """Take a weight, with the calls that have come so far if they are counted."""
        self._weights.append(w)
        come = "" if calls is None else f"  {calls:7d}"
        self._say(f"{w.hours:8.2f} h  {w.rss_mb:8.1f} MB  {w.descriptors:4d}  {w.threads:4d}{come}")

    def report(
        self, *, clock_s: float, audio_s: float, calls: int, missed: int, most_growth_mb: float
    ) -> Report:
        """Return the report, judged.

        Args:
            clock_s: Seconds of the clock.
            audio_s: Seconds of all streams together.
            calls: Calls that came and went.
            missed: Messages that never reached the subscriber.
            most_growth_mb: Largest acceptable growth of memory.
        """
        found = Report(
            hours=round(clock_s / 3600, 2),
            audio_hours=round(audio_s / 3600, 2),
            wall_s=round(time.monotonic() - self._began, 1),
            calls=calls,
            messages=self._messages,
            missed=missed,
            lost_ms=self.status.lost_ms if self.status else 0.0,
            visitors=self.visitors,
            compared=self._answers.compared,
            difference=self._answers.difference,
            weights=self._weights,
            most_growth_mb=most_growth_mb,
            period_s=self._period_s,
        )
        found.failures = judge(found, self._answers.odd)
        return found


def judge(report: Report, odd: Sequence[str]) -> list[str]:
    """Return the failures; empty if the rehearsal went well."""
    found = [f"answers changed: {text}" for text in odd[:5]]
    if not report.compared:
        found.append("no answer of the last period had its like in the first")
    if report.missed:
        found.append(f"{report.missed} messages never reached the subscriber")
    growth = report.slope("rss_mb") * report.hours
    if growth > report.most_growth_mb:
        found.append(f"memory grows: {growth:.1f} MB over the whole, by its slope")
    settled = [w for w in report.weights if w.hours * 3600 >= SETTLED * report.period_s]
    return found + [
        f"{what} grow: {getattr(settled[0], what)} became {getattr(settled[-1], what)}"
        for what in ("descriptors", "threads")
        if getattr(settled[-1], what) > getattr(settled[0], what)
    ]


def text(report: Report) -> str:
    """Return the report for people."""
    first, last = report.weights[0], report.weights[-1]
    rows = [
        f"{report.hours:g} h of the clock, {report.audio_hours:g} h of audio in {report.wall_s:.0f} s: "
        f"{report.calls} calls came and went, {report.visitors} subscribers too",
    ]
    for name, what in (("RSS, MB", "rss_mb"), ("descriptors", "descriptors"), ("threads", "threads")):
        before, after = getattr(first, what), getattr(last, what)
        rows.append(f"{name:<12} {before:8g} -> {after:8g}   slope {report.slope(what):+.4f} an hour")
    rows += [
        f"feed         {report.messages} messages, {report.missed} missed",
        f"answers      {report.compared} of the last period compared with the first: "
        f"largest difference {report.difference:.1g}",
        *(f"FAILED       {failure}" for failure in report.failures),
    ]
    return "\n".join([*rows, "well" if not report.failures else "NOT WELL"])
