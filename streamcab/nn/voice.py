"""The model that distinguishes voices, as arrays: a probabilistic linear discriminant analysis of a few numbers.

A net's layer `voice.of_interval` gives each interval numbers v_t. The mean of v_t over a block of intervals is the
voice, a constant for each speaker, plus a slow drift (microphone, mood, content of the talk), plus a difference
between blocks. All three are normal and independent in each number (Ioffe 2006; Prince and Elder 2007). Knows nothing
of streams.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def shapes(numbers: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays beside the layer, by name."""
    return {"between": (numbers,), "drift": (numbers,), "within": (numbers,), "threshold": (1,)}


@dataclass(frozen=True)
class Metric:
    """Variances (numbers,) between voices, of drift, and of a block; `threshold`: logarithm of the odds of a change."""

    between: Floats
    drift: Floats
    within: Floats
    threshold: float

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> "Metric":
        """Build the metric from a net's arrays."""
        between, drift, within, threshold = (
            arrays[f"voice.{name}"].astype(np.float64) for name in ("between", "drift", "within", "threshold")
        )
        return cls(between, drift, within, float(threshold[0]))

    def ratios(self, most: int, most_new: int) -> "Ratios":
        """Compute what does not depend on the means, for voices of up to `most` blocks and `most_new` new ones."""
        b, blocks, new_blocks = self.between, np.arange(most + 1), np.arange(most_new + 1)
        spread = self.drift + self.within / np.maximum(blocks, 1)[:, None]
        gain = np.where(blocks[:, None] > 0, b / (b + spread), 0.0)
        noise = self.drift + self.within / np.maximum(new_blocks, 1)[:, None]
        alike, apart = b * (1 - gain[:, None]) + noise, b + noise
        return Ratios(gain, 0.5 / alike, 0.5 / apart, 0.5 * np.log(apart / alike).sum(-1))


@dataclass(frozen=True)
class Ratios:
    """Log-likelihood ratios that two means are of one voice, against two voices.

    Attributes:
        gain: Part of a voice's mean that is the voice, (blocks, numbers).
        alike: Half the reciprocal variance of new blocks of that voice, (blocks, new blocks, numbers).
        apart: The same of any voice, (new blocks, numbers).
        constant: What is added, (blocks, new blocks).
    """

    gain: Floats
    alike: Floats
    apart: Floats
    constant: Floats

    def __call__(self, known: Floats, blocks: Ints, new: Floats, new_blocks: Ints) -> Floats:
        """Return the ratios, (...).

        Args:
            known: Means (..., numbers) of a voice over `blocks` (...) blocks; with 0 blocks the ratio is 0.
            blocks: 0 or more.
            new: Means (..., numbers) over `new_blocks` (...) blocks.
            new_blocks: 1 or more.
        """
        left = new - self.gain[blocks] * known
        each = new * new * self.apart[new_blocks] - left * left * self.alike[blocks, new_blocks]
        ratio: Floats = each.sum(-1) + self.constant[blocks, new_blocks]
        return ratio
