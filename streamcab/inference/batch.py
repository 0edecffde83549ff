"""Whole clips, many at a time: pieces of samples in, the sums of each clip or of its segments out.

As the engine hears streams, but in blocks of a second, each clip as fast as its samples can be had. All clips of a
batch move on together, whatever their length; one that has ended makes room for the next. So the normaliser works on
all of them at once, the net has full batches of long blocks, and memory does not depend on how long a clip is. What a
clip is answered depends on its own samples only. Knows nothing of files, of names or of labels.
"""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.bands import BANDS, FLOOR
from streamcab.dsp.frontend import FrontEnd, Pooled, front_end
from streamcab.dsp.gate import SILENT
from streamcab.dsp.normalise import RunningNormaliser
from streamcab.errors import StreamcabError
from streamcab.inference.engine_output import EngineOutput, no_evidence
from streamcab.inference.reading import Reading
from streamcab.inference.whole import WholeSums
from streamcab.nn.architecture import FOREVER
from streamcab.nn.backend import Backend
from streamcab.nn.weights import Net, detector_of

BLOCK = 40
"""Intervals of a step of the net: long blocks cost a fifth less than the engine's runs of 8."""
POOL = 400
"""Intervals that are pooled at a time."""

Key = TypeVar("Key", bound=Hashable)
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Clip(Generic[Key]):
    """A clip that is to be heard: `pieces` of mono samples at `rate` Hz, in order, of any length.

    segment  intervals after which another answer is wanted; 0: one for the whole clip
    """

    key: Key
    rate: int
    pieces: Iterable[Floats]
    segment: int = 0


@dataclass(frozen=True)
class ClipResult(Generic[Key]):
    """The result for a clip, or for a part of it.

    Attributes:
        start: First interval.
        samples: Samples of the clip up to here, at its rate.
        power: Mean level of the intervals.
        last: Whether nothing follows.
        error: Why the clip broke off; then there is no reading.
    """

    key: Key
    start: int
    reading: Reading | None
    samples: int
    power: float
    last: bool
    error: StreamcabError | None = None


@dataclass
class _Playing(Generic[Key]):
    """A clip that has a slot. Samples `begin` .. of it are in `x`, pooled intervals wait in `pooled` from `used` on."""

    clip: Clip[Key]
    pieces: Iterator[Floats]
    front: FrontEnd
    begin: int
    x: Floats
    samples: int = 0
    intervals: int = 0
    ended: bool = False
    pooled: list[Pooled] = field(default_factory=list)
    used: int = 0
    waiting: int = 0
    since: int = 0

    def fill(self, least: int) -> None:
        """Pool until enough intervals wait, or the clip has ended."""
        while self.waiting < least and not self.ended:
            piece = next(self.pieces, None)
            if piece is None:
                self.ended = True
            else:
                self.samples += len(piece)
                self.x = np.concatenate((self.x, piece)) if self.x.size else piece
            whole = self.front.total if self.ended else self.front.ready
            until = int(whole(np.array([self.samples]))[0])
            while self.intervals < until:
                self._pool(min(until - self.intervals, POOL))

    def _pool(self, h: int) -> None:
        k = self.intervals
        start, stop = self.front.span(k, h)
        x = np.zeros((1, stop - start), np.float32)
        first, last = max(start, 0), min(stop, self.samples)
        x[0, first - start : last - start] = self.x[first - self.begin : last - self.begin]
        self.pooled.append(self.front.pool(x, k, h))
        self.waiting += h
        self.intervals += h
        keep = max(self.front.span(self.intervals, 0)[0], self.begin)
        self.x, self.begin = self.x[keep - self.begin :], keep

    def take(self, into: Pooled, row: int) -> int:
        """Take the next intervals, at most a block of them, into a row; return how many they were."""
        n, size = 0, into.maxima.shape[1]
        while n < size and self.pooled:
            one = self.pooled[0]
            m = min(len(one.count) - self.used, size - n)
            here, there = slice(n, n + m), slice(self.used, self.used + m)
            into.maxima[row, here], into.count[row, here] = one.maxima[0, there], one.count[there]
            into.sum[row, here], into.square[row, here] = one.sum[0, there], one.square[0, there]
            if into.levels is not None and one.levels is not None:
                into.levels[row, here] = one.levels[0, there]
            n, self.used = n + m, self.used + m
            if self.used == len(one.count):
                self.used = 0
                del self.pooled[0]
        self.waiting -= n
        return n


