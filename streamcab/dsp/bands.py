"""Band levels of each interval, for the speech detector: how loud it is at which pitch, in whole eighths of an octave
of power.

A bank of windowed sweeps, each of which hears the whole of its band. Samples and filters are whole numbers, small
enough that every product sum is exact in float32: the levels are the same to the bit, whatever is computed beside
them. Without state. Knows nothing of streams, time or speech.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BANDS = 32
LINEAR = 16
"""Number of bands 60 Hz wide, narrow enough to separate the harmonics of a voice; the others widen with pitch."""
SPACING = 60.0
TOP = 3900.0
RATE = 8000
"""Hz; the bands are defined at this rate only."""
INTERVAL = 200
"""Samples per interval."""
STEP = 8
"""Levels per doubling of power: one is 0.376 dB."""
FLOOR = -264
"""The least level, about -100 dB of full scale: digital silence and all that lies below the last of 16 bits."""
HIGH = 2300.0
"""Hz: a telephone's band is called high from here on; narrow-band audio has nothing there."""
NARROW = 10 * STEP
"""An interval whose loudest high band lies further below its loudest band has nothing high: 30 dB."""

_WEIGHT, _NORM_BITS, _QUIET = 120, 14, 60
# The level of a sine of full scale: 2**_NORM_BITS times half the window's sum, squared.
_FULL = round(STEP * 2 * np.log2(2.0**_NORM_BITS * _WEIGHT * INTERVAL / 4))


def edges() -> NDArray[np.float64]:
    """Return the limits of the bands in Hz, (BANDS + 1,)."""
    low = SPACING * (np.arange(LINEAR + 1) + 0.5)
    high = np.geomspace(low[-1], TOP, BANDS - LINEAR + 1)
    return np.concatenate((low, high[1:]))


@lru_cache(maxsize=1)
def filters() -> NDArray[np.float32]:
    """Make sweeps through each band under a Hann window, cosines and sines, whole numbers: (2, INTERVAL, BANDS)."""
    limits = edges()
    centre, width = (limits[1:] + limits[:-1]) / 2, np.diff(limits)
    t = (np.arange(INTERVAL) + 0.5 - INTERVAL / 2) / RATE
    # A band no wider than the window's own resolution needs no sweep.
    sweep = np.maximum(width - SPACING, 0.0) * RATE / INTERVAL
    phase = 2 * np.pi * (t[:, None] * centre + t[:, None] ** 2 * sweep / 2)
    hann = np.sin(np.pi * (np.arange(INTERVAL) + 0.5) / INTERVAL)[:, None] ** 2
    waves = np.stack((np.cos(phase), np.sin(phase)))
    # A constant is heard in no band.
    bank = np.rint(_WEIGHT * hann * (waves - (hann * waves).sum(1, keepdims=True) / hann.sum()))
    bank[:, INTERVAL // 2] -= bank.sum(1)
    # Cauchy and Schwarz, with half a unit per sample for rounding: no partial sum is larger.
    largest = np.sqrt((bank**2).sum(1).max()) * (2**_NORM_BITS + 0.5 * np.sqrt(INTERVAL))
    assert largest <= 2**24, "sums of this bank are not exact in float32"
    found: NDArray[np.float32] = bank.astype(np.float32)
    return found


def high_bands() -> NDArray[np.bool_]:
    """Return which bands lie above `HIGH`, (BANDS,)."""
    found: NDArray[np.bool_] = edges()[:-1] >= HIGH
    return found


def levels(samples: NDArray[np.float32], energy: NDArray[np.float64] | None = None) -> NDArray[np.int16]:
    """Measure samples at 8 kHz of N whole intervals (N, INTERVAL), full scale being 1: levels (N, BANDS).

    A level of 0 is about the power of a sine of full scale. `energy` (N,), the sums of squares, where they are known.
    """
    if energy is None:
        energy = np.einsum("ni,ni->n", samples, samples, dtype=np.float64)
    # The samples' norm is below 2**exponent: a power of two scales without rounding. Far below, all is FLOOR anyway.
    exponent = np.maximum((np.frexp(energy)[1] + 1) // 2, -_QUIET)
    q = samples * np.ldexp(np.float32(1), _NORM_BITS - exponent)[:, None]
    np.rint(q, out=q)
    # Two products: what follows wants rows without gaps.
    power, sines = q @ filters()[0], q @ filters()[1]
    power *= power
    sines *= sines
    power += sines
    power += np.float32(1)
    np.log2(power, out=power)
    power *= np.float32(STEP)
    power += (2 * STEP * exponent - _FULL).astype(np.float32)[:, None]
    np.rint(power, out=power)
    np.maximum(power, np.float32(FLOOR), out=power)
    found: NDArray[np.int16] = power.astype(np.int16)
    return found
