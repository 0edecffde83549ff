"""Runs passes: moves samples from the rings through the engine into the windows.

Also skips late streams to the present, and checks the quality of their samples. Knows nothing of the feed, of admission
or of turns: slots and monotonic times are passed in.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.quality import Flaws
from streamcab.audio.ring import Bank
from streamcab.daemon.settings import KEEP_S
from streamcab.daemon.streams import StreamTable
from streamcab.dsp.gate import MISSING
from streamcab.errors import ComputeError
from streamcab.inference.cadence import Due, add_by_own_time
from streamcab.inference.engine import Engine
from streamcab.inference.engine_output import Begun, EngineOutput
from streamcab.inference.reading import Reading
from streamcab.inference.retry import Retry
from streamcab.inference.slots import Slots
from streamcab.inference.window import Window
from streamcab.text import plural

log = logging.getLogger("streamcab.daemon")

WARM_UP_S = 4
WARM_UP_GAP_S = 60
"""Longer than any net remembers."""
WARM_UP_STREAMS = 32
"""One stream alone costs several times what it costs among others."""
WARN_S = 10.0
"""Seconds between two warnings about skips."""


@dataclass
class Pass:
    """The result of a pass.

    intervals  answered          heard  of them not missing          unpaced  of these, of streams without a pace
    due        the answers that fell due by the streams' own time
    """

    intervals: int = 0
    heard: int = 0
    unpaced: int = 0
    due: list[Due] = field(default_factory=list)


class PassRunner:
    """Runs the engine's passes over the streams of its table, which it shares with the window.

    gate       whether only voiced intervals vote
    attention  whether answers include the attention
    skips      number of skips to the present, over all streams
    """

    def __init__(
        self, engine: Engine, window: Window, streams: StreamTable, *, gate: bool, attention: bool = True
    ) -> None:
        self.skips = 0
        self.retry = Retry(engine)
        self._engine, self._window, self._streams = engine, window, streams
        self._flaws = Flaws(engine.slots)
        self._rested: NDArray[np.bool_] = streams.column(np.bool_)  # when last visited
        streams.add(window.reset, window.bytes_per_slot)
        streams.add(self._flaws.reset, self._flaws.bytes_per_slot)
        self.gate, self._attention = gate, attention
        self._warned = -inf
        # The streams of the last turn, and its steps, while the net computes them.
        self._under_way: tuple[Slots, Sequence[Begun]] | None = None

    def warm_up(self) -> float:
        """Let the backend allocate and compile before the first stream depends on it.

        Returns the seconds of work for each second of a stream, as far as a few together can tell.
        """
        engine, rate = self._engine, self._engine.architecture.rate
        n = min(WARM_UP_STREAMS, engine.slots)
        bank = Bank(rate, n, 4 * rate)
        slots = np.array([engine.attach(bank, row) for row in range(n)])
        noise = np.random.default_rng(0).standard_normal(WARM_UP_S * rate).astype(np.float32)
        costs = []
        for second in np.split(noise * np.linspace(0.01, 0.3, len(noise), dtype=np.float32), WARM_UP_S):
            for row in range(n):
                bank.write(row, second, 0.0)
            began = monotonic()
            engine.advance()
            costs.append((monotonic() - began) / n)
        # Now the net's state after a long gap is known.
        engine.skip(slots, np.full(n, WARM_UP_GAP_S * rate))
        for row in range(n):
            bank.finish(row)
        engine.advance()
        for slot in slots.tolist():
            engine.detach(slot)
        # What is compiled or met for the first time costs more than it ever will again.
        return min(costs)

    def skip_to_live(self, max_lag_s: float, now: float) -> float:
        """Drop the oldest samples of paced streams that have waited longer, and keep the newest.

        Returns how many seconds of audio were dropped, of all streams together.
        """
        skipped, lost_s = 0, 0.0
        for bank, slots, waiting in self._engine.backlog():
            late = (waiting > max_lag_s * bank.rate) & self._streams.paced[slots]
            late &= ~bank.ended[self._streams.row[slots]] & ~self._streams.resting[slots]
            if late.any():
                skipped += int(late.sum())
                left_out = self.retry.skip(slots[late], waiting[late] - int(KEEP_S * bank.rate), now)
                lost_s += float(left_out.sum()) / bank.rate
        self.skips += skipped
        if skipped and now - self._warned > WARN_S:
            self._warned = now
            log.warning(
                "%s had waited for %g s: skipped %.1f s of audio to be live again. If this repeats, "
                "the machine is too slow for its streams: lower --max-streams",
                plural(skipped, "stream"),
                max_lag_s,
                lost_s,
            )
        return lost_s

    def rest(self, slots: Slots, now: float) -> Slots:
        """Leave out the audio of streams that rest, or have rested until now; a stream that has ended rests no more.

        Returns:
            The streams among `slots` that do not rest.
        """
        resting = self._streams.resting
        for bank, some, waiting in self._engine.backlog(slots[resting[slots] | self._rested[slots]]):
            ended = bank.ended[self._streams.row[some]]
            resting[some[ended]] = False
            if not ended.all():
                self.retry.pause(some[~ended], waiting[~ended], now)
        self._rested[slots] = resting[slots]
        return slots[~resting[slots]]

    def waiting_s(self) -> tuple[float, float]:
        """Return the seconds of audio that wait to be taken in, and that are held back after that.

        Of all paced streams that do not rest.
        """
        streams, engine = self._streams, self._engine
        heard = streams.paced & ~streams.resting
        waiting = sum(
            float(waiting[heard[slots]].sum()) / bank.rate for bank, slots, waiting in engine.backlog()
        )
        held = (streams.heard - streams.stepped)[heard & streams.in_use].sum()
        return waiting, float(held) * engine.architecture.interval_s

    def turn(
        self,
        slots: Slots,
        now: float,
        every_s: float,
        more: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[Slots, Pass]]:
        """Begin a pass over those of some streams that do not rest, and complete the one of the turn before.

        So the net computes while streams are read, normalised and answered. A failed pass causes a gap, and a stream
        that always fails is ended.

        Args:
            slots: whose turn it is.
            now: monotonic time.
            every_s: how often streams without a pace answer.
            more: whether the next turn follows at once; otherwise this pass is completed, too.

        Yields:
            What was completed: the streams of a turn, and their pass.

        Raises:
            ComputeError: every pass fails.
        """
        if self._under_way is not None and np.isin(slots, self._under_way[0]).any():
            yield self._complete(now, every_s)
            slots = slots[self._streams.in_use[slots]]  # some have left with their last answer
        begun = self.retry.begin(self.rest(slots, now), now)
        if self._under_way is not None:
            yield self._complete(now, every_s)
        self._under_way = slots, begun
        # Streams without a pace would have their next turn before this one is completed.
        if not more() or not self._streams.paced[slots].all():
            yield self._complete(now, every_s)

    def _complete(self, now: float, every_s: float) -> tuple[Slots, Pass]:
        assert self._under_way is not None
        (slots, begun), self._under_way = self._under_way, None
        outputs = self.retry.collect(begun, now)
        while self.retry.hopeless:
            slot, why = self.retry.hopeless.popitem()
            self._streams[slot].line.move("ended", f"an error inside streamcab: {why}", level=logging.ERROR)
            self._engine.finished[slot] = True
        return slots, self._add(outputs, every_s)

    def run_out(self, now: float, every_s: float) -> Pass:
        """Run the last pass, over all streams, when no more samples will arrive."""
        done = Pass()
        with suppress(ComputeError):  # then the final messages come without the last intervals
            begun = self._under_way[1] if self._under_way is not None else ()
            self._under_way = None
            outputs = self.retry.collect(begun, now)
            done = self._add([*outputs, *self.retry.advance(None, now)], every_s)
        self._engine.finished[self._streams.slots] = True
        return done

    def read(self, slots: Slots) -> Reading:
        """Return the current answers of the windows of some streams."""
        return self._window.read(slots, attention=self._attention)

    def counters(self) -> Counter[str]:
        """Return the skips to the present, and the passes that failed."""
        return Counter({"skips": self.skips, "passes-failed": self.retry.failures})

    def behind(self) -> bool:
        """Return whether audio of any stream has waited too long."""
        resting = self._streams.resting
        return any(
            (waiting[~resting[slots]] > KEEP_S * bank.rate).any()
            for bank, slots, waiting in self._engine.backlog()
        )

    def examine(self, slots: Slots, now: float) -> None:
        """Check the samples of some streams for flaws, and log each change."""
        lives, flaws = self._streams.of(slots), self._flaws
        refused = np.array([live.line.refused for live in lives], np.int64)
        for which, bank, rows in self._streams.by_bank(slots):
            flaws.look(slots[which], bank, rows, refused[which], now)
        for live, silent in zip(lives, flaws.silent(slots, now).tolist(), strict=True):
            if silent and live.line.state == "live":
                live.line.move("silent", "every sample is 0: is it muted?", only_from="live")
            elif live.line.state == "silent" and not silent:
                live.line.move("live", only_from="silent")
        for slot, found in flaws.changed(slots, now):
            live = self._streams[slot]
            live.flaws = found
            log.log(
                min(logging.WARNING, live.line.loudest),
                "%s: what is wrong with its samples: %s",
                live.name,
                ", ".join(found) or "nothing any more",
            )

    def _add(self, outputs: Sequence[EngineOutput], every_s: float) -> Pass:
        """Add the engine's outputs to the windows."""
        done, streams = Pass(), self._streams
        every = self._engine.architecture.intervals(every_s)
        for output in outputs:
            paced = streams.paced[output.slots]
            heard = (output.kind != MISSING).sum(1)
            done.intervals += output.kind.size
            done.heard += int(heard.sum())
            done.unpaced += int(heard[~paced].sum())
            some = output if paced.all() else output.of(paced)
            if len(some.slots):
                votes = some.votes(self.gate)
                self._window.add(some.slots, some.first, some.c, some.alpha, votes, some.u, some.heard)
                streams.power[some.slots] = some.power.mean(1)
                streams.news[some.slots] = True
            for row in np.flatnonzero(~paced).tolist():
                done.due += add_by_own_time(
                    self._window, output, row, every, gate=self.gate, attention=self._attention
                )
                streams.power[output.slots[row]] = output.power[row, -1]
        return done
