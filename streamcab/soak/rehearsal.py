"""Rehearses a day: clock, daemon and subscriber on one thread.

The clock jumps from one moment at which something is due to the next, so hours pass as fast as they can be computed.
In each jump the programme is played, the feed is read, and once in a while the process is weighed. Knows nothing of
what the programme plays but that each period is the one before.
"""

import threading
import time
from collections.abc import Callable

from streamcab.daemon.loop import Daemon
from streamcab.daemon.settings import Settings
from streamcab.errors import ConfigError
from streamcab.feed import Subscriber
from streamcab.nn.backend import Backend
from streamcab.nn.checkpoint import Checkpoint
from streamcab.soak.clock import RehearsalClock, weigh
from streamcab.soak.programme import TICK_S, PlannedCalls, Tape
from streamcab.soak.report import SETTLED, Findings, Report

EVERY_S = 0.5
SAMPLES = 4
"""Times per period that the process is weighed."""


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
    """Rehearse `hours` of the clock with a microphone and `calls` calls at a time.

    Raises:
        ConfigError: Nothing could be compared.
    """
    periods = periods_of(hours, period_s)
    tape, line = Tape(), PlannedCalls(calls, period_s)
    wall, stop = time.time(), threading.Event()
    found, every = Findings(period_s, periods, wall, say), round(period_s / TICK_S / SAMPLES)

    def due(number: int, now: float) -> None:
        tape.tick(number, now)
        line.tick(number, now)
        found.read(feed.drain())
        at_s = (number + 1) * TICK_S
        if (number + 1) % every == 0:
            # A visitor comes and goes: a subscriber must leave nothing behind.
            with Subscriber(daemon.endpoint):
                found.visitors += 1
            found.weigh(weigh(at_s / 3600), line.begun)
        if at_s >= periods * period_s:
            stop.set()

    slots = 2 * calls + 4
    settings = Settings("tcp://127.0.0.1:*", every_s=EVERY_S, budget_ms=1250 * EVERY_S, max_streams=slots)
    clock = RehearsalClock(due, wall=wall)
    daemon = Daemon(checkpoint, [tape, line], settings, backend(slots), clock=clock)
    say("   clock          RSS   fds  threads  calls")
    with Subscriber(daemon.endpoint) as feed:
        daemon.run(stop, await_subscriber_s=10)
        ended = feed.recv(0.5)
        found.read([m for m in (ended, *feed.drain()) if m is not None])
        missed = feed.missed
    return found.report(
        clock_s=float(found.status.uptime_s) if found.status else 0.0,
        audio_s=line.heard_s(periods) + periods * period_s,
        calls=line.begun,
        missed=missed,
        most_growth_mb=most_growth_mb,
    )
