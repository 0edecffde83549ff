"""A clip as a picture, for the nets that look at one: logarithmic power over time and frequency, in grey or colour.

The paper names the sizes only. Ours: Hann windows of 32 ms every 10 ms, 80 dB below the loudest point are
black, means over the area of each pixel, low frequencies at the bottom, and the colours of the map `jet`.
Knows nothing of nets.
"""

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

Floats = NDArray[np.float32]

WINDOW_S, HOP_S = 0.032, 0.010
RANGE_DB = 80.0
FAINTEST = 1e-12


def picture(samples: Floats, rate: int, size: int, channels: int) -> Floats:
    """Draw samples (n,), at least one, as (channels, size, size) from -1 to 1; channels is 1, grey, or 3, colour.

    NaN, a sample that was lost, counts as silence.
    """
    shade = _shade(np.nan_to_num(samples), rate)
    grey = adaptive_avg_pool2d(torch.from_numpy(shade)[None], (size, size))[0].numpy()[::-1]
    levels = grey[None] if channels == 1 else jet(grey)
    scaled: Floats = (2 * levels - 1).astype(np.float32)
    return scaled


def jet(x: Floats) -> Floats:
    """Return the colours (3, ...) of levels from 0 to 1: blue, cyan, yellow, red."""
    colours: Floats = np.stack([np.clip(1.5 - np.abs(4 * x - at), 0, 1) for at in (3, 2, 1)])
    return colours


def _shade(samples: Floats, rate: int) -> Floats:
    """Return power (frequencies, frames) as levels from 0 to 1."""
    window, hop = round(WINDOW_S * rate), max(1, round(HOP_S * rate))
    padded = np.pad(samples, (0, max(0, window - len(samples))))
    frames = sliding_window_view(padded, window)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window))) ** 2
    level = 10 * np.log10(np.maximum(power, FAINTEST))
    shade: Floats = np.clip(1 + (level - level.max()) / RANGE_DB, 0, 1).T.astype(np.float32)
    return np.ascontiguousarray(shade)
