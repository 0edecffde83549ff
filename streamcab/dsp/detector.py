"""The speech detector: a small convolutional net over band levels says which intervals are speech.

Each layer sees three instants of the one below, further apart the higher it stands; the answer for an interval comes
`AHEAD` intervals later. Levels count relative to the loudest of the last `LEVEL_S` seconds, so loudness changes
nothing, and memory is finite. Inputs, weights and activations are multiples of powers of two, so every sum is exact in
float32: the same to the bit for any chunks, any batch, any machine. Weights stand apart from the state of streams,
which is addressed by absolute position. Knows nothing of samples, of normalising, or of accents.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.bands import BANDS, FLOOR, STEP

AHEAD = 4
"""Intervals that are heard beyond the one that is judged."""
DILATIONS = (1, 3, 9, 27)
"""Intervals between a layer's three taps."""
TAPS = 3
CHANNELS = 40
LEVEL = 64
"""Intervals over which the loudest and the softest are looked for."""
INPUTS = BANDS + 2
RANGE = 20
"""Octaves of power (60 dB) that are told apart below the loudest."""
QUIETEST = FLOOR + 10 * STEP
"""What is softer than this is not raised."""
ACTIVE_STEP = 32
"""Activations are multiples of 1/32, inputs of 1/STEP, and bytes in these units."""
MOST = 255
WEIGHT_STEPS = (1024, 256)
"""Weights of the first layer are multiples of 1/1024 and at most 1, those of the others of 1/256 and at most 2: their
sums of products are exact in float32."""

Ints = NDArray[np.intp]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Weights:
    """kernels (TAPS * inputs, channels) and biases (channels,) by layer; out (channels,), bias: speech if > 0."""

    kernels: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    out: NDArray[np.float32]
    bias: float


def shapes(channels: int = CHANNELS) -> dict[str, tuple[int, ...]]:
    """The tensors of a detector in a checkpoint, by name."""
    found: dict[str, tuple[int, ...]] = {"out": (channels,), "bias": (1,)}
    for i in range(len(DILATIONS)):
        found[f"kernel{i}"] = (TAPS * (INPUTS if i == 0 else channels), channels)
        found[f"bias{i}"] = (channels,)
    return found


def weights(tensors: dict[str, NDArray[np.float32]]) -> Weights:
    """From the tensors of a checkpoint; ValueError where sums would not be exact in float32."""
    layers = range(len(DILATIONS))
    for i in layers:
        largest = RANGE * STEP if i == 0 else MOST
        units = np.abs(tensors[f"kernel{i}"].astype(np.float64)) * WEIGHT_STEPS[min(i, 1)]
        if (units != np.rint(units)).any() or units.sum(0).max() * largest > 2**24:
            raise ValueError(f"detector.kernel{i} holds weights whose sums are not exact in float32")
    return Weights(
        tuple(np.ascontiguousarray(tensors[f"kernel{i}"]) for i in layers),
        tuple(tensors[f"bias{i}"] for i in layers),
        tensors["out"],
        float(tensors["bias"][0]),
    )


def reach() -> int:
    """Intervals into the past that a judgement depends on."""
    return LEVEL - 1 + (TAPS - 1) * sum(DILATIONS)


