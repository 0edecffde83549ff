"""Rehearses a day: clock, daemon and subscriber on one thread, with measurements and a verdict.

The clock jumps from one moment at which something is due to the next, so hours pass as fast as they can be computed.
In each jump the programme is played, the feed is read, and once in a while the process is weighed. Knows nothing of
what the programme plays but that each period is the one before.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamcab.daemon.loop import Daemon
from streamcab.daemon.settings import Settings
from streamcab.errors import ConfigError
from streamcab.feed import Subscriber
from streamcab.message import AnyMessage, DaemonStatus, Prediction
from streamcab.nn.backend import Backend
from streamcab.nn.checkpoint import Checkpoint
from streamcab.soak.clock import RehearsalClock, Weight, weigh
from streamcab.soak.programme import TAPE_RATE, TICK_S, PlannedCalls, Tape, identity

EVERY_S = 0.5
SAME = 1e-5
"""Probabilities that differ by less are the same: what the order of sums in a batch may change."""
WARM_S = 90.0
"""At a stream's start the window and the normaliser have heard less than they will: no answer of then repeats."""
SAMPLES = 4
"""Times per period that the process is weighed."""
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
        """By how much `what` of Weight grows in an hour of the clock, once all has settled: least squares."""
        settled = [w for w in self.weights if w.hours * 3600 >= SETTLED * self.period_s]
        if len(settled) < 3:
            return 0.0
        hours = np.array([w.hours for w in settled])
        values = np.array([float(getattr(w, what)) for w in settled])
        return float(np.polyfit(hours, values, 1)[0])


class Answers:
    """The answers of the first and of the last period, so that they can be laid side by side."""

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


def periods_of(hours: float, period_s: float) -> int:
    """Return the number of whole periods. ConfigError if they are too few to be compared."""
    periods = int(hours * 3600 / period_s + 1e-9)
    if periods < SETTLED + 2:
        raise ConfigError(
            f"{hours:g} h are {periods} periods of {period_s:g} s; {SETTLED + 2} at least are needed"
        )
    return periods


def rehearse(
    checkpoint: Checkpoint,
    backend: Callable[[int], Backend],
    *,
    hours: float,
    calls: int,
    period_s: float,
    most_growth_mb: float,
    say: Callable[[str], None],
) -> Report:
    """`hours` of the clock with a microphone and `calls` calls at a time. ConfigError for what cannot be compared."""
    periods = periods_of(hours, period_s)
    tape, line = Tape(), PlannedCalls(calls, period_s)
    answers, stop = Answers(period_s, periods), threading.Event()
    weights: list[Weight] = []
    counted = {"messages": 0, "visitors": 0}
    last: list[DaemonStatus] = []
    every = round(period_s / TICK_S / SAMPLES)

    def read(messages: Sequence[AnyMessage], now_s: float) -> None:
        counted["messages"] += len(messages)
        for message in messages:
            if isinstance(message, Prediction):
                answers.take(message, now_s)
            elif isinstance(message, DaemonStatus):
                last[:] = [message]

    def due(number: int, now: float) -> None:
        tape.tick(number, now)
        line.tick(number, now)
        at_s = (number + 1) * TICK_S
        read(feed.drain(), at_s)
        if (number + 1) % every == 0:
            # A visitor comes and goes: a subscriber must leave nothing behind.
            with Subscriber(daemon.endpoint):
                counted["visitors"] += 1
            weights.append(weigh(at_s / 3600))
            w = weights[-1]
            say(f"{w.hours:8.2f} h  {w.rss_mb:8.1f} MB  {w.descriptors:4d}  {w.threads:4d}  {line.begun:7d}")
        if at_s >= periods * period_s:
            stop.set()

    clock, began = RehearsalClock(due), time.monotonic()
    slots = 2 * calls + 4
    settings = Settings("tcp://127.0.0.1:*", every_s=EVERY_S, budget_ms=1250 * EVERY_S, max_streams=slots)
    daemon = Daemon(checkpoint, [tape, line], settings, backend(slots), clock=clock)
    say("   clock          RSS   fds  threads  calls")
    with Subscriber(daemon.endpoint) as feed:
        daemon.run(stop, await_subscriber_s=10)
        ended = feed.recv(0.5)
        read([m for m in (ended, *feed.drain()) if m is not None], periods * period_s)
        missed = feed.missed
    engine_s = float(last[0].uptime_s) if last else 0.0
    report = Report(
        hours=round(engine_s / 3600, 2),
        audio_hours=round(line.heard_s(periods) / 3600 + periods * period_s / 3600, 2),
        wall_s=round(time.monotonic() - began, 1),
        calls=line.begun,
        messages=counted["messages"],
        missed=missed,
        lost_ms=last[0].lost_ms if last else 0.0,
        visitors=counted["visitors"],
        compared=answers.compared,
        difference=answers.difference,
        weights=weights,
        most_growth_mb=most_growth_mb,
        period_s=period_s,
    )
    report.failures = judge(report, answers.odd)
    return report


def judge(report: Report, odd: Sequence[str]) -> list[str]:
    """The failures; empty if the rehearsal went well."""
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
    """The report for people."""
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
