"""Samples as users have them -> mono float32. Knows nothing of files or of streams."""

import os

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamcab.errors import AudioError

RATES = range(2_000, 768_001)
CHANNELS = 256
"""Arrays with more columns are assumed to be transposed: (channels, n)."""
LOUDEST = 2.0**32
"""No sample of any scale exceeds this."""


def as_samples(samples: ArrayLike, rate: int) -> NDArray[np.float32]:
    """Convert samples to mono float32.

    Args:
        samples: (n,), (n, channels), or (1, n) with more than CHANNELS samples. Float in [-1, 1], signed integers at
            full scale, or uint8 as in 8-bit WAV files, where 128 is silence.
        rate: Sampling rate in Hz.

    Returns:
        The mean of the channels, of shape (n,), with integers scaled to [-1, 1].

    Raises:
        AudioError: The shape, the type or the rate is not supported, or samples are NaN, infinite or absurd.
    """
    if isinstance(samples, str | bytes | os.PathLike):
        raise AudioError(
            f"samples are an array, not a path ({samples!r}); read the file first: "
            "samples, rate = soundfile.read(path)"
        )
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
        raise AudioError(f"a rate is a number, in Hz, not {rate!r}")
    if not RATES[0] <= rate <= RATES[-1] or rate != int(rate):
        raise AudioError(f"a rate of {rate} Hz is not audio; streamcab hears {RATES[0]} to {RATES[-1]} Hz")
    try:
        a = np.asarray(samples)
    except ValueError:
        raise AudioError("samples are rows of different lengths; give (n,) or (n, channels)") from None
    if a.ndim == 2 and a.shape[0] == 1 and a.shape[1] > CHANNELS:
        a = a[0]  # one channel, as torch's libraries have it
    if a.ndim not in (1, 2) or (a.ndim == 2 and not 0 < a.shape[1] <= CHANNELS):
        wrong_way = a.ndim == 2 and 0 < a.shape[0] <= CHANNELS < a.shape[1]
        turn = ": these look like (channels, n), so give samples.T" if wrong_way else ""
        raise AudioError(f"samples have the shape {a.shape}; give (n,) or (n, channels){turn}")
    if a.dtype == np.uint8:
        a = (a.astype(np.float64) - 128) / 128
    elif a.dtype.kind == "i":
        a = a / np.float64(-np.iinfo(a.dtype).min)
    elif a.dtype.kind != "f" and a.size:
        raise AudioError(f"samples are of type {a.dtype}; give floats in [-1, 1], signed integers or uint8")
    if a.dtype == np.float16:
        a = a.astype(np.float32)
    # Louder values are garbage and would spoil every mean that they enter.
    wrong = ~(np.abs(a) <= LOUDEST) if a.size else np.zeros(0, np.bool_)
    if wrong.any():
        first = int(np.argmax(wrong.reshape(len(a), -1).any(1)))
        raise AudioError(f"{wrong.sum()} samples are NaN, infinite or absurd, the first is number {first}")
    if a.ndim == 2:
        a = a.mean(1, dtype=np.float64)
    return a.astype(np.float32, copy=False)
