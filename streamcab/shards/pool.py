"""The shards of one daemon: told to serve, asked how they are each second, said to be lost, told to serve again.

To the outside it is a daemon, as a pool of workers is. A shard that does not answer for 3 s is lost: its calls are
said to have ended, and nothing that it says from then on is heard. Ray starts it again, somewhere; it gets new orders.
Knows nothing of audio or of Ray.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from streamcab.config.tree import Listen
from streamcab.errors import WorkerError
from streamcab.feed.curve import ClientKeys, Pair
from streamcab.feed.relay import Relay
from streamcab.message import DaemonStatus, decode
from streamcab.shards.allocator import Allocator, Place
from streamcab.shards.remote import Answer, Orders, Remote, Report, ShardLost, report_of
from streamcab.workers.base import LOOK_S, Beside, Member, Pool
from streamcab.workers.process import packed

if TYPE_CHECKING:
    from streamcab.daemon.settings import Settings

log = logging.getLogger("streamcab.shards")

EPOCH = 1 << 44
"""Numbers of messages that a shard has for itself, for 4,096 starts of its workers; it may be lost 500 times."""
ASK_S = 1.0
MUTE_S = 2.0
"""A shard that has not answered for so long gets no calls,"""
LOST_S = 3.0
"""and after this its calls are lost."""


@dataclass(kw_only=True)
class _Shard(Member):
    """A shard, and what is known of it."""

    remote: Remote
    place: Place
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


class ShardPool(Pool[_Shard]):
    """The daemon of these shards.

    Args:
        options, settings, beside: See `Pool`.
        remotes: The shards.
        allocator: Knows their places.
    """

    KIND, LOST = "shard", "shards-lost"
    END_S = 6.0

    def __init__(
        self,
        options: Listen,
        settings: "Settings",
        remotes: Sequence[Remote],
        allocator: Allocator,
        beside: Beside,
    ) -> None:
        super().__init__(options, settings, len(remotes), beside, {})
        self._pair = Pair.random()
        self._keys = ClientKeys(Pair.random(), self._pair.public)
        self.members = [
            _Shard(index=place.index, endpoint=endpoint, remote=remote, place=place)
            for remote, place, endpoint in zip(remotes, allocator.places, self._endpoints, strict=True)
        ]

    def _retune(self, member: _Shard) -> None:
        if member.served:
            member.remote.ask("retune", packed(self._options))

    def _look(self, member: _Shard, now: float) -> None:
        """Ask a shard how it is, take its answer, and notice when there is none."""
        shard = member
        if shard.asked is not None and shard.asked.done():
            answer, shard.asked = shard.asked, None
            try:
                report = _report_of(answer)
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
        self._hear(shard, report)
        place = shard.place
        if report.state == "serving":
            if shard.relay is None:
                shard.relay = Relay(report.endpoint, self._keys, shard.endpoint)
            place.rtp, place.most, shard.served = report.rtp, self._share, True
            if report.status and isinstance(status := decode(report.status.encode()), DaemonStatus):
                shard.status, place.streams = status, status.streams
        place.state = report.state

    def _hear(self, shard: _Shard, report: Report) -> None:
        """Take what a shard tells of its calls."""
        take = self._entries.of(shard.index)
        for told in report.told:
            for one in (told.model, told.entry):
                if one is not None:
                    take(one)

    def _begin(self, shard: _Shard, report: Report) -> None:
        """Tell a shard to serve, under numbers that were never used."""
        shard.life, shard.floor = report.life, EPOCH * shard.begins
        shard.begins += 1
        shard.place.state = "loading"
        pair = self._pair.public.decode("ascii"), self._pair.secret.decode("ascii")
        orders = Orders(
            index=shard.index,
            run=self._beside.run,
            floor=shard.floor,
            suffix=f".s{shard.index}",
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
        calls = self._close(shard, f"its shard was lost ({reason}); if the call goes on, it begins anew")
        if shard.served:
            self._lost += 1
            shard.news_at = now
            shard.news = f"shard {shard.index} was lost: {reason}; calls that ended: {calls}"
            log.error("shard %d was lost: %s; its %d calls ended", shard.index, reason, calls)
        shard.life, shard.floor, shard.beginning = "", -1, None
        shard.place.state, shard.place.streams, shard.place.rtp = "lost", 0, []
        shard.place.promised.clear()

    def _close(self, shard: _Shard, why: str, linger_s: float = 0.0) -> int:
        """Hear a shard no more, and end its calls, if it did not; return their number."""
        words: list[bytes] = []
        if shard.relay is not None:
            shard.relay.close(linger_s)
            words = [*shard.relay.words.values()]
        calls = self._bury(shard, shard.status, words, why)
        shard.relay = shard.status = None
        return calls

    def _finish(self, until: float) -> None:
        living = [shard for shard in self.members if shard.life]
        ends = [shard.remote.ask("end") for shard in living]
        self._await(lambda: all(end.done() for end in ends), until)
        # The report that was asked for before has told of calls too, and will not tell of them again.
        last = [(shard, answer) for shard in living for answer in (shard.asked, shard.remote.ask("report"))]
        answers = [(shard, answer) for shard, answer in last if answer is not None]
        self._await(lambda: all(answer.done() for _, answer in answers), max(until, time.monotonic() + ASK_S))
        for shard, answer in answers:
            if answer.done():
                with suppress(ShardLost):
                    report = _report_of(answer)
                    if (report.life, report.serves) == (shard.life, shard.floor):
                        self._hear(shard, report)
        for shard in living:
            time.sleep(LOOK_S)
            self._close(shard, "the daemon ended", linger_s=0.5)

    def _serves(self) -> bool:
        return any(shard.served for shard in self.members)

    def _status(self, member: _Shard) -> DaemonStatus | None:
        return member.status

    def _said(self, now: float) -> list[str]:
        states = [(shard.index, shard.place.state) for shard in self.members]
        away = [f"shard {index} is {state}" for index, state in states if state != "serving"]
        return [*super()._said(now), *away]


def _report_of(answer: Answer) -> Report:
    """Decode a report. Raises ShardLost if it never comes."""
    return report_of(answer.result())
