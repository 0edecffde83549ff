"""The shards of one daemon: told to serve, asked how they are each second, said to be lost, told to serve again.

To the outside it is a daemon, as a pool of workers is. A shard that does not answer for 3 s is lost: its calls are
said to have ended, and nothing that it says from then on is heard. Ray starts it again, somewhere; it gets new orders.
Knows nothing of audio or of Ray.
"""

import logging
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import msgspec

from streamcab.config.setting import build, values_of
from streamcab.config.tree import Listen
from streamcab.errors import FeedError, WorkerError
from streamcab.feed import Publisher
from streamcab.feed.curve import ClientKeys, Pair
from streamcab.feed.proxy import Proxy
from streamcab.feed.relay import Relay
from streamcab.message import DaemonStatus, decode
from streamcab.shards.allocator import Allocator, Place
from streamcab.shards.remote import Answer, Orders, Remote, Report, ShardLost
from streamcab.workers.entries import Entries
from streamcab.workers.farewell import farewells, publish_farewells
from streamcab.workers.merge import Ended, merged
from streamcab.workers.pool import Beside
from streamcab.workers.process import packed

if TYPE_CHECKING:
    from streamcab.daemon.settings import Settings

log = logging.getLogger("streamcab.shards")

EPOCH = 1 << 44
"""Numbers of messages that a shard has for itself, for 4,096 starts of its workers; it may be lost 500 times."""
LOOK_S = 0.05
ASK_S = 1.0
MUTE_S = 2.0
"""A shard that has not answered for so long gets no calls,"""
LOST_S = 3.0
"""and after this its calls are lost."""
END_S = 6.0
SAID_S = 60.0


@dataclass
class _Shard:
    """A shard, and what is known of it."""

    remote: Remote
    place: Place
    local: str
    asked: Answer | None = None
    asked_at: float = 0.0
    heard_at: float = 0.0
    life: str = ""
    floor: int = -1
    begins: int = 0
    beginning: Answer | None = None
    relay: Relay | None = None
    status: DaemonStatus | None = None
    served: bool = False
    news: str = ""
    news_at: float = 0.0


