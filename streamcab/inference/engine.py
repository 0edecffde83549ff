"""Rings in, c_t out: front end, normaliser and net together, for all streams that are attached, in one pass.

A pass takes whatever whole intervals have arrived. Streams are cut into runs of 8, 4, 2 and 1 intervals, and
all streams with a run of one length go through each layer together; so they join, leave and fall behind
independently, and what a stream is answered depends on its own samples only.

Knows nothing of clocks, threads, sockets or names; a stream is a slot here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import NO_SAMPLE, Bank
from streamcab.dsp.bands import BANDS, FLOOR
from streamcab.dsp.frontend import FrontEnd, Pooled, front_end
from streamcab.dsp.normalise import HOLDING, MISSING, SILENT, NormalisedBatch, RunningNormaliser
from streamcab.inference.engine_output import EngineOutput
from streamcab.nn.backend import Backend, TorchBackend
from streamcab.nn.cabcnn import CabCnn, detector_of
from streamcab.nn.distiller import FOREVER

RUNS = (8, 4, 2, 1)
GAP = 8
"""Missing intervals after which the net has forgotten what was before them: its reach is less than 5."""


@dataclass
class _Group:
    """The attached streams of one bank."""

    bank: Bank
    front: FrontEnd
    slots: NDArray[np.intp]
    rows: NDArray[np.intp]


class Engine:
    """Up to `slots` streams on one set of weights.

    heard     (slots,) intervals taken from the ring, in stream time
    stepped   (slots,) intervals that have gone into the net
    dropped   (slots,) samples that were captured and not classified, because the reader was late
    finished  (slots,) bool, the stream has ended and its last interval has been emitted
    """

    def __init__(self, model: CabCnn, slots: int, backend: Backend | None = None) -> None:
        arch = model.architecture
        if arch.normaliser != "running":
            raise ValueError(f"the {arch.normaliser} normaliser needs the whole clip and cannot be streamed")
        self.architecture, self.slots = arch, slots
        self.delay = model.distiller.delay
        self.backend = backend or TorchBackend(model, slots)
        self._detector = detector_of(model)
        self.normaliser = RunningNormaliser(
            slots, arch.interval, arch.interval_s, max(RUNS[0], GAP), self._detector
        )
        self.heard = np.zeros(slots, np.int64)
        self.dropped = np.zeros(slots, np.int64)
        self.finished = np.zeros(slots, np.bool_)
        self.stepped = np.zeros(slots, np.int64)
        self._end = np.full(slots, FOREVER, np.int64)
        # The sample after the last skip: what was left out is missing, though the ring may still hold it.
        self._resumed = np.full(slots, -FOREVER, np.int64)
        # Kind, level and width of the intervals whose c_t is still on its way through the net.
        self._kind = np.zeros((slots, self.delay), np.uint8)
        self._power = np.zeros((slots, self.delay))
        self._wide = np.zeros((slots, self.delay), np.bool_)
        # Intervals to come that do not count: what the net remembers is not what was before them.
        self._deaf = np.zeros(slots, np.int64)
        self._free = list(range(slots - 1, -1, -1))
        self._out: list[EngineOutput] = []
        self._groups: dict[int, _Group] = {}
        self._group_of: dict[int, int] = {}

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream, ring and window not counted."""
        own = sum(a.nbytes // len(a) for a in vars(self).values() if isinstance(a, np.ndarray))
        return self.backend.bytes_per_slot + self.normaliser.bytes_per_slot + own

    @property
    def free(self) -> int:
        """Streams that can still be attached."""
        return len(self._free)

    def attach(self, bank: Bank, row: int) -> int:
        """A new stream that reads `row` of `bank` from its sample 0 on; its slot. ValueError when all are taken."""
        if not self._free:
            raise ValueError(f"all {self.slots} slots are taken")
        slot = self._free.pop()
        one = np.array([slot])
        self.backend.reset(one)
        self.normaliser.reset(one)
        for a in (
            self.heard,
            self.dropped,
            self.stepped,
            self.finished,
            self._kind,
            self._power,
            self._wide,
            self._deaf,
        ):
            a[slot] = 0
        self._end[slot] = FOREVER
        self._resumed[slot] = -FOREVER
        group = self._groups.get(id(bank))
        if group is None:
            arch = self.architecture
            bands = self._detector is not None
            front = front_end(bank.rate, arch.rate, arch.pooled_rate, arch.interval, bands)
            none = np.zeros(0, np.intp)
            group = self._groups[id(bank)] = _Group(bank, front, none, none)
        group.slots = np.append(group.slots, slot)
        group.rows = np.append(group.rows, row)
        self._group_of[slot] = id(bank)
        return slot

    def detach(self, slot: int) -> None:
        """Forget a stream; its slot may be given to another."""
        key = self._group_of.pop(slot)
        group = self._groups[key]
        keep = group.slots != slot
        group.slots, group.rows = group.slots[keep], group.rows[keep]
        if not len(group.slots):
            del self._groups[key]
        # Between two passes only a skip leaves answers.
        self._out = [rest for e in self._out if len((rest := e.of(e.slots != slot)).slots)]
        self._free.append(slot)

    def backlog(self) -> Iterator[tuple[Bank, NDArray[np.intp], NDArray[np.int64]]]:
        """For each bank: the bank, its streams' slots, and how many samples of each wait to be taken."""
        for group in self._groups.values():
            waiting = group.bank.written[group.rows] - group.front.heard(self.heard[group.slots])
            yield group.bank, group.slots, waiting

    def sample(self, slot: int, k: int) -> int:
        """How many samples of the stream's source lie in its first k intervals."""
        front = self._groups[self._group_of[slot]].front
        return k * front.interval * front.rate_in // front.pooled_rate

    def skip(self, slots: NDArray[np.intp], samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Leave out about `samples` (B,) waiting samples of streams of one bank, as if they had gone missing.

        Returns how many it was of each, (B,).
        """
        arch, group = self.architecture, self._groups[self._group_of[int(slots[0])]]
        n = np.maximum(samples * arch.pooled_rate // (group.bank.rate * arch.interval), 0)
        before = group.front.heard(self.heard[slots])
        left = n.copy()
        # Until the net has forgotten what was before, and no hold waits.
        while (go := (left > 0) & ((n - left < GAP) | (self.normaliser.vad_state[slots] == HOLDING))).any():
            some = np.where(go, np.minimum(left, GAP), 0)
            for h in np.unique(some[go]).tolist():
                self._push_missing(slots[some == h], h)
            left -= some
        # The rest of the gap is only counted.
        rest = slots[left > 0]
        self.normaliser.skip(rest, left[left > 0])
        self.stepped[rest] += left[left > 0]
        self.heard[rest] += left[left > 0]
        after = group.front.heard(self.heard[slots])
        self._resumed[slots[n > 0]] = after[n > 0]
        self.dropped[slots] += after - before
        return after - before

    def advance(self, slots: NDArray[np.intp] | None = None, bunch: int = 1) -> list[EngineOutput]:
        """One pass: take what has arrived for every stream, or for some, and answer what can be answered.

        bunch  take a multiple of so many intervals of each, leave the rest for later: whole runs cost less
        """
        wanted = np.full(self.slots, slots is None)
        if slots is not None:
            wanted[slots] = True
        for group in self._groups.values():
            keep = wanted[group.slots]
            if keep.all():
                self._take_in(group, bunch)
            elif keep.any():
                self._take_in(_Group(group.bank, group.front, group.slots[keep], group.rows[keep]), bunch)
        out, self._out = self._out, []
        return out

    @property
    def attached(self) -> NDArray[np.intp]:
        """The slots in use."""
        return np.array(sorted(self._group_of), np.intp)

    def abandon(self, slots: NDArray[np.intp]) -> NDArray[np.float64]:
        """A pass over these streams broke off: what was on its way through the net is lost to them, and no more.

        Milliseconds (m,) that each has lost; 0 for those that it had not come to. They count as dropped.
        """
        lost_ms = np.zeros(len(slots))
        normaliser = self.normaliser
        for i, slot in enumerate(slots.tolist()):
            if slot not in self._group_of:
                continue
            one, at = np.array([slot]), max(int(normaliser.pushed[slot]), int(self.heard[slot]))
            if normaliser.pushed[slot] != self.heard[slot]:
                # Within the normaliser: whatever it knew of this stream, it cannot be trusted.
                normaliser.reset(one)
                normaliser.skip(one, np.array([at]))
                self.heard[slot] = at
            ending = self._end[slot] != FOREVER and not self.finished[slot]
            gone = int(normaliser.taken[slot] - self.stepped[slot])
            if gone <= 0 and not ending:
                continue
            self.stepped[slot] = normaliser.taken[slot]
            self._kind[slot], self._deaf[slot] = MISSING, GAP
            samples = self.sample(slot, max(gone, 0) + self.delay + GAP)
            self.dropped[slot] += samples
            lost_ms[i] = 1000 * samples / self._groups[self._group_of[slot]].bank.rate
        return lost_ms

    def _take_in(self, group: _Group, bunch: int) -> None:
        bank, front, slots, rows = group.bank, group.front, group.slots, group.rows
        # In this order: what `ended` was said of is then the final `written`.
        ended = bank.ended[rows]
        written = bank.written[rows]
        whole = np.where(ended, front.total(written), front.ready(written))
        waiting = whole - self.heard[slots]
        waiting -= np.where(ended, 0, waiting % bunch)
        most = int(waiting.max(initial=0))
        for h in RUNS:
            while most >= h:
                some = np.flatnonzero(waiting >= h)
                self._push(group, some, h)
                self._drain(slots[some])
                waiting[some] -= h
                most = int(waiting.max())
        over = ended & ~self.finished[slots]
        if over.any():
            self._finish(slots[over])

    def _push(self, group: _Group, which: NDArray[np.intp], h: int) -> None:
        """The next h intervals of some streams of a group, from ring to normaliser."""
        bank, front = group.bank, group.front
        phase = self.heard[group.slots[which]] % front.period
        for p in np.unique(phase) if front.period > 1 else (0,):
            some = which[phase == p]
            slots, rows = group.slots[some], group.rows[some]
            k = self.heard[slots]
            start, stop = front.span(int(k[0]), h)
            # Whole periods lie between these streams: their spans are equally long.
            starts = start + front.heard(k - k[0])
            x = bank.read(rows, starts, stop - start)
            resumed = self._resumed[slots]
            if (starts < resumed).any():
                x[starts[:, None] + np.arange(stop - start) < resumed[:, None]] = NO_SAMPLE
            self.normaliser.push(slots, front.pool(x, int(k[0]), h))
            self.heard[slots] += h
            own, after = front.heard(k), front.heard(k + h)
            overtaken = bank.oldest(rows) - own
            self.dropped[slots] += np.minimum(np.maximum(overtaken, 0), after - own)
            bank.consumed[rows] = np.maximum(starts + after - own, 0)

    def _push_missing(self, slots: NDArray[np.intp], h: int) -> None:
        """h intervals that nobody heard."""
        shape = (len(slots), h)
        nothing = np.zeros(shape)
        maxima = np.zeros((*shape, self.architecture.interval), np.float32)
        levels = np.full((*shape, BANDS), FLOOR, np.int16)
        pooled = Pooled(maxima, np.ones(h, np.int64), nothing, nothing, np.ones(shape, np.bool_), levels)
        self.normaliser.push(slots, pooled)
        self.heard[slots] += h
        self._drain(slots)

    def _drain(self, slots: NDArray[np.intp]) -> None:
        """Through the net with all that the normaliser has decided on."""
        ready = self.normaliser.ready[slots]
        most = int(ready.max(initial=0))
        for h in RUNS:
            while most >= h:
                some = ready >= h
                heard = self.normaliser.take(slots[some], h)
                self._step(slots[some], heard)
                ready[some] -= h
                most = int(ready.max())

    def _step(self, slots: NDArray[np.intp], heard: NormalisedBatch) -> None:
        h = heard.kind.shape[1]
        first = self.stepped[slots]
        c, alpha, u = self.backend.step(slots, heard.x, first, self._end[slots])
        deaf = self._deaf[slots]
        if deaf.any():
            heard.kind[np.arange(h) < deaf[:, None]] = MISSING
            self._deaf[slots] = np.maximum(deaf - h, 0)
        # A c_t leaves the net `delay` intervals after its audio went in: so do its kind and level.
        kind = np.concatenate((self._kind[slots], heard.kind), 1)
        power = np.concatenate((self._power[slots], heard.power), 1)
        wide = np.concatenate((self._wide[slots], heard.wide), 1)
        self._kind[slots], self._power[slots], self._wide[slots] = kind[:, h:], power[:, h:], wide[:, h:]
        self.stepped[slots] += h
        missing = kind[:, :h] == MISSING
        if missing.any():
            u = np.where(missing[..., None], np.float32(np.nan), u)
        self._out.append(
            EngineOutput(slots, first - self.delay, c, alpha, u, kind[:, :h], power[:, :h], wide[:, :h])
        )

    def _finish(self, slots: NDArray[np.intp]) -> None:
        """Streams without another interval: decide what is held, and flush the look-ahead as offline padding does."""
        self._end[slots] = self.heard[slots]
        self.normaliser.finish(slots)
        self._drain(slots)
        left = self.delay
        for h in RUNS:
            while left >= h:
                x = np.zeros((len(slots), h * self.architecture.interval), np.float32)
                none = np.zeros((len(slots), h))
                self._step(
                    slots,
                    NormalisedBatch(x, np.full_like(none, SILENT, np.uint8), none, none.astype(np.bool_)),
                )
                left -= h
        self.finished[slots] = True
