"""The running normaliser: makes the level of each stream's speech alike, and marks the intervals that are voiced.

It serves live streams, and the training of models that will serve them. Each stream is in one of three states:

    idle      nothing was voiced in the last 30 s, or ever. Intervals pass as zeros and do not vote. The first interval
              of speech starts a hold.
    holding   one second of audio is kept back to learn the level from it. Then its intervals pass together, normalised
              alike. If too little of it was speech, they pass as zeros, and the stream is idle again.
    active    an interval of speech is voiced if its level is above the threshold of gate.py. Mean and deviation are
              those of the voiced samples of the last 30 s.

A model with a speech detector (detector.py) asks it first. An interval without speech is never voiced, however loud.
The detector answers `AHEAD` intervals later.

Silence, noise and, with a detector, other sounds leave no trace in the statistics: speech after them is normalised as
if the stream had just begun. All decisions are made interval by interval in absolute position, so chunks do not matter.
Knows nothing of sample rates, of sources, or of the net.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.bands import BANDS, FLOOR, NARROW, high_bands
from streamcab.dsp.detector import AHEAD, Detector, Weights
from streamcab.dsp.frontend import Pooled
from streamcab.dsp.gate import (
    ABOVE_FLOOR,
    FLOOR_S,
    LOUD,
    MISSING,
    ONSET_HEARD_S,
    ONSET_S,
    POWER_FLOOR,
    SILENT,
    SOUND,
    VOICED,
    threshold,
)
from streamcab.dsp.normalised import NormalisedBatch
from streamcab.dsp.speech_levels import SpeechLevels

HOLD_S = 1.0
MEMORY_S = 30.0
BLOCK_S = 1.0
IDLE, HOLDING, ACTIVE = 0, 1, 2

Ints = NDArray[np.intp]
Floats = NDArray[np.float64]
_HIGH = high_bands()


class RunningNormaliser:
    """The running normaliser of many streams, each in a slot: `push` intervals as they arrive, `take` decided ones.

    Args:
        slots: Number of streams.
        interval: Pooled samples per interval, I.
        interval_s: Seconds per interval.
        margin: Most intervals that are pushed at once.
        detector: Speech detector; without one, the gate judges by level alone.
        kept: Most decided intervals that are not taken before the next push.
    """

    def __init__(
        self,
        slots: int,
        interval: int,
        interval_s: float,
        margin: int = 16,
        detector: Weights | None = None,
        kept: int = 0,
    ) -> None:
        self.hold = round(HOLD_S / interval_s)
        block, blocks = round(BLOCK_S / interval_s), round(MEMORY_S / BLOCK_S)
        floor = round(FLOOR_S / interval_s)
        self.interval, self.margin = interval, margin
        self.detector = None if detector is None else Detector(detector, slots, margin)
        self.ahead = AHEAD if self.detector else 0
        """Intervals that are pushed beyond the one that is judged."""
        self._onset = max(round((ONSET_HEARD_S if self.detector else ONSET_S) / interval_s), 1)
        self._room = self.hold + margin + self.ahead + kept

        self.vad_state = np.zeros(slots, np.uint8)
        self.pushed = np.zeros(slots, np.int64)
        self.judged = np.zeros(slots, np.int64)
        self.decided = np.zeros(slots, np.int64)
        self.taken = np.zeros(slots, np.int64)
        self._levels = SpeechLevels(slots, floor, block, blocks, detector is not None)
        # Intervals that wait to be taken, at (absolute interval) % room.
        self._maxima = np.zeros((slots, self._room, interval), np.float32)
        self._stats = np.zeros((slots, self._room, 3))
        self._power = np.zeros((slots, self._room))
        self._mean = np.zeros((slots, self._room), np.float32)
        self._scale = np.zeros((slots, self._room), np.float32)
        self._kind = np.zeros((slots, self._room), np.uint8)
        self._wide = np.ones((slots, self._room), np.bool_)
        self._speech = np.ones((slots, self._room), np.bool_)

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream."""
        arrays = [a for a in vars(self).values() if isinstance(a, np.ndarray)]
        own = sum(a.nbytes // len(a) for a in arrays) + self._levels.bytes_per_slot
        return own + (self.detector.bytes_per_slot if self.detector else 0)

    def reset(self, slots: Ints) -> None:
        """Make slots ready for new streams."""
        self.vad_state[slots] = IDLE
        for a in (self.pushed, self.judged, self.decided, self.taken):
            a[slots] = 0
        self._levels.reset(slots)
        if self.detector:
            self.detector.reset(slots)

    @property
    def ready(self) -> NDArray[np.int64]:
        """Intervals decided and not yet taken, for each slot."""
        return self.decided - self.taken

    def push(self, slots: Ints, pooled: Pooled) -> None:
        """Take in the next H <= margin intervals of the streams in `slots` (no slot twice)."""
        h = pooled.maxima.shape[1]
        assert h <= self.margin, f"{h} intervals at once, margin is {self.margin}"
        at = (self.pushed[slots, None] + np.arange(h)) % self._room
        row = slots[:, None]
        self._maxima[row, at] = pooled.maxima
        self._power[row, at] = pooled.power
        self._kind[row, at] = np.where(pooled.missing, MISSING, SILENT)
        stats = self._stats
        stats[row, at, 0] = pooled.count
        stats[row, at, 1] = pooled.sum
        stats[row, at, 2] = pooled.square
        if self.detector is not None:
            assert pooled.levels is not None, "a detector wants levels"
            loudest, high = pooled.levels.max(2), pooled.levels[..., _HIGH].max(2)
            self._wide[row, at] = high > loudest - NARROW
            speech = self.detector.push(slots, pooled.levels) > 0
            self._speech[row, (at - self.ahead) % self._room] = speech
        self.pushed[slots] += h
        self._judge(slots, self.pushed[slots] - self.ahead)

    def skip(self, slots: Ints, n: NDArray[np.int64]) -> None:
        """Let n (B,) missing intervals pass: old levels and statistics are forgotten as if they had been pushed.

        Intervals that still wait to be judged must be missing, too.
        """
        pending = np.minimum(self.pushed[slots] + n, self.ahead)
        n_judged = n + (self.pushed - self.judged)[slots] - pending
        k = self.judged[slots]
        self.pushed[slots] += n
        for field in (self.judged, self.decided, self.taken):
            field[slots] += n_judged
        self._levels.skip(slots, k, n_judged)
        self.vad_state[slots[(self.vad_state[slots] == ACTIVE) & (self._levels.voiced(slots) == 0)]] = IDLE
        if self.detector is not None:
            self.detector.skip(slots, n)
            waiting = (self.judged[slots, None] + np.arange(self.ahead)) % self._room
            self._kind[slots[:, None], waiting] = MISSING
            self._power[slots[:, None], waiting] = 0
            self._speech[slots[:, None], waiting] = False

    def finish(self, slots: Ints) -> None:
        """End streams: judge the intervals that wait, as if silence followed, and decide on a hold."""
        if self.detector is not None:
            nothing = np.full((len(slots), self.ahead, BANDS), FLOOR, np.int16)
            speech = self.detector.push(slots, nothing) > 0
            last = self.pushed[slots, None] - self.ahead + np.arange(self.ahead)
            self._speech[slots[:, None], last % self._room] = speech
            self._judge(slots, self.pushed[slots])
        held = slots[self.vad_state[slots] == HOLDING]
        for slot in held:
            self._decide(np.array([slot]), int(self.judged[slot] - self.decided[slot]))

    def take(self, slots: Ints, h: int, before: Ints | int = 0) -> NormalisedBatch:
        """Return the next h decided intervals of each of `slots`; each must have as many `ready`.

        Args:
            slots: The streams, (B,).
            h: Number of intervals.
            before: So many of them, (B,), precede the stream: silence. Only where none has been taken yet.
        """
        index = self.taken[slots, None] - np.reshape(before, (-1, 1)) + np.arange(h)
        at = index % self._room
        row = slots[:, None]
        x = (self._maxima[row, at] - self._mean[row, at, None]) * self._scale[row, at, None]
        kind = self._kind[row, at]
        if (index < 0).any():
            kind[index < 0] = SILENT
            x[index < 0] = 0.0
        if (kind == MISSING).any():
            x[kind == MISSING] = 0.0
        self.taken[slots] += h - before
        return NormalisedBatch(x.reshape(len(slots), -1), kind, self._power[row, at], self._wide[row, at])

    def _judge(self, slots: Ints, until: NDArray[np.int64]) -> None:
        """Judge all intervals before `until` (B,)."""
        left = until - self.judged[slots]
        most = int(left.max(initial=0))
        if 1 < most <= self._levels.floor:
            active = (left == most) & (self.vad_state[slots] == ACTIVE)
            steady = active & self._levels.remains(slots, self.judged[slots])
            if steady.any():
                self._judge_active(slots[steady], most)
                left[steady] = 0
                most = int(left.max())
        for _ in range(most):
            self._advance(slots if (left > 0).all() else slots[left > 0])
            left -= 1

    def _judge_active(self, slots: Ints, h: int) -> None:
        """Judge the next h intervals of streams that are active and remain so."""
        row, k = slots[:, None], self.judged[slots, None] + np.arange(h)
        at = k % self._room
        kind, said = self._kind[row, at], self._speech[row, at]
        level = np.where(kind == MISSING, np.inf, self._power[row, at])
        voiced, speech, totals = self._levels.judge(slots, k, level, said, self._stats[row, at])
        kind[voiced] = VOICED
        if self.detector is not None:
            kind[np.isfinite(level) & (level > LOUD * speech) & ~said] = SOUND
        self._kind[row, at] = kind
        self._set(row, at, totals)
        self.judged[slots] += h
        self.decided[slots] += h

    def _advance(self, slots: Ints) -> None:
        """Judge the next interval of each stream."""
        k = self.judged[slots]
        at = k % self._room
        power, missing = self._power[slots, at], self._kind[slots, at] == MISSING
        new_block = k % self._levels.block == 0
        if new_block.any():
            turn = slots[new_block]
            left = self._levels.begin(turn, k[new_block])[:, 0]
            self.vad_state[turn[(self.vad_state[turn] == ACTIVE) & (left == 0)]] = IDLE
        vad_state = self.vad_state[slots]
        started = vad_state == IDLE
        if started.any():
            before = self._levels.lowest(slots)
            started &= ~missing & (power > POWER_FLOOR)
            if self.detector:
                started &= self._speech[slots, at]
            else:
                started &= ~np.isfinite(before) | (power > ABOVE_FLOOR * before)
            self._levels.forget_floor(slots[started])
            vad_state = np.where(started, HOLDING, vad_state)
            self.vad_state[slots[started]] = HOLDING
        active = vad_state == ACTIVE
        if active.any():
            self._judge_active(slots[active], 1)
        rest = ~active
        # Speech may begin within an interval and fill a part of it: a hold's first interval measures no floor.
        level = np.where(missing | started, np.inf, power)
        self._levels.note(slots[rest], k[rest], level[rest])
        self.judged[slots[rest]] += 1
        if not active.all():
            idle = vad_state == IDLE
            self._silence(slots[idle], at[idle])
            self.decided[slots[idle]] += 1
            held = slots[vad_state == HOLDING]
            full = held[self.judged[held] - self.decided[held] == self.hold]
            if len(full):
                self._decide(full, self.hold)

    def _decide(self, slots: Ints, n: int) -> None:
        """End the hold of streams that have n intervals waiting: as speech, or as nothing."""
        waiting = self.decided[slots, None] + np.arange(n)
        at = waiting % self._room
        row = slots[:, None]
        here = self._kind[row, at] != MISSING
        power = self._power[row, at]
        floor = np.where(here, power, np.inf)[:, 1:].min(1, keepdims=True, initial=np.inf)
        voiced = here & self._speech[row, at]
        if self.detector is None:
            voiced &= power > np.maximum(ABOVE_FLOOR * floor, POWER_FLOOR)
        level = (power * voiced).sum(1, keepdims=True) / np.maximum(voiced.sum(1, keepdims=True), 1)
        voiced &= power > threshold(floor, level, self.detector is not None)
        talk = voiced.sum(1) >= self._onset
        self._silence(row[~talk], at[~talk])
        self.vad_state[slots[~talk]] = IDLE
        for slot, where, when, marks in zip(slots[talk], at[talk], waiting[talk], voiced[talk], strict=True):
            self.vad_state[slot] = ACTIVE
            self._kind[slot, where[marks]] = VOICED
            total = self._levels.learn(slot, when[marks], when[-1], self._stats[slot, where[marks]])
            self._set(np.full(n, slot), where, np.broadcast_to(total, (n, 3)))
        self.decided[slots] += n

    def _silence(self, slots: Ints, at: Ints) -> None:
        """Let intervals pass as zeros."""
        self._mean[slots, at] = 0
        self._scale[slots, at] = 0

    def _set(self, slots: Ints, at: Ints, total: Floats) -> None:
        """Normalise the intervals at `at` by the mean and deviation of `total`: count, sum, squares (..., 3)."""
        n = np.maximum(total[..., 0], 1)
        mean = total[..., 1] / n
        variance = total[..., 2] / n - mean * mean
        self._mean[slots, at] = mean
        self._scale[slots, at] = 1 / np.sqrt(np.maximum(variance, POWER_FLOOR))
