"""Polyphase resampling, addressed by absolute position: output n depends only on n and the input around it.

So a stream needs no filter state, the result does not depend on chunks, and many streams at the same position are one
matrix product. The filter is a Kaiser-windowed sinc. Knows nothing of where streams begin: the caller supplies zeros
before them. Measured against soxr in docs/explanation/decisions/0002-resampler.md.
"""

from functools import lru_cache
from math import ceil, gcd

import numpy as np
from numpy.typing import NDArray

CROSSINGS = 16
"""Zero crossings of the sinc on each side."""
ROLLOFF = 0.94
"""Cut-off as a share of the lower of the two Nyquist frequencies."""
BETA = 9.0
"""Kaiser window: about 90 dB below."""
TILE = 40
"""Outputs per matrix product: with more, more products are with zeros; with fewer, the matrix is too small."""


def windowed_sinc(taps: int, cutoff: float) -> NDArray[np.float64]:
    """Return a low-pass filter (taps,) that sums to 1: scipy's `firwin` with this window, whose import takes a second.

    `cutoff` is a fraction of the Nyquist frequency.
    """
    away = np.arange(taps) - 0.5 * (taps - 1)
    response = cutoff * np.sinc(cutoff * away) * np.kaiser(taps, BETA)
    found: NDArray[np.float64] = response / response.sum()
    return found


class Resampler:
    """Resamples from `rate_in` to `rate_out` Hz. Output n is at input position n * rate_in / rate_out."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        common = gcd(rate_in, rate_out)
        self.up, self.down = rate_out // common, rate_in // common
        self.half = ceil(CROSSINGS * max(1.0, rate_in / rate_out) / ROLLOFF)
        """Input samples that an output needs on each side of its position: the filter's delay."""
        cutoff = ROLLOFF * min(rate_in, rate_out) / (self.up * rate_in)
        taps = windowed_sinc(2 * self.half * self.up + 1, cutoff) * self.up
        self._taps: NDArray[np.float64] = np.pad(taps, (self.up, self.up))
        self._span = (self.up - 1 + (TILE - 1) * self.down) // self.up + 2 * self.half + 1
        self._matrix = lru_cache(maxsize=512)(self._make_matrix)

    def start(self, n: int) -> int:
        """Return the first input sample that output n needs (negative near the start of a stream)."""
        return n * self.down // self.up - self.half

    def stop(self, n: int) -> int:
        """Return one past the last input sample that the outputs before n need."""
        return (n - 1) * self.down // self.up + self.half + 1

    def ready(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of outputs computable from the first `samples` inputs of a stream that continues."""
        return np.maximum(-(-(samples - self.half) * self.up // self.down), 0)

    def total(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of outputs of a stream of `samples` inputs: those whose position lies inside it."""
        return -(-samples * self.up // self.down)

    def __call__(self, x: NDArray[np.float32], first: int, count: int) -> NDArray[np.float32]:
        """Compute outputs first .. first + count - 1 of B streams: x (B, stop - start) -> (B, count)."""
        tiles = -(-count // TILE)
        heads = [(first + t * TILE) * self.down for t in range(tiles)]
        offsets = np.array([h // self.up - self.half for h in heads]) - self.start(first)
        short = int(offsets[-1]) + self._span - x.shape[1]
        if short > 0:
            x = np.pad(x, ((0, 0), (0, short)))
        windows = np.lib.stride_tricks.sliding_window_view(x, self._span, axis=1)
        phases = np.array([h % self.up for h in heads])
        y = np.empty((len(x), tiles, TILE), np.float32)
        for phase in np.unique(phases):
            same = phases == phase
            tiled = windows[:, offsets[same]]
            y[:, same] = (tiled.reshape(-1, self._span) @ self._matrix(int(phase))).reshape(len(x), -1, TILE)
        return y.reshape(len(x), -1)[:, :count]

    def _make_matrix(self, phase: int) -> NDArray[np.float32]:
        """Return the filter as a banded matrix (span, TILE); the first output is `phase` / up past an input sample."""
        position = phase + np.arange(TILE) * self.down
        tap = (
            position + (self.half - np.arange(self._span)[:, None]) * self.up + self.half * self.up + self.up
        )
        inside = (tap >= 0) & (tap < len(self._taps))
        return np.where(inside, self._taps[np.clip(tap, 0, len(self._taps) - 1)], 0.0).astype(np.float32)


@lru_cache(maxsize=32)
def resampler(rate_in: int, rate_out: int) -> Resampler:
    """Return the resampler for a pair of rates, created once."""
    return Resampler(rate_in, rate_out)
