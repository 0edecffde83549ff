"""The target of the distiller's pretraining, before any label: the cepstra of each interval, as in classic recognisers.

Thirteen numbers that describe the shape of the short-time spectrum (Davis, Mermelstein 1980): the cosine transform of
logarithms of mel-spaced bands, here the mean of three frames of an interval's length around each interval. A
function of absolute position, like all stages before the network. Knows nothing of nets or corpora.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

CEPSTRA = 13
BANDS = 26
LOWEST_HZ, HIGHEST = 60.0, 0.4875
"""Edges of the bands: Hz, and a part of the rate."""
PREEMPHASIS = 0.97
FLOOR = 1e-4
"""Power below which a band is silent; the signal has a deviation of 1."""

Floats = NDArray[np.float32]


def cepstra(x: Floats, rate: int, interval: int) -> Floats:
    """Compute cepstra (K, CEPSTRA) of normalised samples x (K * interval,) at `rate` Hz."""
    k, hop = len(x) // interval, interval // 2
    padded: NDArray[np.float64] = np.zeros(hop + 1 + (k + 1) * interval + hop)
    padded[hop + 1 : hop + 1 + k * interval] = x[: k * interval]
    sharp = np.subtract(padded[1:], PREEMPHASIS * padded[:-1])
    frames = np.lib.stride_tricks.sliding_window_view(sharp, interval)[::hop][: 2 * k + 1]
    weight = bands(rate, _bins(interval))
    power = np.abs(np.fft.rfft(frames * np.hamming(interval), _bins(interval))) ** 2
    log = np.log(power @ weight.T + FLOOR)
    mean = (log[:-1:2] + log[1::2] + log[2::2]) / 3
    found: Floats = dct(mean, norm="ortho", axis=1)[:, :CEPSTRA].astype(np.float32)
    return found


def louder(log_gain: float) -> float:
    """Return the increase of the first cepstrum for a signal exp(log_gain) times as loud, apart from the floor."""
    return 2 * log_gain * float(np.sqrt(BANDS))


def _bins(interval: int) -> int:
    return 1 << (interval - 1).bit_length()


@lru_cache(maxsize=4)
def bands(rate: int, bins: int) -> NDArray[np.float64]:
    """Return triangles of `bins` points of a transform, evenly spaced in mel: (BANDS, bins / 2 + 1)."""
    edges = np.linspace(_mel(LOWEST_HZ), _mel(HIGHEST * rate), BANDS + 2)
    hz = 700 * (10 ** (edges / 2595) - 1)
    f = np.arange(bins // 2 + 1) * rate / bins
    rising = (f - hz[:-2, None]) / (hz[1:-1] - hz[:-2])[:, None]
    falling = (hz[2:, None] - f) / (hz[2:] - hz[1:-1])[:, None]
    found: NDArray[np.float64] = np.clip(np.minimum(rising, falling), 0, None)
    return found


def _mel(hz: float) -> float:
    return float(2595 * np.log10(1 + hz / 700))
