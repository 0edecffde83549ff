"""The daemon's ear: what has arrived in the rings, through the engine, into the windows of the answers.

A pass over some streams, the skip to live of those that have waited too long, and what is wrong with their samples.
Knows nothing of the feed, of who is let in or of whose turn it is: slots and monotonic times are handed in.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.quality import Flaws
from streamcab.audio.ring import Bank
from streamcab.daemon.settings import KEEP_S
from streamcab.daemon.streams import Slots, StreamTable
from streamcab.errors import ComputeError
from streamcab.inference.engine import Engine
from streamcab.inference.engine_output import EngineOutput
from streamcab.inference.retry import Retry
from streamcab.inference.window import Window

log = logging.getLogger("streamcab.daemon")

WARN_S = 10.0
"""Between two warnings of skips."""

Tell = Callable[[Slots, int], object]
"""Tells the answers of some streams as they stood after so many intervals of each."""


class PassRunner:
    """Of all streams of an engine.

    gate     whether only voiced intervals vote
    every_s  seconds of its own time after which a stream that no clock paces is told its answer
    skips    how often a stream has been skipped to live
    """

    def __init__(
        self, engine: Engine, window: Window, roster: StreamTable, gate: bool, every_s: float
    ) -> None:
        self.skips = 0
        self.rescue = Retry(engine)
        self._engine, self._window, self._roster = engine, window, roster
        self._flaws = Flaws(engine.slots)
        self.gate = gate
        self._every = max(round(every_s / engine.architecture.interval_s), 1)
        self._warned = -inf

    def warm_up(self) -> None:
        """Let the backend allocate and compile before the first stream depends on it."""
        engine, rate = self._engine, self._engine.architecture.rate
        bank = Bank(rate, 1, 4 * rate)
        slot = engine.attach(bank, 0)
        noise = np.random.default_rng(0).standard_normal(2 * rate).astype(np.float32)
        bank.write(0, noise * np.linspace(0.01, 0.3, len(noise), dtype=np.float32), 0.0)
        bank.finish(0)
        engine.advance()
        engine.detach(slot)

    def reset(self, slot: int) -> None:
        """A new stream: nothing has been heard of it."""
        self._window.reset(np.array([slot]))
        self._flaws.reset(slot)

    def skip_to_live(self, max_lag_s: float, now: float) -> None:
        """Streams that the world paces and that wait longer lose the oldest, not the newest."""
        skipped, lost_s = 0, 0.0
        for bank, slots, waiting in self._engine.backlog():
            late = (waiting > max_lag_s * bank.rate) & self._roster.paced[slots]
            late &= ~bank.ended[self._roster.rows(slots)]
            if late.any():
                skipped += int(late.sum())
                left_out = self.rescue.skip(slots[late], waiting[late] - int(KEEP_S * bank.rate), now)
                lost_s += float(left_out.sum()) / bank.rate
        self.skips += skipped
        if skipped and now - self._warned > WARN_S:
            self._warned = now
            log.warning(
                "%d streams had waited for %g s: skipped %.1f s of audio to be live again. If this repeats, "
                "the machine is too slow for its streams: lower --max-streams",
                skipped,
                max_lag_s,
                lost_s,
            )

    def hear(self, slots: Slots, bunch: int, now: float, tell: Tell) -> int:
        """A pass over some streams, `bunch` as in `Engine.advance`; how many intervals were answered.

        A pass that fails costs a gap; a stream that fails always costs that stream. ComputeError when all is lost.
        """
        emitted = self.rescue.advance(slots, bunch, now)
        while self.rescue.hopeless:
            slot, why = self.rescue.hopeless.popitem()
            self._roster[slot].line.move("ended", f"an error inside streamcab: {why}", level=logging.ERROR)
            self._engine.finished[slot] = True
        return self._take(emitted, tell)

    def hear_out(self, now: float, tell: Tell) -> None:
        """The last pass, over all streams: none has anything to come."""
        with suppress(ComputeError):  # then the last words come without the last intervals
            self._take(self.rescue.advance(None, 1, now), tell)
        self._engine.finished[self._roster.slots()] = True

    def behind(self) -> bool:
        """Whether audio of any stream has waited for longer than it should."""
        return any((waiting > KEEP_S * bank.rate).any() for bank, _, waiting in self._engine.backlog())

    def examine(self, slots: Slots, now: float) -> None:
        """What is wrong with the samples of some streams; each change is a line in the log."""
        lives, flaws = self._roster.of(slots), self._flaws
        refused = np.array([live.line.refused for live in lives], np.int64)
        for which, bank, rows in self._roster.by_bank(slots):
            flaws.look(slots[which], bank, rows, refused[which], now)
        for live, silent in zip(lives, flaws.silent(slots, now).tolist(), strict=True):
            if silent and live.line.state == "live":
                live.line.move("silent", "every sample is 0: is it muted?", only_from="live")
            elif live.line.state == "silent" and not silent:
                live.line.move("live", only_from="silent")
        for slot, found in flaws.changed(slots, now):
            live = self._roster[slot]
            live.flaws = found
            log.log(
                min(logging.WARNING, live.line.loudest),
                "%s: what is wrong with its samples: %s",
                live.name,
                ", ".join(found) or "nothing any more",
            )

    def _take(self, emitted: Sequence[EngineOutput], tell: Tell) -> int:
        """Into the windows with what the engine has answered; how many intervals it was."""
        for e in emitted:
            votes = e.votes(self.gate)
            paced = self._roster.paced[e.slots]
            if paced.all():
                self._window.add(e.slots, e.first, e.c, e.alpha, votes, e.u, e.heard)
            elif paced.any():
                some = e.of(paced)
                self._window.add(some.slots, some.first, some.c, some.alpha, votes[paced], some.u, some.heard)
            self._roster.power[e.slots] = e.power.mean(1)
            self._roster.news[e.slots] = True
            for i in np.flatnonzero(~paced).tolist():
                self._take_fast(e, i, votes, tell)
        return sum(e.kind.size for e in emitted)

    def _take_fast(self, e: EngineOutput, i: int, votes: NDArray[np.bool_], tell: Tell) -> None:
        """A stream that no clock paces is told its answer for each `every_s` of its own time."""
        slot = int(e.slots[i])
        for j in range(e.c.shape[1]):
            one = e.at(i, j)
            k = int(one.first[0])
            vote = votes[i : i + 1, j : j + 1]
            self._window.add(one.slots, one.first, one.c, one.alpha, vote, one.u, one.heard)
            if k >= 0 and (k + 1) % self._every == 0:
                self._roster.power[slot] = e.power[i, j]
                tell(one.slots, k + 1 + self._engine.delay)
                self._roster.news[slot] = False
