"""The speech detector: a small convolutional net over band levels that decides which intervals are speech.

Each layer sees a few instants of the layer below, further apart the higher it stands. The answer for an interval comes
`AHEAD` intervals later. The first layer also sees the mean of each band over the last `LEVEL` intervals, against which
speech stands out. Levels are relative to the loudest of these, so that loudness does not matter and memory is finite.
Inputs, weights and activations are multiples of powers of two, so every sum is exact in float32: the result is the same
to the bit for any chunks, any batch and any machine. Weights are separate from the state of streams, which is addressed
by absolute position. A checkpoint says which form of net it holds. Knows nothing of samples, of normalisation, or of
accents.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.bands import BANDS, FLOOR, STEP
from streamcab.dsp.detector_inputs import INPUTS, LEVEL, MEANS, QUIETEST, RANGE, Bytes, Inputs, Ints, places

AHEAD = 4
"""Intervals that the net sees after the one that it decides on."""
CHANNELS = 40
ACTIVE_STEP = 32
"""Activations are multiples of 1/32, inputs of 1/STEP, and bytes in these units."""
MOST = 255
WEIGHT_STEPS = (1024, 256)
"""Weights of the first layer are multiples of 1/1024 and at most 1, those of the others of 1/256 and at most 2: their
sums of products are exact in float32."""


@dataclass(frozen=True)
class Form:
    """The shape of one kind of detector.

    Attributes:
        taps: Instants of the layer below that each layer sees.
        dilations: Intervals between these instants, by layer.
        means: Whether the first layer also sees the means of the bands.
    """

    taps: tuple[int, ...]
    dilations: tuple[int, ...]
    means: bool

    @property
    def reach(self) -> int:
        """Number of past intervals that a decision depends on."""
        past = LEVEL if self.means else LEVEL - 1
        return past + sum((t - 1) * d for t, d in zip(self.taps, self.dilations, strict=True))


FORMS = {1: Form((3, 3, 3, 3), (1, 3, 9, 27), False), 2: Form((3, 4, 5), (1, 3, 12), True)}
"""By the number in a checkpoint's architecture; new detectors have the last."""
FORM = max(FORMS)


@dataclass(frozen=True)
class Weights:
    """The arrays of a detector.

    Attributes:
        form: The shape of the net.
        kernels: By layer, (taps * inputs, channels), the oldest instant first. With `form.means` the first has MEANS
            more rows, for the means at the newest instant.
        biases: By layer, (channels,).
        out: Weights of the output, (channels,).
        bias: Bias of the output; a sum above 0 is speech.
    """

    form: Form
    kernels: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    out: NDArray[np.float32]
    bias: float


def shapes(channels: int = CHANNELS, form: int = FORM) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a detector's tensors in a checkpoint, by name."""
    found: dict[str, tuple[int, ...]] = {"out": (channels,), "bias": (1,)}
    for i, taps in enumerate(FORMS[form].taps):
        rows = taps * channels if i else taps * INPUTS + (MEANS if FORMS[form].means else 0)
        found[f"kernel{i}"] = (rows, channels)
        found[f"bias{i}"] = (channels,)
    return found


def weights(tensors: dict[str, NDArray[np.float32]], form: int = FORM) -> Weights:
    """Build the weights from the tensors of a checkpoint.

    Raises:
        ValueError: Sums of some weights would not be exact in float32.
    """
    layers = range(len(FORMS[form].taps))
    for i in layers:
        largest = RANGE * STEP if i == 0 else MOST
        units = np.abs(tensors[f"kernel{i}"].astype(np.float64)) * WEIGHT_STEPS[min(i, 1)]
        if (units != np.rint(units)).any() or units.sum(0).max() * largest > 2**24:
            raise ValueError(f"detector.kernel{i} holds weights whose sums are not exact in float32")
    return Weights(
        FORMS[form],
        tuple(np.ascontiguousarray(tensors[f"kernel{i}"]) for i in layers),
        tuple(tensors[f"bias{i}"] for i in layers),
        tensors["out"],
        float(tensors["bias"][0]),
    )


