"""Resamples a call that has changed its codec to the rate of the ring that it started with.

Knows nothing of codecs or rings.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.resample import resampler

NEAR = 2.0
"""Samples by which adjacent packets may seem apart: positions are integers, and rates do not divide."""

Samples = NDArray[np.float32]


class Run:
    """Samples without a gap, the first at `position` of the ring."""

    def __init__(self, position: int, rate_in: int, rate_out: int) -> None:
        self.rate_in, self._rate_out, self._origin = rate_in, rate_out, position
        self._resample = resampler(rate_in, rate_out)
        self._first = -self._resample.half  # index of the first sample that is kept
        self._kept: Samples = np.zeros(self._resample.half, np.float32)
        self._came = self._made = 0

    def goes_on(self, position: int, rate: int) -> bool:
        """Return whether samples at this position of the ring are the next ones."""
        end = self._origin + self._came * self._rate_out / self.rate_in
        return rate == self.rate_in and abs(position - end) < NEAR

    def push(self, samples: Samples) -> tuple[int, Samples]:
        """Append samples (n,); return the outputs that can be computed so far, and their position."""
        self._kept = np.concatenate((self._kept, samples))
        self._came += len(samples)
        return self._make(int(self._resample.ready(np.array(self._came))))

    def finish(self) -> tuple[int, Samples]:
        """Return the remaining outputs, when nothing follows."""
        self._kept = np.concatenate((self._kept, np.zeros(2 * self._resample.half + 1, np.float32)))
        return self._make(int(self._resample.total(np.array(self._came))))

    @property
    def ready(self) -> int:
        """Return the position before which all outputs have been returned."""
        return self._origin + self._made

    def _make(self, upto: int) -> tuple[int, Samples]:
        first, count = self._made, upto - self._made
        if count <= 0:
            return self._origin + first, np.zeros(0, np.float32)
        start, stop = self._resample.start(first), self._resample.stop(upto)
        made = self._resample(self._kept[None, start - self._first : stop - self._first], first, count)[0]
        self._made = upto
        keep = self._resample.start(upto) - self._first
        self._kept, self._first = self._kept[keep:], self._first + keep
        return self._origin + first, made