class ShardPool:
    """The daemon of these shards. `run` needs its own thread.

    Args:
        options: The settings of `listen`.
        settings: What they come to in a single daemon.
        remotes: The shards.
        allocator: Knows their places.
        beside: See workers/pool.py.

    Attributes:
        endpoint: The endpoint of the feed, as bound.
        settings: May be replaced while it runs.

    Raises:
        FeedError: The feed cannot be bound.
    """

    def __init__(
        self,
        options: Listen,
        settings: "Settings",
        remotes: Sequence[Remote],
        allocator: Allocator,
        beside: Beside,
    ) -> None:
        self.settings = settings
        self._beside, self._allocator = beside, allocator
        self._share = ceil(settings.max_streams / len(remotes))
        self._options = build(Listen, values_of(options) | {"max_streams": self._share})
        self._news: list[Listen] = []
        self._began = time.monotonic()
        self._ended, self._lost = Ended(), 0
        self._entries = Entries(beside.told or (lambda _: None))
        self._pair = Pair.random()
        self._keys = ClientKeys(Pair.random(), self._pair.public)
        self._folder = Path(tempfile.mkdtemp(prefix="streamcab-"))
        self._shards = [
            _Shard(remote, place, f"ipc://{self._folder}/{place.index}.ipc")
            for remote, place in zip(remotes, allocator.places, strict=True)
        ]
        own = f"ipc://{self._folder}/0.ipc"
        try:
            self._feed = Publisher(own, beside.run)
            self._proxy = Proxy(
                settings.endpoint,
                [own, *(shard.local for shard in self._shards)],
                keys=settings.keys,
                ipc_group=settings.ipc_group,
            )
        except FeedError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self.endpoint = self._proxy.endpoint

    def retune(self, options: Listen) -> None:
        """Give the shards these settings, and those started from now on; from any thread."""
        self._news.append(options)

    def run(self, stop: Event, await_subscriber_s: float = 0.0, subscribers: int = 1) -> None:
        """Serve until `stop`; `Daemon` has the same. WorkerError: a shard could not start in the first place."""
        next_status = 0.0
        try:
            while not stop.wait(LOOK_S):
                now = time.monotonic()
                while self._news:
                    self._apply(self._news.pop(0))
                for shard in self._shards:
                    self._look(shard, now)
                self._poll()
                if now >= next_status:
                    next_status = now + ASK_S
                    self._report(now)
        finally:
            self._end()

    # -- shards ----------------------------------------------------------------------------------------------

    def _apply(self, options: Listen) -> None:
        self._options = build(Listen, values_of(options) | {"max_streams": self._share})
        for shard in self._shards:
            if shard.served:
                shard.remote.ask("retune", packed(self._options))

    def _look(self, shard: _Shard, now: float) -> None:
        """Ask a shard how it is, take its answer, and notice when there is none."""
        if shard.asked is not None and shard.asked.done():
            answer, shard.asked = shard.asked, None
            try:
                report = msgspec.json.decode(answer.result(), type=Report)
            except ShardLost as error:
                self._lose(shard, now, str(error))
            else:
                shard.heard_at = now
                self._take(shard, report, now)
        if shard.asked is None and now - shard.asked_at >= ASK_S:
            shard.asked, shard.asked_at = shard.remote.ask("report"), now
        silent = now - shard.heard_at
        if shard.place.state == "serving" and silent > MUTE_S:
            shard.place.state = "mute"
        if shard.life and silent > LOST_S:
            self._lose(shard, now, f"no answer for {LOST_S:g} s")
            shard.remote.kill()
            shard.asked = None

    def _take(self, shard: _Shard, report: Report, now: float) -> None:
        """Act on a report."""
        if shard.life and report.life != shard.life:
            self._lose(shard, now, "its process ended")
        if report.state == "failed":
            if not shard.served:
                raise WorkerError(report.error, report.code)
            self._lose(shard, now, report.error)
        if report.serves != shard.floor or not shard.life:
            if shard.beginning is None or shard.beginning.done():
                self._begin(shard, report)
            return
        for told in report.told:
            take = self._entries.of(shard.place.index)
            for one in (told.model, told.entry):
                if one is not None:
                    take(one)
        place = shard.place
        if report.state == "serving":
            if shard.relay is None:
                shard.relay = Relay(report.endpoint, self._keys, shard.local)
            place.rtp, place.most, shard.served = report.rtp, self._share, True
            if report.status and isinstance(status := decode(report.status.encode()), DaemonStatus):
                shard.status, place.streams = status, status.streams
        place.state = report.state

    def _begin(self, shard: _Shard, report: Report) -> None:
        """Tell a shard to serve, under numbers that were never used."""
        shard.life, shard.floor = report.life, EPOCH * shard.begins
        shard.begins += 1
        shard.place.state = "loading"
        pair = self._pair.public.decode("ascii"), self._pair.secret.decode("ascii")
        orders = Orders(
            index=shard.place.index,
            run=self._beside.run,
            floor=shard.floor,
            suffix=f".s{shard.place.index}",
            pair=pair,
            client=self._keys.own.public.decode("ascii"),
            tells=self._beside.told is not None,
            settings=packed(self._options),
        )
        shard.beginning = shard.remote.ask("begin", msgspec.json.encode(orders))

    def _lose(self, shard: _Shard, now: float, reason: str) -> None:
        """Say that the calls of a shard have ended with it, and hear it no more."""
        if not shard.life:
            return
        why = f"its shard was lost ({reason}); if the call goes on, it begins anew"
        calls = 0
        if shard.relay is not None:
            shard.relay.close()
            last = farewells(shard.relay.words.values(), why, time.time())
            calls = publish_farewells(self._feed, last)
            self._entries.lost(shard.place.index, last)
        if shard.status is not None:
            self._ended.add(shard.status)
        if shard.served:
            self._lost += 1
            shard.news_at = now
            shard.news = f"shard {shard.place.index} was lost: {reason}; calls that ended: {calls}"
            log.error("shard %d was lost: %s; its %d calls ended", shard.place.index, reason, calls)
        shard.relay, shard.status, shard.life, shard.floor, shard.beginning = None, None, "", -1, None
        shard.place.state, shard.place.streams, shard.place.rtp = "lost", 0, []
        shard.place.promised.clear()

    def _end(self) -> None:
        """End the shards, and hand on their last messages."""
        if self._beside.systemd is not None:
            self._beside.systemd.stopping()
        ends = [shard.remote.ask("end") for shard in self._shards if shard.life]
        until = time.monotonic() + END_S
        while not all(end.done() for end in ends) and time.monotonic() < until:
            self._poll()
            time.sleep(LOOK_S)
        for shard in self._shards:
            if shard.relay is not None:
                time.sleep(LOOK_S)
                shard.relay.close(linger_s=0.5)
                publish_farewells(
                    self._feed, farewells(shard.relay.words.values(), "the daemon ended", time.time())
                )
        self._feed.close(linger_s=0.5)
        self._proxy.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- reports ---------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        self._proxy.poll()
        self._feed.poll()

    def _report(self, now: float) -> None:
        if not any(shard.served for shard in self._shards):
            return
        statuses = [shard.status for shard in self._shards if shard.status is not None]
        counters = [("feed-refused", self._proxy.refused), ("shards-lost", self._lost)]
        counters += [item for counted in self._beside.counters for item in counted().items()]
        status = merged(
            statuses, self._ended, counters, self._said(now), time=time.time(), uptime_s=now - self._began
        )
        self._feed.publish(status)
        if (systemd := self._beside.systemd) is not None:
            words = f"{status.streams} streams in {len(statuses)} of {len(self._shards)} shards"
            (systemd.alive if systemd.serves else systemd.ready)(words)

    def _said(self, now: float) -> Iterable[str]:
        for shard in self._shards:
            if shard.news and now - shard.news_at < SAID_S:
                yield shard.news
            if shard.place.state != "serving":
                yield f"shard {shard.place.index} is {shard.place.state}"
