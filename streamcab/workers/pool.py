"""The workers of one daemon: processes that share its ports, started, watched, started again and ended.

To the outside a pool is a daemon: one feed, one status, one process that systemd watches. A worker that dies is
replaced; its calls are said to have ended, and those that go on begin anew. Its sockets stay open here, so the kernel
gives every other call to the same worker as before. Knows nothing of audio or of options.
"""

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streamcab.calls import Told
from streamcab.config.setting import build, values_of
from streamcab.config.tree import Listen
from streamcab.errors import FeedError, WorkerError
from streamcab.feed import Publisher
from streamcab.feed.proxy import Proxy
from streamcab.message import DaemonStatus, decode
from streamcab.ops.notify import Supervisor
from streamcab.rtp.ports import Ports
from streamcab.rtp.reuseport import Shared
from streamcab.workers.entries import Entries
from streamcab.workers.farewell import farewells, publish_farewells
from streamcab.workers.merge import Ended, merged
from streamcab.workers.names import SharedNames
from streamcab.workers.process import Orders, Worker, packed

if TYPE_CHECKING:
    from streamcab.daemon.settings import Settings

log = logging.getLogger("streamcab.workers")

EPOCH = 1 << 32
"""Numbers of messages that a worker has for itself: 3 years of one stream's predictions every 25 ms."""
STATUS_S = 1.0
LOOK_S = 0.05
END_S = 3.0
"""How long the workers have for their last messages; systemd waits 5 s for all of it."""
LASTS_S = 10.0
"""A worker that has served for so long is started again at once, another after a pause that grows"""
MOST_S = 30.0
"""to this."""
SAID_S = 60.0
"""How long the status names a worker that was started again."""


@dataclass
class _Place:
    """The possessions of a worker that outlive its process."""

    index: int
    endpoint: str
    ports: Ports
    names: SharedNames
    worker: Worker | None = None
    starts: int = 0
    pause_s: float = 0.0
    due: float = 0.0
    news: str = ""
    news_at: float = 0.0


@dataclass(frozen=True)
class Beside:
    """What the pool gives its workers, or adds to their reports.

    Attributes:
        run: Identifies the daemon in the feed.
        told: Takes the events of calls, for a store and sinks.
        counters: Of the parts of this process.
        systemd: Is notified of the state of all.
        status: Takes the status of all, in place of the feed.
        floor: Numbers of messages begin above it.
        suffix: Ending of the names of streams.
    """

    run: str
    told: Told | None = None
    counters: Sequence[Callable[[], Mapping[str, int]]] = field(default_factory=tuple)
    systemd: Supervisor | None = None
    status: Callable[[DaemonStatus], object] | None = None
    floor: int = 0
    suffix: str = ""


