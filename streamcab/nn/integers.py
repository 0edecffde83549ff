"""A distiller in whole numbers: samples, weights, biases and what stages pass on are multiples of powers of two.

Every sum of products is then a whole number of its unit below 2^24, which float32 holds exactly: whatever computes it,
in float32 or in bytes, in any order and any batch, gives the same bits. A sample is two bytes, a coarse and a fine one,
each a channel of the first stage. What a stage passes on is one byte. The scales of filters lie in their weights, so
the units are the same in all nets. Knows nothing of a framework.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SAMPLE = 2.0**-7
"""Unit of a normalised sample."""
COARSE = 16
"""Units of a sample in one of its coarse byte."""
LOWEST, HIGHEST = -128 * COARSE, 127 * COARSE + COARSE // 2 - 1
"""Samples, in units; what lies beyond is cut off."""
MIDDLE = 128
"""The byte that is 0 in a sample."""
PASSED = 2.0**-4
"""Unit of what a stage passes on."""
MOST = 255
"""Units that a stage passes on at most."""
WEIGHT = 127
"""Units of a weight at most."""
EXACT = 1 << 24


def channels(first: bool, filters: int) -> int:
    """Return the channels of a stage's input, given the filters of the stage before; `first`: it hears samples."""
    return 2 if first else filters


def unit(first: bool) -> float:
    """Return the unit of a stage's input."""
    return SAMPLE * COARSE if first else PASSED


def whole(weight: Floats, *, first: bool) -> tuple[NDArray[np.int8], Floats]:
    """Return the weights of a stage as bytes, and the unit of each filter's.

    Args:
        weight: (filters, channels, kernel), where the fine byte counts in units of a sample.
        first: Whether the stage hears samples.

    Returns:
        Weights in units, (filters, channels, kernel), of inputs in units; the units, powers of two, (filters,).

    Raises:
        ValueError: They are not multiples of a power of two that a byte holds.
    """
    wide = weight.astype(np.float64)
    if first:
        wide = wide / np.array([1.0, COARSE])[None, :, None]
    largest = np.maximum(np.abs(wide).max((1, 2)), 2.0**-100)
    units = 2.0 ** np.ceil(np.log2(largest / WEIGHT))
    counts = wide / units[:, None, None]
    if (counts != np.rint(counts)).any():
        raise ValueError("a weight that is no whole number of its filter's unit")
    return counts.astype(np.int8), units.astype(np.float32)


def check(weight: Floats, bias: Floats, *, first: bool) -> None:
    """Check that all sums of a stage are exact.

    Args:
        weight: As for `whole`.
        bias: (filters,).
        first: As for `whole`.

    Raises:
        ValueError: They are not.
    """
    counts, units = whole(weight, first=first)
    # Half units: a bias of half a unit lies between all sums, so none is half way between two numbers passed on.
    halves = 2 * bias.astype(np.float64) / (units * unit(first))
    if (halves != np.rint(halves)).any():
        raise ValueError("a bias that is no whole number of half its filter's unit")
    most = MIDDLE if first else MOST
    largest = 2 * np.abs(counts.astype(np.int64)).sum((1, 2)) * most + np.abs(halves)
    if largest.max() > EXACT:
        raise ValueError("sums that float32 does not hold exactly")