class ClipBatch(Generic[Key]):
    """Computes clips in batches of up to `slots` on one net.

    Args:
        gate: Whether only voiced intervals count.
        block: Intervals of a step, at most a second of them.
    """

    def __init__(self, net: Net, backend: Backend, slots: int, gate: bool, block: int = BLOCK) -> None:
        arch = net.architecture
        if arch.normaliser != "running":
            raise ValueError(f"the {arch.normaliser} normaliser needs the whole clip")
        self._arch, self._backend, self._gate, self._block = arch, backend, gate, block
        # What is not yet a whole block waits in the normaliser.
        self._normaliser = RunningNormaliser(
            slots, arch.interval, arch.interval_s, margin=2 * block, detector=detector_of(net)
        )
        self._sums = WholeSums(net, slots)
        self._clips: list[_Playing[Key] | None] = [None] * slots
        self._stepped, self._end = np.zeros(slots, np.int64), np.full(slots, FOREVER, np.int64)
        delay = arch.delay
        self._kind = np.zeros((slots, delay), np.uint8)
        self._power, self._wide = np.zeros((slots, delay)), np.zeros((slots, delay), np.bool_)

    def hear(self, clips: Iterable[Clip[Key] | None]) -> Iterator[ClipResult[Key]]:
        """Compute all clips, and yield results as clips end.

        The next clip is taken when there is room for it. None in place of a clip means that there is none yet: go on
        with those in work.
        """
        more = iter(clips)
        exhausted = False
        while True:
            for slot in [] if exhausted else [s for s, p in enumerate(self._clips) if p is None]:
                try:
                    clip = next(more)
                except StopIteration:
                    exhausted = True
                    break
                if clip is None:
                    break
                self._begin(slot, clip)
            yield from self._fill()
            slots = np.array([s for s, p in enumerate(self._clips) if p is not None], np.intp)
            if slots.size:
                self._push(slots)
                yield from self._step(slots)
            elif exhausted:
                return

    def _begin(self, slot: int, clip: Clip[Key]) -> None:
        arch, one = self._arch, np.array([slot])
        front = front_end(clip.rate, arch.rate, arch.pooled_rate, arch.interval, arch.detector > 0)
        self._clips[slot] = _Playing(clip, iter(clip.pieces), front, 0, np.zeros(0, np.float32))
        self._normaliser.reset(one)
        self._backend.reset(one)
        self._sums.reset(one)
        self._stepped[slot], self._end[slot] = 0, FOREVER
        self._kind[slot], self._power[slot], self._wide[slot] = SILENT, 0, False

    def _fill(self) -> Iterator[ClipResult[Key]]:
        """Read a block of each clip at least; those that broke off, or hold not one interval, have ended."""
        for slot, playing in enumerate(self._clips):
            if playing is None:
                continue
            error = None
            try:
                playing.fill(self._block)
            except StreamcabError as broken:
                error = broken
            if playing.ended:
                self._end[slot] = playing.intervals
            if error is not None or (playing.ended and not playing.intervals):
                self._clips[slot] = None
                yield ClipResult(playing.clip.key, playing.since, None, playing.samples, 0.0, True, error)

    def _push(self, slots: NDArray[np.intp]) -> None:
        """Return the next block of each clip, missing beyond its end, which changes nothing before it."""
        shape = (len(slots), self._block)
        pooled = Pooled(
            np.zeros((*shape, self._arch.interval), np.float32),
            np.ones(shape, np.int64),
            np.zeros(shape),
            np.zeros(shape),
            np.ones(shape, np.bool_),
            np.full((*shape, BANDS), FLOOR, np.int16) if self._arch.detector else None,
        )
        for row, slot in enumerate(slots.tolist()):
            playing = self._clips[slot]
            assert playing is not None
            pooled.missing[row, : playing.take(pooled, row)] = False
        self._normaliser.push(slots, pooled)

    def _step(self, slots: NDArray[np.intp]) -> Iterator[ClipResult[Key]]:
        """Send all whole blocks that the normaliser has decided on through the net."""
        arch, half = self._arch, max(self._block // 2, 1)
        while slots.size:
            first, end = self._stepped[slots], self._end[slots]
            left = end + arch.delay - first
            # Halves near an edge, where steps cost more, and where a clip needs no more.
            short = (first <= arch.delay) | (left <= half) | ((first + self._block > end) & (first < end))
            h = np.where(short, half, self._block)
            ready = (self._normaliser.ready[slots] >= h) & (left > 0)
            slots, h = slots[ready], h[ready]
            for size in np.unique(h).tolist():
                yield from self._answer(slots[h == size], size)
            over = self._stepped[slots] >= self._end[slots] + arch.delay
            for slot in slots[over].tolist():
                yield self._told(slot, last=True)
                self._clips[slot] = None
            slots = slots[~over]

    def _answer(self, slots: NDArray[np.intp], h: int) -> Iterator[ClipResult[Key]]:
        """Compute one step of some clips, and answer the segments that it completes."""
        heard, first, delay = self._normaliser.take(slots, h), self._stepped[slots], self._arch.delay
        end = self._end[slots]
        c, alpha, u = self._backend.step(slots, heard.x, first, end)
        self._stepped[slots] += h
        # A c_t leaves the net `delay` intervals after its audio went in: so do its kind and level.
        kind = np.concatenate((self._kind[slots], heard.kind), 1)
        power = np.concatenate((self._power[slots], heard.power), 1)
        wide = np.concatenate((self._wide[slots], heard.wide), 1)
        self._kind[slots], self._power[slots], self._wide[slots] = kind[:, h:], power[:, h:], wide[:, h:]
        u = np.where(no_evidence(kind[:, :h])[..., None], np.float32(np.nan), u)
        answered = EngineOutput(slots, first - delay, c, alpha, u, kind[:, :h], power[:, :h], wide[:, :h])
        start = np.clip(-answered.first, 0, h)
        stop = np.clip(end - answered.first, start, h)
        while True:
            cut = np.array([self._next_cut(slot) for slot in slots.tolist()]) - answered.first
            until = np.minimum(cut, stop)
            self._sums.add(answered, self._gate, start, until)
            full = np.flatnonzero(until == cut)
            if not full.size:
                return
            for slot in slots[full].tolist():
                yield self._told(slot, last=False)
            start = until

    def _next_cut(self, slot: int) -> int:
        """Return the interval at which the segment ends that is under way."""
        playing = self._clips[slot]
        assert playing is not None
        return playing.since + (playing.clip.segment or FOREVER)

    def _told(self, slot: int, *, last: bool) -> ClipResult[Key]:
        """Return the answer of a segment or clip; none where no interval is left for the last one."""
        playing, one = self._clips[slot], np.array([slot])
        assert playing is not None
        start, seen = playing.since, int(self._sums.seen[slot])
        reading = self._sums.read(one) if seen else None
        power = float(self._sums.power[slot]) / max(seen, 1)
        playing.since = start + seen
        self._sums.reset(one)
        samples = playing.samples if last else int(playing.front.heard(np.array([playing.since]))[0])
        return ClipResult(playing.clip.key, start, reading, samples, power, last)
