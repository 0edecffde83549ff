"""Rehearses a pool of workers: its own processes, proxy and feed, with calls and clocks that keep in step.

A worker is killed in the second period, and its calls begin anew; whatever that leaves behind would grow from then on.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from streamcab.config.setting import build
from streamcab.config.tree import Listen
from streamcab.daemon.settings import Settings
from streamcab.errors import ConfigError, WorkerError
from streamcab.feed import Subscriber
from streamcab.message import DaemonStatus
from streamcab.rtp.ports import Ports
from streamcab.soak.clock import Weight, weigh
from streamcab.soak.programme import TICK_S, PlannedCalls
from streamcab.soak.rehearsal import EVERY_S, SAMPLES, periods_of
from streamcab.soak.report import Findings, Report
from streamcab.soak.worker import Ticket
from streamcab.workers.base import Beside
from streamcab.workers.pool import WorkerPool

PROGRAM = "streamcab.cli.soak_worker"
STEP = 25
"""Ticks between two tickets: what they make the workers say fits into any queue of the feed."""
KILL_AT = 1.5
"""Periods after which a worker is killed."""
ANSWER_S = 180.0
"""How long a worker may take for a step; one that was killed must load first."""
QUIET_S = 1.0


def rehearse_pool(
    options: dict[str, object],
    *,
    workers: int,
    hours: float,
    calls: int,
    period_s: float,
    most_growth_mb: float,
    say: Callable[[str], None],
) -> Report:
    """Rehearse `hours` of the clock with `calls` calls at a time in so many workers; see `rehearse`.

    Args:
        options: Settings of `listen` that say what computes.

    Raises:
        ConfigError: Nothing could be compared.
        WorkerError: A worker does not start, or does not answer.
    """
    if calls < workers:
        raise ConfigError(f"{calls} calls leave some of {workers} workers without any; add --calls {workers}")
    periods = periods_of(hours, period_s)
    programme, wall = PlannedCalls(calls, period_s), time.time()
    total, every = round(periods * period_s / TICK_S), round(period_s / TICK_S / SAMPLES)
    found = Findings(period_s, periods, wall, say)

    say("   clock          RSS   fds  threads    workers, and this process")
    with _pool(options, workers, 2 * calls + 4) as (pool, sockets), Subscriber(pool.endpoint) as feed:
        killed, at, next_weight = False, 0, every
        while at < total:
            before, at = at, min(at + STEP, total)
            for sock in sockets:
                sock.send(msgspec.json.encode(Ticket(calls, period_s, wall, before, at)))
            each = [_answer(sock, number) for number, sock in enumerate(sockets, 1)]
            found.read(feed.drain())
            if at >= next_weight:
                next_weight += every
                found.weigh(_sum([*each, weigh(at * TICK_S / 3600)]))
            if not killed and at * TICK_S >= KILL_AT * period_s:
                killed = True
                _kill_one(pool)
        while (message := feed.recv(QUIET_S)) is not None:
            found.read([message, *feed.drain()])
            if isinstance(message, DaemonStatus) and not feed.drain():
                break
        missed = feed.missed
    report = found.report(
        clock_s=total * TICK_S,
        audio_s=programme.heard_s(periods),
        calls=programme.planned * periods,
        missed=missed,
        most_growth_mb=most_growth_mb,
    )
    assert found.status is not None, "the pool never told how it is"
    if (restarts := found.status.counters["worker-restarts"]) != 1:
        report.failures.append(f"workers were started again {restarts} times; one was killed")
    return report


@contextmanager
def _pool(
    options: dict[str, object], workers: int, streams: int
) -> Iterator[tuple[WorkerPool, list[socket.socket]]]:
    """Run a pool, with a socket to each worker."""
    pairs = [_pair() for _ in range(workers)]
    # A worker has its share of max_streams.
    given = {**options, "rtp": ("127.0.0.1:0",), "every": EVERY_S, "max_streams": streams * workers}
    settings = Settings("tcp://127.0.0.1:*", every_s=EVERY_S, max_streams=streams * workers)
    ports = [Ports.of([theirs], [], ["a rehearsal"]) for _, theirs in pairs]
    pool = WorkerPool(build(Listen, given), settings, ports, {"threads": 1}, Beside("rehearsal"), PROGRAM)
    stop, died = threading.Event(), list[BaseException]()

    def body() -> None:
        try:
            pool.run(stop)
        except BaseException as error:
            died.append(error)

    thread = threading.Thread(target=body, name="pool")
    thread.start()
    try:
        yield pool, [ours for ours, _ in pairs]
    except WorkerError:
        if died:
            raise died[0] from None
        raise
    finally:
        stop.set()
        thread.join()
        for ours, _ in pairs:
            ours.close()


def _pair() -> tuple[socket.socket, socket.socket]:
    """Make two sockets of the loopback that hear each other only."""
    ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for sock in (ours, theirs):
        sock.bind(("127.0.0.1", 0))
    ours.connect(theirs.getsockname())
    theirs.connect(ours.getsockname())
    ours.settimeout(ANSWER_S)
    return ours, theirs


def _answer(sock: socket.socket, number: int) -> Weight:
    try:
        return msgspec.json.decode(sock.recv(1024), type=Weight)
    except OSError as error:
        raise WorkerError(f"worker {number} does not answer: {error}", 1) from None


def _kill_one(pool: WorkerPool) -> None:
    """Kill a worker that waits for a ticket, and wait until the pool has noticed."""
    pid = pool.pids[0]
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + ANSWER_S
    while pid in pool.pids and time.monotonic() < until:
        time.sleep(0.05)


def _sum(each: Sequence[Weight]) -> Weight:
    return Weight(
        each[-1].hours,
        round(sum(w.rss_mb for w in each), 2),
        sum(w.descriptors for w in each),
        sum(w.threads for w in each),
    )
