"""The front end (paper, section 3.1): samples of any rate in, maxima and sums for each interval out.

Resamples to the model's rate, then keeps the maximum of each of the 4,000 sub-intervals a second. Normalising
comes later: it commutes with the maximum, so it needs only the sums of each interval. Everything is a function of
absolute position in the stream, so there is no state, and the result does not depend on chunks.

Knows nothing of streams' names, of time, or of speech.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.bands import BANDS, FLOOR, INTERVAL, levels
from streamcab.dsp.resample import resampler


@dataclass(frozen=True)
class Pooled:
    """H intervals of B streams.

    maxima   (B, H, I) float32, of raw samples        count  (H,) samples at the model's rate in each interval
    sum, square  (B, H) float64, of those samples     missing (B, H) bool, some sample never arrived
    levels   (B, H, BANDS) int16, of bands.py, for models with a detector
    """

    maxima: NDArray[np.float32]
    count: NDArray[np.int64]
    sum: NDArray[np.float64]
    square: NDArray[np.float64]
    missing: NDArray[np.bool_]
    levels: NDArray[np.int16] | None = None

    @property
    def power(self) -> NDArray[np.float64]:
        """Return the variance within each interval, (B, H): its level, independent of any offset."""
        mean = self.sum / self.count
        return np.maximum(self.square / self.count - mean * mean, 0.0)

    def part(self, first: int, end: int) -> "Pooled":
        """Return the intervals `first` to `end` - 1."""
        some = slice(first, end)
        return Pooled(
            self.maxima[:, some],
            self.count[some],
            self.sum[:, some],
            self.square[:, some],
            self.missing[:, some],
            None if self.levels is None else self.levels[:, some],
        )


def nothing(b: int, h: int, interval: int) -> Pooled:
    """Return H intervals of B streams of which no sample arrived."""
    zeros, levels = np.zeros((b, h)), np.full((b, h, BANDS), FLOOR, np.int16)
    maxima = np.zeros((b, h, interval), np.float32)
    return Pooled(maxima, np.ones(h, np.int64), zeros, zeros, np.ones((b, h), np.bool_), levels)


class FrontEnd:
    """Turns samples at `rate_in` Hz, via `rate`, into intervals of `interval` sub-intervals, `pooled_rate` a second.

    bands  whether the levels of bands.py are wanted, too
    """

    def __init__(self, rate_in: int, rate: int, pooled_rate: int, interval: int, bands: bool = False) -> None:
        self._bands = bands
        self.rate_in, self.rate, self.pooled_rate, self.interval = rate_in, rate, pooled_rate, interval
        self._resample = None if rate_in == rate else resampler(rate_in, rate)
        # Intervals after which the division into sub-intervals and the filter's phase repeat.
        self.period = pooled_rate // gcd(interval * rate, pooled_rate)
        if self._resample is not None:
            per_period = self.period * interval * rate // pooled_rate
            self.period *= self._resample.up // gcd(per_period * self._resample.down, self._resample.up)

    def _edge(self, k: int) -> int:
        """Return interval k's first sample at `rate`: sub-interval i begins at floor(i * rate / pooled_rate)."""
        return k * self.interval * self.rate // self.pooled_rate

    def _whole(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of whole intervals in the first `samples` samples at the model's rate."""
        return -(-(samples + 1) * self.pooled_rate // (self.interval * self.rate)) - 1

    def ready(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of intervals that can be computed from the first `samples` of streams that continue."""
        return self._whole(samples if self._resample is None else self._resample.ready(samples))

    def total(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the intervals of streams that ended after `samples`: the last fraction of an interval is dropped."""
        return self._whole(samples if self._resample is None else self._resample.total(samples))

    def span(self, k: int, h: int) -> tuple[int, int]:
        """Return the samples [start, stop) of a stream that intervals k .. k + h - 1 need, with the filter's reach."""
        first, last = self._edge(k), self._edge(k + h)
        if self._resample is None:
            return first, last
        return self._resample.start(first), self._resample.stop(last)

    def heard(self, k: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of samples of the source in the first k intervals."""
        return k * self.interval * self.rate_in // self.pooled_rate

    def pool(self, x: NDArray[np.float32], k: int, h: int) -> Pooled:
        """Compute intervals k .. k + h - 1 of B streams from samples `span(k, h)`: x (B, stop - start), NaN if missing.

        Streams whose k differ by a multiple of `period` can share a call.
        """
        gone = None
        # One NaN makes the sum NaN, and summing is cheaper than testing each sample.
        if np.isnan(x.sum()):
            gone = np.isnan(x)
            x = np.where(gone, np.float32(0), x)
        edges = np.array([self._edge(k + j) for j in range(h + 1)]) - self._edge(k)
        y = x if self._resample is None else self._resample(x, self._edge(k), int(edges[-1]))
        maxima = self._maxima(y, k, h)
        if len(set(np.diff(edges))) == 1:
            cut = y.reshape(len(y), h, -1)
            total = cut.sum(-1, dtype=np.float64)
            square = np.einsum("bhi,bhi->bh", cut, cut, dtype=np.float64)
        else:
            wide = y.astype(np.float64)
            total = np.add.reduceat(wide, edges[:-1], axis=1)
            square = np.add.reduceat(wide * wide, edges[:-1], axis=1)
        missing = np.zeros(total.shape, np.bool_) if gone is None else self._missing(gone, k, h)
        bands = (
            levels(y.reshape(-1, INTERVAL), square.ravel()).reshape(len(y), h, -1) if self._bands else None
        )
        return Pooled(maxima, np.diff(edges), total, square, missing, bands)

    def _maxima(self, y: NDArray[np.float32], k: int, h: int) -> NDArray[np.float32]:
        fold, rest = divmod(self.rate, self.pooled_rate)
        if rest == 0:
            # Strided maxima: numpy's reduction over a short last axis is several times slower.
            best = y[:, ::fold] if fold == 1 else np.maximum(y[:, ::fold], y[:, 1::fold])
            for i in range(2, fold):
                np.maximum(best, y[:, i::fold], out=best)
        else:
            first = k * self.interval
            cuts = (np.arange(first, first + h * self.interval) * self.rate) // self.pooled_rate
            best = np.maximum.reduceat(y, cuts - self._edge(k), axis=1)
        return best.reshape(len(y), h, self.interval)

    def _missing(self, gone: NDArray[np.bool_], k: int, h: int) -> NDArray[np.bool_]:
        """Return which intervals lack a sample of their own; the filter's reach beyond them is ignored."""
        start, stop = self.span(k, h)
        own = self.heard(np.arange(k, k + h + 1)) - start
        own[-1] = min(own[-1], stop - start)
        sums: NDArray[np.int64] = np.add.reduceat(gone[:, : own[-1]], own[:-1], axis=1, dtype=np.int64)
        return sums > 0


@lru_cache(maxsize=64)
def front_end(rate_in: int, rate: int, pooled_rate: int, interval: int, bands: bool = False) -> FrontEnd:
    """Return the front end for a rate, created once: it has no state."""
    return FrontEnd(rate_in, rate, pooled_rate, interval, bands)
