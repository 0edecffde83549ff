"""Several daemons as one: one feed, one status, one set of settings, one end.

Members are started, heard and ended by a subclass: processes of this machine by workers/pool.py, shards of a cluster by
shards/pool.py. Knows nothing of either, or of audio.
"""

import shutil
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from streamcab.calls import Told
from streamcab.config.setting import build, values_of
from streamcab.config.tree import Listen
from streamcab.errors import FeedError
from streamcab.feed import Publisher
from streamcab.feed.proxy import Proxy
from streamcab.message import DaemonStatus
from streamcab.ops.notify import Supervisor
from streamcab.text import plural
from streamcab.workers.entries import Entries
from streamcab.workers.farewell import farewells, publish_farewells
from streamcab.workers.merge import Ended, merged

if TYPE_CHECKING:
    from streamcab.daemon.settings import Settings

STATUS_S = 1.0
LOOK_S = 0.05
SAID_S = 60.0
"""How long the status names a member that was replaced."""


@dataclass(frozen=True)
class Beside:
    """What a pool gives its members, or adds to their reports.

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


@dataclass(kw_only=True)
class Member:
    """A place in a pool, for one daemon after another.

    Attributes:
        index: Its number, from 1 on.
        endpoint: Where the messages of its daemon are published on this machine.
        news: How its last daemon ended, in words.
        news_at: When, as monotonic time.
    """

    index: int
    endpoint: str
    news: str = ""
    news_at: float = 0.0


M = TypeVar("M", bound=Member)


class Pool(ABC, Generic[M]):
    """The daemon of `count` members, which the subclass puts into `members`. `run` needs its own thread.

    Args:
        options: The settings of `listen`.
        settings: What they come to in a single daemon.
        count: Number of members; each has its share of `max_streams`.
        beside: See there.
        own: Settings of each member that differ from `options`.

    Attributes:
        endpoint: The endpoint of the feed, as bound.
        settings: May be replaced while it runs.

    Raises:
        FeedError: The feed cannot be bound.
    """

    KIND: ClassVar[str]
    """What a member is called."""
    LOST: ClassVar[str]
    """The counter of members whose daemon ended."""
    END_S: ClassVar[float]
    """How long members have for their last messages."""

    def __init__(
        self, options: Listen, settings: "Settings", count: int, beside: Beside, own: Mapping[str, Any]
    ) -> None:
        self.settings = settings
        self._beside = beside
        self._share = ceil(settings.max_streams / count)
        self._own = {**own, "max_streams": self._share}
        self._options = self._of_member(options)
        self._new: list[Listen] = []
        self._began = time.monotonic()
        self._ended, self._lost = Ended(), 0
        self._entries = Entries(beside.told or (lambda _: None))
        self._folder = Path(tempfile.mkdtemp(prefix="streamcab-"))
        mine, *theirs = (f"ipc://{self._folder}/{k}.ipc" for k in range(count + 1))
        try:
            self._feed = Publisher(mine, beside.run, floor=beside.floor)
            self._proxy = Proxy(
                settings.endpoint, [mine, *theirs], keys=settings.keys, ipc_group=settings.ipc_group
            )
        except FeedError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self.endpoint, self._endpoints = self._proxy.endpoint, theirs
        self.members: list[M] = []

    def retune(self, options: Listen) -> None:
        """Give the members these settings, and those started from now on; from any thread."""
        self._new.append(options)

    def run(self, stop: threading.Event, await_subscriber_s: float = 0.0, subscribers: int = 1) -> None:
        """Serve until `stop`; `Daemon` has the same. WorkerError: a member could not start in the first place."""
        next_status = 0.0
        try:
            while not stop.wait(LOOK_S):
                now = time.monotonic()
                while self._new:
                    self._options = self._of_member(self._new.pop(0))
                    for member in self.members:
                        self._retune(member)
                for member in self.members:
                    self._look(member, now)
                self._poll()
                if now >= next_status:
                    next_status = now + STATUS_S
                    self._report(now)
        finally:
            self._end()

    # -- what members are --------------------------------------------------------------------------------------

    @abstractmethod
    def _look(self, member: M, now: float) -> None:
        """Notice what has become of a member's daemon; start one if it is time."""

    @abstractmethod
    def _retune(self, member: M) -> None:
        """Give a member the new `_options`, if it has a daemon."""

    @abstractmethod
    def _status(self, member: M) -> DaemonStatus | None:
        """Return the newest status of a member's daemon; None where there is none."""

    @abstractmethod
    def _serves(self) -> bool:
        """Return whether enough members have ever served for the pool to be ready."""

    @abstractmethod
    def _finish(self, until: float) -> None:
        """End all, and bury what is left of their calls; do not wait beyond monotonic `until`."""

    # -- what they have in common ------------------------------------------------------------------------------

    def _of_member(self, options: Listen) -> Listen:
        """Return the settings of a member, given those of the whole."""
        return build(Listen, values_of(options) | self._own)

    def _bury(self, member: M, status: DaemonStatus | None, words: Iterable[bytes], why: str) -> int:
        """Say that calls have ended with their daemon; return their number.

        Args:
            member: The place of the daemon, all of whose events have been taken.
            status: Its last status.
            words: The newest message of each topic of calls that have not ended.
            why: The reason, for people.
        """
        if status is not None:
            self._ended.add(status)
        last = farewells(words, why, time.time())
        self._entries.lost(member.index, last)
        return publish_farewells(self._feed, last)

    def _await(self, over: Callable[[], bool], until: float) -> None:
        """Hand on messages until something is over, but not beyond `until`."""
        while not over() and time.monotonic() < until:
            self._poll()
            time.sleep(LOOK_S / 5)

    def _poll(self) -> None:
        self._proxy.poll()
        self._feed.poll()

    def _end(self) -> None:
        """End the members, and hand on their last messages."""
        if self._beside.systemd is not None:
            self._beside.systemd.stopping()
        self._finish(time.monotonic() + self.END_S)
        self._feed.close(linger_s=0.5)
        self._proxy.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _report(self, now: float) -> None:
        systemd = self._beside.systemd
        if not self._serves():
            if systemd is not None:
                systemd.waiting(f"the {self.KIND}s load")
            return
        statuses = [status for member in self.members if (status := self._status(member)) is not None]
        status = merged(
            statuses,
            self._ended,
            self._counters(),
            self._said(now),
            time=time.time(),
            uptime_s=now - self._began,
        )
        (self._beside.status or self._feed.publish)(status)
        if systemd is not None:
            words = (
                f"{plural(status.streams, 'stream')} in {len(statuses)} of {len(self.members)} {self.KIND}s"
            )
            (systemd.alive if systemd.serves else systemd.ready)(words)

    def _counters(self) -> Iterable[tuple[str, int]]:
        yield "feed-refused", self._proxy.refused
        yield self.LOST, self._lost
        for counted in self._beside.counters:
            yield from counted().items()

    def _said(self, now: float) -> list[str]:
        return [one.news for one in self.members if one.news and now - one.news_at < SAID_S]