class Detector:
    """The detector of many streams, each in a slot; before a stream began there was silence."""

    def __init__(self, weights: Weights, slots: int, margin: int) -> None:
        """At most `margin` intervals are pushed at once."""
        self._weights = weights
        self._room = [LEVEL - 1 + margin, *((TAPS - 1) * d + margin for d in DILATIONS)]
        self._level = np.zeros((slots, self._room[0]), np.int16)
        widths = [len(kernel) // TAPS for kernel in weights.kernels]
        # Bytes: inputs in steps of 1/STEP, activations of 1/ACTIVE_STEP, at (absolute interval) % room.
        self._past = [np.zeros((slots, r, w), np.uint8) for r, w in zip(self._room[1:], widths, strict=True)]
        self._pushed = np.zeros(slots, np.int64)
        self._still = self._silence()
        self.reset(np.arange(slots))

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream."""
        arrays: list[NDArray[Any]] = [self._level, self._pushed, *self._past]
        return sum(a.nbytes // len(a) for a in arrays)

    def reset(self, slots: Ints) -> None:
        """Make slots ready for new streams."""
        self._pushed[slots] = 0
        self._level[slots] = FLOOR
        for past, still in zip(self._past, self._still, strict=True):
            past[slots] = still

    def skip(self, slots: Ints, n: NDArray[np.int64]) -> None:
        """Silence for n (B,) intervals."""
        margin = self._room[0] - LEVEL + 1
        nothing = np.full((1, margin, BANDS), FLOOR, np.int16)
        for slot, left in zip(slots.tolist(), n.tolist(), strict=True):
            one = np.array([slot])
            if left > reach():
                at = int(self._pushed[slot]) + left
                self.reset(one)
                self._pushed[slot], left = at, 0
            while left:
                h = min(left, margin)
                self.push(one, nothing[:, :h])
                left -= h

    def push(self, slots: Ints, levels: NDArray[np.int16]) -> NDArray[np.float32]:
        """The next H <= margin intervals of the streams in `slots` (no slot twice), levels (B, H, BANDS).

        Returns the evidence for speech, (B, H), in logarithms, of the intervals that lie `AHEAD` before these.
        """
        b, h = levels.shape[:2]
        first = self._pushed[slots]
        self._pushed[slots] = first + h
        w, row = self._weights, slots[:, None]
        x = self._relative(slots, first, levels)
        for i, (past, room, dilation) in enumerate(zip(self._past, self._room[1:], DILATIONS, strict=True)):
            at = (first[:, None] + np.arange(h)) % room
            past[row, at] = x
            back = np.arange(h)[:, None] - dilation * np.arange(TAPS - 1, -1, -1)
            where = row[:, :, None] * room + (first[:, None, None] + back) % room
            # `take` of whole rows: fancy indices cost four times as much.
            taps = np.take(past.reshape(-1, past.shape[2]), where.ravel(), axis=0)
            y = taps.reshape(b * h, -1).astype(np.float32) @ w.kernels[i]
            # Inputs are counted in other steps than activations.
            y *= np.float32(ACTIVE_STEP / (STEP if i == 0 else ACTIVE_STEP))
            y += w.biases[i] * np.float32(ACTIVE_STEP)
            np.rint(y, out=y)
            np.clip(y, 0, MOST, out=y)
            x = y.astype(np.uint8).reshape(b, h, -1)
        score: NDArray[np.float32] = (x.reshape(b * h, -1).astype(np.float32) @ w.out).reshape(b, h)
        return score / np.float32(ACTIVE_STEP) + np.float32(w.bias)

    def _relative(self, slots: Ints, first: NDArray[np.int64], levels: NDArray[np.int16]) -> Bytes:
        """The net's inputs (B, H, INPUTS): levels below the loudest of late, how loud this is, how soft it has been."""
        h, room = levels.shape[1], self._room[0]
        loud = levels.max(2)
        at = (first[:, None] + np.arange(h)) % room
        self._level[slots[:, None], at] = loud
        window = (first[:, None] - LEVEL + 1 + np.arange(LEVEL + h - 1)) % room
        past = self._level[slots[:, None], window]
        views = np.lib.stride_tricks.sliding_window_view(past, LEVEL, axis=1)
        top = np.maximum(views.max(2), QUIETEST)
        x = np.empty((*levels.shape[:2], INPUTS), np.int16)
        np.subtract(levels, (top - RANGE * STEP)[..., None], out=x[..., :BANDS])
        x[..., BANDS] = loud - (top - RANGE * STEP)
        x[..., BANDS + 1] = np.maximum(views.min(2), QUIETEST - RANGE * STEP) - (top - RANGE * STEP)
        np.clip(x, 0, RANGE * STEP, out=x)
        return x.astype(np.uint8)

    def _silence(self) -> list[Bytes]:
        """What each layer holds when there has been nothing but silence: (width,) by layer."""
        w, still = self._weights, []
        x = np.zeros(INPUTS, np.float32)
        x[:] = np.clip(FLOOR - (QUIETEST - RANGE * STEP), 0, RANGE * STEP)
        for i, (kernel, bias) in enumerate(zip(w.kernels, w.biases, strict=True)):
            still.append(x.astype(np.uint8))
            y = np.tile(x, TAPS) @ kernel * np.float32(ACTIVE_STEP / (STEP if i == 0 else ACTIVE_STEP))
            x = np.clip(np.rint(y + bias * np.float32(ACTIVE_STEP)), 0, MOST).astype(np.float32)
        return still
