"""The state of a stream between steps, as one row of floats, and the samples of a step beyond the stream's edges.

Stage by stage: the samples of its input that its next outputs need, and the part of its convolution that its pooling
keeps. Those of a distiller in whole numbers are bytes. Knows nothing of how a step is computed, of slots, or of the
trunk (rings.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.nn import integers
from streamcab.nn.architecture import Architecture
from streamcab.nn.backend.pieces import Floats
from streamcab.nn.geometry import StageTiming, timings


@dataclass(frozen=True)
class Kept:
    """One part of a stream's state: `samples` of `channels` each, all `value` before the stream begins."""

    samples: int
    channels: int
    value: float


def kept(architecture: Architecture) -> list[Kept]:
    """Return the parts of a stream's row, two for each stage; a part may be empty."""
    whole, found, channels = architecture.integers, list[Kept](), 1
    for shape, timing in zip(architecture.stages, timings(architecture.stages), strict=True):
        again = timing.pool_context if convolved_again(timing) else 0
        heard = timing.conv_context + again
        if whole and not found:
            # The two bytes of a sample follow each other.
            found.append(Kept(2 * heard, channels, float(integers.MIDDLE)))
        else:
            found.append(Kept(heard, channels, 0.0))
        found.append(Kept(timing.pool_context - again, shape.filters, 0.0 if whole else -np.inf))
        channels = shape.filters
    return found


def convolved_again(timing: StageTiming) -> bool:
    """Return whether a step repeats the convolution of earlier samples that its pooling needs.

    This is cheap if they are few, and saves a copy of all others.
    """
    return 4 * timing.pool_context <= timing.unit


def fresh(architecture: Architecture) -> Floats:
    """Return the row of a stream that has not begun, (floats,)."""
    return np.concatenate([np.full(k.samples * k.channels, k.value, np.float32) for k in kept(architecture)])


def lags(architecture: Architecture) -> Iterator[tuple[int, int, int]]:
    """Yield (samples per interval, delay, samples of earlier steps) of each place where something may lie outside of a
    stream."""
    delay = 0
    for timing in timings(architecture.stages):
        yield timing.unit, timing.conv_delay, timing.pool_context if convolved_again(timing) else 0
        yield timing.out_unit, timing.delay, 0
        delay = timing.delay
    if architecture.trunk:
        yield 1, delay, 0
        for block in architecture.trunk:
            delay += block.delay
            yield 1, delay, 0


def insides(
    architecture: Architecture, first: NDArray[np.int64], end: NDArray[np.int64], h: int
) -> list[NDArray[np.bool_]]:
    """Return the masks that `edges` names: which of a step's samples are within their stream, (B, 1, samples) each.

    Args:
        architecture: Of the net.
        first: Intervals of each stream before the step, (B,).
        end: Intervals of the whole stream, (B,).
        h: Intervals of the step.
    """
    found = []
    for unit, delay, before in lags(architecture):
        position = first[:, None] * unit - delay + np.arange(-before, h * unit)
        found.append(((position >= 0) & (position < end[:, None] * unit))[:, None])
    return found
