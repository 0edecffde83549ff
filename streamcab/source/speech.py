"""Finds the intervals of each channel that are speech, by the default model's speech detector, whatever model answers.

Each interval is resampled to 8 kHz by itself, which is exact enough for levels in bands. Depends on the samples, block
by block, and not on how they arrive. Knows nothing of levels, weights or mixing.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp import bands
from streamcab.dsp.detector import AHEAD, Detector, Weights
from streamcab.nn.checkpoint import bundled, load
from streamcab.nn.weights import detector_of

FULL = 2.0
"""Samples beyond this are no speech, and would be all that the detector hears."""


@cache
def default_detector() -> Weights | None:
    """Read the detector of the default model; None if that model has none."""
    return detector_of(load(bundled()).net)


class ChannelSpeech:
    """The detector on each of some channels."""

    def __init__(self, detector: Weights, channels: int, intervals: int) -> None:
        """Prepare for blocks of so many intervals."""
        self._detector = Detector(detector, channels, margin=intervals)
        self._channels = np.arange(channels)

    def hear(self, cut: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Hear a block.

        Args:
            cut: Intervals of n samples, (intervals, n, channels).

        Returns:
            Whether there is speech, (intervals, channels), in the intervals that lie AHEAD before these.
        """
        k, n, channels = cut.shape
        x = np.clip(cut, -FULL, FULL).transpose(2, 0, 1).reshape(channels * k, n)
        half = bands.INTERVAL // 2 + 1
        spectrum = np.fft.rfft(x)[:, :half]
        at_8k = np.fft.irfft(spectrum, bands.INTERVAL) * (bands.INTERVAL / n)
        levels = bands.levels(at_8k.astype(np.float32)).reshape(channels, k, bands.BANDS)
        found: NDArray[np.bool_] = self._detector.push(self._channels, levels).T > 0
        return found


__all__ = ["AHEAD", "ChannelSpeech", "default_detector"]
