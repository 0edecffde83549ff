"""Intervals as the normaliser gives them to the net.

Knows nothing of how they were normalised, or of what the net makes of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.gate import SILENT


@dataclass(frozen=True)
class NormalisedBatch:
    """H normalised intervals of B streams.

    Attributes:
        x: Samples, (B, H * I) float32.
        kind: SILENT, VOICED, MISSING or SOUND, (B, H) uint8.
        power: Mean square of each interval, (B, H) float64.
        wide: Whether the high half of the band holds sound, as far as a detector looks, (B, H) bool.
    """

    x: NDArray[np.float32]
    kind: NDArray[np.uint8]
    power: NDArray[np.float64]
    wide: NDArray[np.bool_]

    def then_silence(self, h: int, interval: int) -> "NormalisedBatch":
        """Return these intervals, and h more in which nothing is heard; `interval`: samples of one."""
        b = len(self.x)
        return NormalisedBatch(
            np.concatenate((self.x, np.zeros((b, h * interval), np.float32)), 1),
            np.concatenate((self.kind, np.full((b, h), SILENT, np.uint8)), 1),
            np.concatenate((self.power, np.zeros((b, h))), 1),
            np.concatenate((self.wide, np.zeros((b, h), np.bool_)), 1),
        )
