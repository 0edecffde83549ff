"""Second moments of the intervals in a window: what evidence is drawn from, for models that have it.

Each interval is summed up in K numbers u_t. Accent shows in how they vary together, and with what was said a
moment before: for each lag l, E[u_t u_{t-l}^T] - m m^T over the intervals that count (sums.py). evidence.py makes of
these moments what they say for each label.

Knows nothing of audio, of the net, or of time but as a count of intervals.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamcab.evidence.accumulator import Accumulator, Spans

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class Moments(Accumulator):
    """Products for `slots` streams over their last `spans.length` intervals."""

    def __init__(self, slots: int, summary: int, lags: Sequence[int], spans: Spans) -> None:
        self._k, self._lags = summary, tuple(lags)
        # How many count, sum of u; then for each lag pairs that count, and the sum of their products.
        self._width = 1 + summary + len(self._lags) * (1 + summary * summary)
        super().__init__(slots, summary, self._width, max(1, *self._lags), spans)
        self._upper = np.triu_indices(summary)

    def add(
        self, slots: Ints, first: NDArray[np.int64], u: NDArray[np.float32], votes: NDArray[np.bool_]
    ) -> None:
        """H intervals of B streams from index first (B,) on, as `Window.add` takes them: u (B, H, K), NaN where
        nothing was heard."""
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
        """Stream time went on from interval `seen` to `to` with nothing heard: it is forgotten, and has no partner."""
        gone = np.arange(max(seen, to - self._room), to) % self._room
        self._past[slot, gone], self._counted[slot, gone] = 0, False
        self._since[slot] += to - seen
        self._pass_over(slot, seen, to)

    def read(self, slots: Ints) -> tuple[Floats, Floats]:
        """The moments (B, F) of the window, and how many intervals count, (B,)."""
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
    """The moments (F,) of a whole clip: u (N, K), counts (N,). What `Moments` sums up."""
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
