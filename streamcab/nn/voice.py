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

    def likelihood(self, known: Floats, blocks: Floats, new: Floats, new_blocks: Floats) -> Floats:
        """Compute the log-likelihood ratio that two means are of one voice, against two voices.

        Args:
            known: means (..., numbers) of a voice over `blocks` (...) blocks; with 0 blocks the ratio is 0.
            blocks: 0 or more.
            new: means (..., numbers) over `new_blocks` (...) blocks.
            new_blocks: 1 or more.

        Returns:
            The ratio, (...).
        """
        b = self.between
        spread = self.drift + self.within / np.maximum(blocks, 1)[..., None]
        gain = np.where(blocks[..., None] > 0, b / (b + spread), 0.0)
        noise = self.drift + self.within / new_blocks[..., None]
        alike, apart = b * (1 - gain) + noise, b + noise
        ratio: Floats = 0.5 * (
            new * new / apart - (new - gain * known) ** 2 / alike + np.log(apart / alike)
        ).sum(-1)
        return ratio
