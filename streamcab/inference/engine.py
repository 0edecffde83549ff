"""Rings in, c_t out: front end, normaliser and net together, for all streams that are attached, in one pass.

A pass takes whatever whole intervals have arrived. Streams are cut into runs of a few lengths (RUNS), and all streams
with a run of one length go through each layer together; so they join, leave and fall behind independently, and what a
stream is answered depends on its own samples only.

Knows nothing of clocks, threads, sockets or names; a stream is a slot here.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import Bank
from streamcab.dsp.frontend import nothing
from streamcab.dsp.normalise import HOLDING, RunningNormaliser
from streamcab.inference.engine_output import Begun, EngineOutput
from streamcab.inference.reader import Reader
from streamcab.inference.slots import SlotTable
from streamcab.inference.steps import WHOLE, Steps, in_runs
from streamcab.nn.architecture import FOREVER
from streamcab.nn.backend import RUNS, Backend, make_backend
from streamcab.nn.weights import Net, detector_of

HELD = 8
"""Missing intervals that are pushed at a time until a hold is decided."""


class Engine:
    """The streams of a table on one set of weights.

    `heard`, `stepped`, `dropped` and `finished` are columns of the table.
    """

    def __init__(self, net: Net, slots: int | SlotTable, backend: Backend | None = None) -> None:
        """`slots`: how many in a table of its own, or the table of whoever keeps more of its streams.

        Without a backend: torch's, the reference.
        """
        arch = net.architecture
        if arch.normaliser != "running":
            raise ValueError(f"the {arch.normaliser} normaliser needs the whole clip and cannot be streamed")
        table = slots if isinstance(slots, SlotTable) else SlotTable(slots)
        self.architecture, self.table, self.slots = arch, table, table.size
        self.delay = arch.delay
        self.backend = backend or make_backend("torch", net, self.slots)
        self.normaliser = RunningNormaliser(
            self.slots,
            arch.interval,
            arch.interval_s,
            margin=RUNS[0],
            kept=arch.delay,
            detector=detector_of(net),
        )
        # What waits to be judged at a skip has to be missing.
        self._memory = max(arch.memory, self.normaliser.ahead)
        # After so many missing intervals every c_t before them has left the net.
        self._flushed = min(self.normaliser.ahead + self.delay, self._memory)
        self.reader = Reader(arch, table, self.normaliser)
        self.steps = Steps(arch, table, self.backend, self._memory)
        self.heard, self.stepped = table.heard, table.stepped
        self.dropped, self.finished = table.dropped, table.finished
        # Intervals left out by `pause` since the last one that was taken in.
        self._paused = table.column(np.int64)
        self.rested: NDArray[np.int64] = table.column(np.int64)
        """(slots,) samples left out by `pause`."""
        table.add(self.normaliser.reset, self.normaliser.bytes_per_slot)

    def attach(self, bank: Bank, row: int) -> int:
        """See `SlotTable.attach`."""
        return self.table.attach(bank, row)

    def detach(self, slot: int) -> None:
        """See `SlotTable.detach`."""
        self.table.detach(slot)

    def backlog(
        self, slots: NDArray[np.intp] | None = None
    ) -> Iterator[tuple[Bank, NDArray[np.intp], NDArray[np.int64]]]:
        """Yield each bank, the slots of its streams or of some, and how many samples of each wait to be taken.

        Silence that a sender has announced, and what a source has lost, wait for nobody.
        """
        if slots is None:
            slots = self.table.slots
        for which, bank, rows in self.table.by_bank(slots):
            some = slots[which]
            written, own = bank.written[rows], self.reader.front(bank).heard(self.heard[some])
            silent = np.minimum(bank.silence_to[rows], written) - np.maximum(bank.silence_from[rows], own)
            yield bank, some, written - own - np.maximum(silent, 0)

    def sample(self, slot: int, k: int) -> int:
        """Return the number of samples of the stream's source in its first k intervals."""
        front = self.reader.front(self.table.bank(slot))
        return k * front.interval * front.rate_in // front.pooled_rate

    def skip(self, slots: NDArray[np.intp], samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Leave out about `samples` (B,) waiting samples of streams of one bank, as if they had gone missing.

        Returns how many it was of each, (B,).
        """
        left_out = self._leave_out(slots, samples)
        self.dropped[slots] += left_out
        return left_out

    def pause(self, slots: NDArray[np.intp], samples: NDArray[np.int64]) -> None:
        """Leave out about `samples` (B,) waiting samples of streams of one bank on purpose: they count as rested.

        The net stands still until `advance` comes to these streams again. A pause that is shorter than the net's
        memory costs as much again: what the net remembers would not be what was before the audio.
        """
        n = self._intervals(slots, samples)
        self.rested[slots] += self._omit(slots, n, np.maximum(self._flushed - self._paused[slots], 0))
        self._paused[slots] += n

    def _resume(self, slots: NDArray[np.intp]) -> None:
        """Take in again the streams that paused."""
        forgotten = self._paused[slots] >= self._memory
        self.steps.forget_all(slots[forgotten])
        self.steps.deafen(slots[~forgotten])
        self._paused[slots] = 0

    def _leave_out(
        self, slots: NDArray[np.intp], samples: NDArray[np.int64], already: NDArray[np.int64] | int = 0
    ) -> NDArray[np.int64]:
        """Do as `skip`, without counting the samples as dropped; `already` (B,) of the gap were taken in before."""
        n = self._intervals(slots, samples)
        long = n + already >= self._memory
        known = self.steps.knows_silence
        computed = np.where(long & known, self._flushed, self._memory)
        left_out = self._omit(slots, n, np.maximum(computed - already, 0))
        if known:
            self.steps.forget_all(slots[long])
        elif long.any():
            self.steps.learn_silence(int(slots[long][0]))
        return left_out

    def _intervals(self, slots: NDArray[np.intp], samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the whole intervals (B,) in samples (B,) of streams of one bank."""
        arch, bank = self.architecture, self.table.bank(int(slots[0]))
        n: NDArray[np.int64] = np.maximum(samples * arch.pooled_rate // (bank.rate * arch.interval), 0)
        return n

    def _omit(
        self, slots: NDArray[np.intp], n: NDArray[np.int64], computed: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Skip n (B,) intervals, the first `computed` (B,) of them through the net; return how many samples, (B,)."""
        front = self.reader.front(self.table.bank(int(slots[0])))
        before = front.heard(self.heard[slots])
        left = n.copy()
        self._drain(slots)
        # What is held is decided on, too.
        while (
            go := (left > 0)
            & (((due := computed - (n - left)) > 0) | (self.normaliser.vad_state[slots] == HOLDING))
        ).any():
            some = np.where(go, np.minimum(left, np.where(due > 0, np.minimum(due, RUNS[0]), HELD)), 0)
            for h in np.unique(some[go]).tolist():
                these = slots[some == h]
                self.normaliser.push(these, nothing(len(these), h, self.architecture.interval))
                self.heard[these] += h
                self._drain(these)
            left -= some
        # The rest of the gap is only counted.
        rest = slots[left > 0]
        self.normaliser.skip(rest, left[left > 0])
        self.stepped[rest] += left[left > 0]
        self.heard[rest] += left[left > 0]
        after = front.heard(self.heard[slots])
        self.reader.resumed[slots[n > 0]] = after[n > 0]
        return after - before

    def advance(self, slots: NDArray[np.intp] | None = None) -> list[EngineOutput]:
        """Run one pass: take what has arrived for every stream, or for some, and answer what can be answered."""
        return self.steps.collect(self.begin(slots))

    def begin(self, slots: NDArray[np.intp] | None = None) -> list[Begun]:
        """Begin a pass, as `advance`; `Steps.collect` waits for its answers.

        Passes of other streams may begin before that. Of the same streams they may, too, but no answer may be read
        from what was collected in between.
        """
        some = self.table.slots
        if slots is not None:
            wanted = np.zeros(self.slots, np.bool_)
            wanted[slots] = True
            some = some[wanted[some]]
        for which, bank, rows in self.table.by_bank(some):
            self._take_in(bank, some[which], rows)
        return self.steps.begun()

    def abandon(self, slots: NDArray[np.intp]) -> NDArray[np.float64]:
        """Break off a pass over these streams: what was on its way through the net is lost to them, and no more.

        Milliseconds (m,) that each has lost; 0 for those that it had not come to. They count as dropped.
        """
        lost_ms = np.zeros(len(slots))
        normaliser = self.normaliser
        for i, slot in enumerate(slots.tolist()):
            if not self.table.in_use[slot]:
                continue
            one, at = np.array([slot]), max(int(normaliser.pushed[slot]), int(self.heard[slot]))
            if normaliser.pushed[slot] != self.heard[slot]:
                # Within the normaliser: whatever it knew of this stream, it cannot be trusted.
                normaliser.reset(one)
                normaliser.skip(one, np.array([at]))
                self.heard[slot] = at
            ending = self.steps.end[slot] != FOREVER and not self.finished[slot]
            gone = int(normaliser.taken[slot]) - max(int(self.stepped[slot]), 0)
            if gone <= 0 and not ending:
                continue
            self.steps.lose(slot, int(normaliser.taken[slot]))
            samples = self.sample(slot, max(gone, 0) + self.delay + self._memory)
            self.dropped[slot] += samples
            lost_ms[i] = 1000 * samples / self.table.bank(slot).rate
        return lost_ms

    def _take_in(self, bank: Bank, slots: NDArray[np.intp], rows: NDArray[np.intp]) -> None:
        front = self.reader.front(bank)
        paused = self._paused[slots] > 0
        if paused.any():
            self._resume(slots[paused])
        # In this order: what `ended` was said of is then the final `written`.
        ended = bank.ended[rows]
        written = bank.written[rows]
        whole = np.where(ended, front.total(written), front.ready(written))
        start, end = bank.silence_from[rows], np.minimum(bank.silence_to[rows], written)
        # The first interval that reaches into the newest long hole, and the one after which the net knows nothing else.
        hole = start * front.pooled_rate // (front.interval * bank.rate)
        known = hole + self._flushed
        heard = self.heard[slots]
        long = end - start >= front.heard(np.array(self._memory + 1))
        far = long & (end > front.heard(np.maximum(heard, known)))
        # Shorter holes are read like all else, so that streams stay together.
        self._hear(bank, slots, rows, np.where(far, known, whole) - heard, ended & ~far)
        if far.any():
            some, at = slots[far], rows[far]
            self._leave_out(some, end[far] - front.heard(self.heard[some]), self.heard[some] - hole[far])
            self._hear(bank, some, at, whole[far] - self.heard[some], ended[far])
        over = ended & ~self.finished[slots]
        if over.any():
            self._finish(slots[over])

    def _hear(
        self,
        bank: Bank,
        slots: NDArray[np.intp],
        rows: NDArray[np.intp],
        waiting: NDArray[np.int64],
        ended: NDArray[np.bool_],
    ) -> None:
        """Take the next `waiting` (B,) intervals of streams of a bank through the net; `ended`: they are the last."""
        waiting = np.maximum(waiting, 0)
        few = waiting % WHOLE
        # The last few of a stream go through the net with what is then flushed, all others before whole runs.
        for some, h in in_runs(np.where(ended, 0, few)):
            self.reader.read(bank, slots[some], rows[some], h)
        self._drain(self._begun(slots[(few > 0) & ~ended]))
        for some, h in in_runs(waiting - few):
            self.reader.read(bank, slots[some], rows[some], h)
            self._drain(self._begun(slots[some]))
        for some, h in in_runs(np.where(ended, few, 0)):
            self.reader.read(bank, slots[some], rows[some], h)

    def _begun(self, slots: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the streams whose first c_t has left the net, or does with what is ready: before that, a step of the
        net answers nothing."""
        return slots[(self.stepped[slots] > 0) | (self.normaliser.ready[slots] > self.delay)]

    def _drain(self, slots: NDArray[np.intp], least: int = 1) -> None:
        """Take what the normaliser has decided on through the net, in runs of `least` or more."""
        ready = self.normaliser.ready[slots]
        # What lies before a stream is silence: with some of it, one step takes a stream past its start.
        first = RUNS[0] if self.delay >= WHOLE else WHOLE
        whole = np.where(ready < first, first - ready, -ready % WHOLE)
        before = np.where((self.stepped[slots] == 0) & (ready > 0), whole, 0)
        for some, h in in_runs(ready + before, least):
            self.steps.push(slots[some], self.normaliser.take(slots[some], h, before[some]), before[some])
            before[some] = 0

    def _finish(self, slots: NDArray[np.intp]) -> None:
        """End streams without another interval: decide on holds, and flush the look-ahead as offline padding does."""
        self.steps.end[slots] = self.heard[slots]
        self.normaliser.finish(slots)
        # What fits into one step with the flush goes with it.
        self._drain(slots[self.normaliser.ready[slots] > RUNS[0] - self.delay], WHOLE)
        left = self.normaliser.ready[slots]
        for n in np.unique(left).tolist():
            last = slots[left == n]
            self.steps.flush(last, self.normaliser.take(last, n))
        self.finished[slots] = True