class Detector:
    """The detector of many streams, each in a slot; silence before the start.

    Args:
        weights: The net.
        slots: Number of streams.
        margin: Most intervals that are pushed at once.
    """

    def __init__(self, weights: Weights, slots: int, margin: int) -> None:
        self._weights, self._margin = weights, margin
        self._inputs = Inputs(slots, margin)
        # Scales of inputs and outputs, applied once: powers of two, so nothing is rounded.
        scales = [
            np.float32(ACTIVE_STEP / (STEP if i == 0 else ACTIVE_STEP)) for i in range(len(weights.kernels))
        ]
        self._kernels = [k * s for k, s in zip(weights.kernels, scales, strict=True)]
        self._biases = [b * np.float32(ACTIVE_STEP) for b in weights.biases]
        self._out = weights.out / np.float32(ACTIVE_STEP)
        form = weights.form
        self._room = [(t - 1) * d + margin for t, d in zip(form.taps, form.dilations, strict=True)]
        widths = [INPUTS, *(kernel.shape[1] for kernel in weights.kernels[:-1])]
        # Bytes: inputs in steps of 1/STEP, activations of 1/ACTIVE_STEP, at (absolute interval) % room.
        self._past = [np.zeros((slots, r, w), np.uint8) for r, w in zip(self._room, widths, strict=True)]
        self._pushed = np.zeros(slots, np.int64)
        # Intervals of silence that were skipped since the last one that was pushed.
        self._silent = np.zeros(slots, np.int64)
        self._still = self._silence()
        self.reset(np.arange(slots))

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream, in bytes."""
        arrays: list[NDArray[Any]] = [self._pushed, *self._past]
        return sum(a.nbytes // len(a) for a in arrays) + self._inputs.bytes_per_slot

    def reset(self, slots: Ints) -> None:
        """Make slots ready for new streams."""
        self._pushed[slots] = 0
        self._silent[slots] = self._weights.form.reach + 1
        self._inputs.reset(slots)
        for past, still in zip(self._past, self._still, strict=True):
            past[slots] = still

    def skip(self, slots: Ints, n: NDArray[np.int64]) -> None:
        """Let n (B,) intervals of silence pass."""
        nothing = np.full((1, self._margin, BANDS), FLOOR, np.int16)
        reach, silent = self._weights.form.reach, self._silent[slots]
        # Beyond its reach the net holds nothing but silence, and more of it need only be counted.
        far = silent + n > reach
        at = self._pushed[slots] + n
        self.reset(slots[far & (silent <= reach)])
        left = np.where(far, 0, n)
        while left.any():
            step = np.minimum(left, self._margin)
            for h in np.unique(step[step > 0]).tolist():
                some = slots[step == h]
                self.push(some, np.repeat(nothing[:, :h], len(some), axis=0))
            left -= step
        self._pushed[slots], self._silent[slots] = at, silent + n

    def push(self, slots: Ints, levels: NDArray[np.int16]) -> NDArray[np.float32]:
        """Take in the next H <= margin intervals of some streams.

        Args:
            slots: The streams, (B,), no slot twice.
            levels: Band levels, (B, H, BANDS).

        Returns:
            Log odds of speech, (B, H), for the intervals `AHEAD` before these.
        """
        b, h = levels.shape[:2]
        first = self._pushed[slots]
        self._pushed[slots], self._silent[slots] = first + h, 0
        x, means = self._inputs.push(slots, first, levels)
        form = self._weights.form
        for i, (past, room, n, d) in enumerate(
            zip(self._past, self._room, form.taps, form.dilations, strict=True)
        ):
            rows, at, base = past.reshape(-1, past.shape[2]), first % room, slots * room
            rows[base[:, None] + places(room, h, 0)[at]] = x
            where = base[:, None, None] + _taps(room, h, n, d)[at]
            # `take` of whole rows: fancy indices cost four times as much.
            taps = np.take(rows, where.ravel(), axis=0).reshape(b * h, -1)
            if i == 0 and form.means:
                taps = np.concatenate((taps, means.reshape(b * h, MEANS)), 1)
            y = taps.astype(np.float32) @ self._kernels[i]
            y += self._biases[i]
            np.rint(y, out=y)
            y.clip(0, MOST, out=y)
            x = y.astype(np.uint8).reshape(b, h, -1)
        score: NDArray[np.float32] = (x.reshape(b * h, -1).astype(np.float32) @ self._out).reshape(b, h)
        score += np.float32(self._weights.bias)
        return score

    def _silence(self) -> list[Bytes]:
        """Return the activations of each layer after endless silence, (width,) by layer."""
        still = []
        x = np.zeros(INPUTS, np.float32)
        x[:] = np.clip(FLOOR - (QUIETEST - RANGE * STEP), 0, RANGE * STEP)
        for i, (kernel, bias) in enumerate(zip(self._kernels, self._biases, strict=True)):
            still.append(x.astype(np.uint8))
            taps = np.tile(x, self._weights.form.taps[i])
            y = (np.append(taps, x[:MEANS]) if len(taps) < len(kernel) else taps) @ kernel
            x = np.clip(np.rint(y + bias), 0, MOST).astype(np.float32)
        return still


@lru_cache(maxsize=256)
def _taps(room: int, h: int, taps: int, dilation: int) -> Ints:
    """Return the places of the instants that h intervals see, by the place of the first: (room, h, taps)."""
    back = np.arange(h)[:, None] - dilation * np.arange(taps - 1, -1, -1)
    found: Ints = (np.arange(room)[:, None, None] + back) % room
    return found
