"""The workers of one daemon: processes that share its ports, started, watched, started again and ended.

To the outside a pool is a daemon: one feed, one status, one process that systemd watches. A worker that dies is
replaced; its calls are said to have ended, and those that go on begin anew. Its sockets stay open here, so the kernel
gives every other call to the same worker as before. Knows nothing of audio or of options.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from streamcab.config.tree import Listen
from streamcab.errors import WorkerError
from streamcab.message import DaemonStatus, decode
from streamcab.rtp.ports import Ports
from streamcab.rtp.reuseport import Shared
from streamcab.workers.base import Beside, Member, Pool
from streamcab.workers.names import SharedNames
from streamcab.workers.process import PROGRAM, Orders, Worker, packed
from streamcab.workers.room import Room, reserve

if TYPE_CHECKING:
    from streamcab.daemon.settings import Settings

log = logging.getLogger("streamcab.workers")

EPOCH = 1 << 32
"""Numbers of messages that a worker has for itself: 3 years of one stream's predictions every 25 ms."""
LASTS_S = 10.0
"""A worker that has served for so long is started again at once, another after a pause that grows"""
MOST_S = 30.0
"""to this."""


@dataclass(kw_only=True)
class _Place(Member):
    """The possessions of a worker that outlive its process."""

    ports: Ports
    names: SharedNames
    worker: Worker | None = None
    starts: int = 0
    pause_s: float = 0.0
    due: float = 0.0


class WorkerPool(Pool[_Place]):
    """The daemon of these ports, one worker for each; those of calls by RTP, or none.

    Args:
        options, settings, beside: See `Pool`.
        ports: The sockets of each worker.
        own: Settings of each worker that differ from `options`, such as its threads.
        program: The module that a worker runs.

    Attributes:
        pids: The processes of the workers.
    """

    KIND, LOST = "worker", "worker-restarts"
    END_S = 3.0  # systemd waits 5 s for all of it

    def __init__(
        self,
        options: Listen,
        settings: "Settings",
        ports: Sequence[Ports],
        own: Mapping[str, Any],
        beside: Beside,
        program: str = PROGRAM,
    ) -> None:
        super().__init__(options, settings, len(ports), beside, own)
        self._program, self._names = program, self._folder / "names"
        self._room_fd = reserve(len(ports))
        self._room = Room(self._room_fd)
        self._names.mkdir()
        self.members = [
            _Place(index=k, endpoint=endpoint, ports=each, names=SharedNames(self._names, k))
            for k, (endpoint, each) in enumerate(zip(self._endpoints, ports, strict=True), 1)
        ]

    @property
    def pids(self) -> list[int]:
        """See the class."""
        return [place.worker.pid for place in self.members if place.worker is not None]

    def _retune(self, member: _Place) -> None:
        if member.worker is not None:
            member.worker.retune(self._options)

    def _start(self, place: _Place) -> None:
        ports = place.ports
        orders = Orders(
            index=place.index,
            workers=len(self.members),
            run=self._beside.run,
            floor=self._beside.floor + EPOCH * place.starts,
            endpoint=place.endpoint,
            names=str(self._names),
            words=-1,
            sockets=Shared(
                [s.fileno() for s in ports.rtp], [s.fileno() for s in ports.rtcp], list(ports.bound)
            ),
            room=self._room_fd,
            tells=self._beside.told is not None,
            suffix=self._beside.suffix,
            settings=packed(self._options),
        )
        place.starts += 1
        place.worker = Worker(orders, self._folder, self._share, self._entries.of(place.index), self._program)

    def _look(self, member: _Place, now: float) -> None:
        place, worker = member, member.worker
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
        calls = self._close(place, worker)
        lasted = worker.ready and now - worker.began > LASTS_S
        place.pause_s = 0.0 if lasted else min(max(2 * place.pause_s, 1.0), MOST_S)
        place.due, place.news_at = now + place.pause_s, now
        self._lost += 1
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

    def _close(self, place: _Place, worker: Worker) -> int:
        """Release what a worker that ended had, and end its calls, if it did not; return their number."""
        why = f"its worker ended ({worker.reason()}); if the call goes on, it begins anew"
        status, words = self._status(place), worker.words.all()
        worker.close()
        place.worker = None
        self._room.say(place.index, 0)
        calls = self._bury(place, status, words, why)
        place.names.free_all()
        return calls

    def _finish(self, until: float) -> None:
        running = [(place, place.worker) for place in self.members if place.worker is not None]
        for _, worker in running:
            worker.finish()
        self._await(lambda: all(worker.code is not None for _, worker in running), until)
        for place, worker in running:
            if worker.code is None:
                log.error("worker %d does not end, and is killed", place.index)
                worker.kill()
            self._close(place, worker)
        for place in self.members:
            place.ports.close()
        self._room.close()
        os.close(self._room_fd)

    def _serves(self) -> bool:
        return all(place.starts > 1 or (place.worker and place.worker.ready) for place in self.members)

    def _status(self, member: _Place) -> DaemonStatus | None:
        if member.worker is None:
            return None
        try:
            status = decode(member.worker.words.said())
        except (msgspec.DecodeError, UnicodeDecodeError):  # before the first
            return None
        return status if isinstance(status, DaemonStatus) else None
