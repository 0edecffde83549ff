"""Second moments of the intervals in a window, for models whose evidence is based on them.

Each interval is summarised in K numbers u_t. Accents differ in how these vary together, and with those of a moment
before: for each lag l, E[u_t u_{t-l}^T] - m m^T over the counted intervals (accumulator.py). layer.py turns these
moments into evidence for each label.

Knows nothing of audio or of the network, and knows time only as a count of intervals.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamcab.evidence.accumulator import Accumulator, Spans

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class Moments(Accumulator):
    """Sums of products for `slots` streams over their last `spans.length` intervals."""

    def __init__(self, slots: int, summary: int, lags: Sequence[int], spans: Spans) -> None:
        self._k, self._lags = summary, tuple(lags)
        # The count, the sum of u; then for each lag the counted pairs, and the sum of their products.
        self._width = 1 + summary + len(self._lags) * (1 + summary * summary)
        super().__init__(slots, summary, self._width, max(1, *self._lags), spans)
        self._upper = np.triu_indices(summary)

    def add(
        self, slots: Ints, first: NDArray[np.int64], u: NDArray[np.float32], votes: NDArray[np.bool_]
    ) -> None:
        """Add H intervals of B streams from index first (B,) on, as in `Window.add`: u (B, H, K), NaN where
        missing."""
        k, width = self._k, self._width
        for j in range(u.shape[1]):
            index = first + j
            x, count = self._count(slots, index, u[:, j], votes[:, j])
            block = self._block(slots, index)
            gained = np.empty((len(slots), width), np.float32)
            gained[:, 0], gained[:, 1 : 1 + k] = count, x
            at = 1 + k
            for lag in self._lags:
                there = (index - lag) % self._room
                before = x if lag == 0 else self._past[slots, there]
                gained[:, at] = count if lag == 0 else count & self._counted[slots, there]
                gained[:, at + 1 : at + 1 + k * k] = (x[:, :, None] * before[:, None, :]).reshape(-1, k * k)
                at += 1 + k * k
            self._sums[slots, block] += gained
            self._keep(slots, index, x, count)

    def jump(self, slot: int, seen: int, to: int) -> None:
        """Skip from interval `seen` to `to` with nothing heard: these intervals do not count and form no products."""
        gone = np.arange(max(seen, to - self._room), to) % self._room
        self._past[slot, gone], self._counted[slot, gone] = 0, False
        self._since[slot] += to - seen
        self._pass_over(slot, seen, to)

    def read(self, slots: Ints) -> tuple[Floats, Floats]:
        """Return the moments (B, F) of the window, and the number of counted intervals (B,)."""
        return self._centred(self._total(slots))

    def _centred(self, total: Floats) -> tuple[Floats, Floats]:
        k, at, parts = self._k, 1 + self._k, []
        counts = total[:, 0]
        mean = total[:, 1 : 1 + k] / np.maximum(counts, 1)[:, None]
        square = mean[:, :, None] * mean[:, None, :]
        for lag in self._lags:
            pairs = total[:, at][:, None, None]
            product = total[:, at + 1 : at + 1 + k * k].reshape(-1, k, k)
            moment = np.where(pairs > 0, product / np.maximum(pairs, 1) - square, 0.0)
            parts.append(moment[:, *self._upper] if lag == 0 else moment.reshape(-1, k * k))
            at += 1 + k * k
        return np.concatenate(parts, 1), counts


def moments(u: NDArray[np.float32], counts: NDArray[np.bool_], lags: Sequence[int]) -> Floats:
    """Return the moments (F,) of a whole clip, u (N, K) and counts (N,), as `Moments` computes them."""
    some = u[counts].astype(np.float64)
    mean = some.mean(0) if len(some) else np.zeros(u.shape[1])
    parts = []
    for lag in lags:
        pairs = max(len(u) - lag, 0)
        both = counts[lag:] & counts[:pairs]
        now, before = u[lag:][both].astype(np.float64), u[:pairs][both].astype(np.float64)
        moment = now.T @ before / max(len(now), 1) - np.outer(mean, mean) * bool(len(now))
        parts.append(moment[np.triu_indices(len(mean))] if lag == 0 else moment.ravel())
    return np.concatenate(parts)