class WorkerPool:
    """The daemon of these ports, one worker for each. `run` needs its own thread.

    Args:
        options: The settings of `listen`.
        settings: What they come to in a single daemon.
        ports: The sockets of each worker.
        threads: Threads of the network in each.
        beside: See there.

    Attributes:
        endpoint: The endpoint of the feed, as bound.
        settings: May be replaced while it runs.
        pids: The processes of the workers.

    Raises:
        FeedError: The feed cannot be bound.
    """

    def __init__(
        self, options: Listen, settings: "Settings", ports: Sequence[Ports], threads: int, beside: Beside
    ) -> None:
        self.settings = settings
        self._beside, self._threads = beside, threads
        self._share = ceil(settings.max_streams / len(ports))
        self._options = self._for_workers(options)
        self._began = time.monotonic()
        self._ended, self._restarts = Ended(), 0
        self._entries = Entries(beside.told or (lambda _: None))
        self._folder = Path(tempfile.mkdtemp(prefix="streamcab-"))
        names = self._folder / "names"
        names.mkdir()
        self._places = [
            _Place(k, f"ipc://{self._folder}/{k}.ipc", each, SharedNames(names, k))
            for k, each in enumerate(ports, 1)
        ]
        own = f"ipc://{self._folder}/0.ipc"
        try:
            self._feed = Publisher(own, beside.run, floor=beside.floor)
            self._proxy = Proxy(
                settings.endpoint,
                [own, *(place.endpoint for place in self._places)],
                keys=settings.keys,
                ipc_group=settings.ipc_group,
            )
        except FeedError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self.endpoint = self._proxy.endpoint
        self._news: list[Listen] = []

    @property
    def pids(self) -> list[int]:
        """See the class."""
        return [place.worker.pid for place in self._places if place.worker is not None]

    def retune(self, options: Listen) -> None:
        """Give the workers these settings, and those started from now on; from any thread."""
        self._news.append(options)

    def run(self, stop: threading.Event, await_subscriber_s: float = 0.0, subscribers: int = 1) -> None:
        """Serve until `stop`; `Daemon` has the same. WorkerError: a worker could not start in the first place."""
        next_status = 0.0
        try:
            for place in self._places:
                self._start(place)
            while not stop.wait(LOOK_S):
                now = time.monotonic()
                while self._news:
                    self._apply(self._news.pop(0))
                for place in self._places:
                    self._look(place, now)
                self._poll()
                if now >= next_status:
                    next_status = now + STATUS_S
                    self._report(now)
        finally:
            self._end()

    # -- workers ---------------------------------------------------------------------------------------------

    def _for_workers(self, options: Listen) -> Listen:
        """The settings of a worker, of a daemon with these."""
        own = {"max_streams": self._share, "threads": self._threads}
        return build(Listen, values_of(options) | own)

    def _apply(self, options: Listen) -> None:
        self._options = self._for_workers(options)
        for place in self._places:
            if place.worker is not None:
                place.worker.retune(self._options)

    def _start(self, place: _Place) -> None:
        ports = place.ports
        orders = Orders(
            index=place.index,
            run=self._beside.run,
            floor=self._beside.floor + EPOCH * place.starts,
            endpoint=place.endpoint,
            names=str(self._folder / "names"),
            words=-1,
            sockets=Shared(
                [s.fileno() for s in ports.rtp], [s.fileno() for s in ports.rtcp], list(ports.bound)
            ),
            tells=self._beside.told is not None,
            suffix=self._beside.suffix,
            settings=packed(self._options),
        )
        place.starts += 1
        place.worker = Worker(orders, self._folder, self._share, self._entries.of(place.index))

    def _look(self, place: _Place, now: float) -> None:
        """Notice what has become of a worker; start it again if it is time."""
        worker = place.worker
        if worker is None:
            if now >= place.due:
                self._start(place)
            return
        worker.look(now)
        if worker.code is None:
            return
        if not worker.ready and place.starts == 1:
            worker.close()
            place.worker = None
            raise WorkerError(
                worker.error or f"worker {place.index} did not start: {worker.reason()}", worker.code
            )
        calls = self._bury(place, worker)
        lasted = worker.ready and now - worker.began > LASTS_S
        place.pause_s = 0.0 if lasted else min(max(2 * place.pause_s, 1.0), MOST_S)
        place.due, place.news_at = now + place.pause_s, now
        self._restarts += 1
        place.news = (
            f"worker {place.index} was started again: {worker.reason()}; calls that began anew: {calls}"
        )
        log.error(
            "worker %d ended: %s; it is started again, and its %d calls begin anew%s",
            place.index,
            worker.reason(),
            calls,
            f": {worker.error}" if worker.error else "",
        )

    def _bury(self, place: _Place, worker: Worker) -> int:
        """Say that the calls of a worker have ended with it, if it did not; return their number."""
        why = f"its worker ended ({worker.reason()}); if the call goes on, it begins anew"
        if (status := _status(worker)) is not None:
            self._ended.add(status)
        last = farewells(worker.words.all(), why, time.time())
        streams = publish_farewells(self._feed, last)
        place.names.free_all()
        worker.close()
        place.worker = None
        self._entries.lost(place.index, last)
        return streams

    def _end(self) -> None:
        """End the workers, and hand on their last messages."""
        if self._beside.systemd is not None:
            self._beside.systemd.stopping()
        running = [(place, place.worker) for place in self._places if place.worker is not None]
        for _, worker in running:
            worker.finish()
        until = time.monotonic() + END_S
        while any(worker.code is None for _, worker in running) and time.monotonic() < until:
            self._poll()
            time.sleep(LOOK_S / 5)
        for place, worker in running:
            if worker.code is None:
                log.error("worker %d does not end, and is killed", place.index)
                worker.kill()
            self._bury(place, worker)
        self._feed.close(linger_s=0.5)
        self._proxy.close()
        for place in self._places:
            place.ports.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- reports ---------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        self._proxy.poll()
        self._feed.poll()

    def _report(self, now: float) -> None:
        workers = [place.worker for place in self._places if place.worker is not None]
        statuses = [status for worker in workers if (status := _status(worker)) is not None]
        if not all(place.starts > 1 or (place.worker and place.worker.ready) for place in self._places):
            if self._beside.systemd is not None:
                self._beside.systemd.waiting("the workers load")
            return
        status = merged(
            statuses,
            self._ended,
            self._counters(),
            self._said(now),
            time=time.time(),
            uptime_s=now - self._began,
        )
        (self._beside.status or self._feed.publish)(status)
        if self._beside.systemd is not None:
            words = f"{status.streams} streams in {len(statuses)} of {len(self._places)} workers"
            (self._beside.systemd.alive if self._beside.systemd.serves else self._beside.systemd.ready)(words)

    def _counters(self) -> Iterable[tuple[str, int]]:
        yield "feed-refused", self._proxy.refused
        yield "worker-restarts", self._restarts
        for counted in self._beside.counters:
            yield from counted().items()

    def _said(self, now: float) -> list[str]:
        return [place.news for place in self._places if place.news and now - place.news_at < SAID_S]


def _status(worker: Worker) -> DaemonStatus | None:
    """The newest status of a worker; None before the first."""
    try:
        status = decode(worker.words.said())
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return status if isinstance(status, DaemonStatus) else None
