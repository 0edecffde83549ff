"""The mean sound of each phone in a window, for models whose evidence is based on phones.

A small network estimates, from the summaries u_t around an interval, the posterior of each intended phone. For each
phone the window keeps the sum of its posterior and the weighted sum of u_t. So evidence depends on how a vowel is
pronounced, not on which words were said. The network needs the next `reach` intervals, so an interval is added
(accumulator.py) when these have been heard. Phone 0 means no speech and is left out.

Knows nothing of audio or words, and knows time only as a count of intervals.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.evidence.accumulator import Accumulator, Spans
from streamcab.nn.weights import Net

PRIOR_S = 0.1
"""Prior: seconds of its usual sound that each phone is assumed to have before any is heard."""

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class Recogniser:
    """The part of a network that recognises phones, and their usual sounds.

    phones  their number, with no speech          reach  intervals of context on each side
    """

    def __init__(self, net: Net) -> None:
        arch, weights = net.architecture, net.weights
        assert arch.phones, "a net without phones"
        self.phones, self.reach, self.summary = arch.phones, arch.reach, arch.summary
        self._prior = arch.intervals(PRIOR_S)
        layers = [weights.layer(f"phones.{part}") for part in ("hidden", "out")]
        self._layers = [(weight.T.copy(), bias) for weight, bias in layers]
        self._usual = weights["phones.usual"].astype(np.float64)[1:]
        self._deviation = weights["phones.deviation"].astype(np.float64)

    def __call__(self, around: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the posteriors (N, phones), from u of the 2 * reach + 1 intervals around each interval,
        (N, (2 * reach + 1) * summary), zeros where one does not count."""
        (w, b), (v, d) = self._layers
        z = np.maximum(around @ w + b, 0) @ v + d
        p = np.exp(z - z.max(1, keepdims=True))
        told: NDArray[np.float32] = p / p.sum(1, keepdims=True)
        return told

    def unusual(self, said: Floats, sums: Floats) -> Floats:
        """Return each phone's deviation from its usual sound, less the mean deviation due to voice and line.

        said (B, phones) intervals of each phone, sums (B, phones, summary) of their u -> (B, (phones - 1) * summary)
        """
        n = said[:, 1:, None]
        away = sums[:, 1:] - n * self._usual
        voice = away.sum(1, keepdims=True) / np.maximum(n.sum(1, keepdims=True), 1e-9)
        found: Floats = ((away - n * voice) / (n + self._prior) / self._deviation).reshape(len(said), -1)
        return found


class Phones(Accumulator):
    """Sums by phone for `slots` streams over their last `spans.length` intervals."""

    def __init__(self, slots: int, recogniser: Recogniser, spans: Spans) -> None:
        self._recogniser, k, p = recogniser, recogniser.summary, recogniser.phones
        # The count; the intervals of each phone; the sums of their u.
        super().__init__(slots, k, 1 + p + p * k, 2 * recogniser.reach + 1, spans)

    def add(
        self, slots: Ints, first: NDArray[np.int64], u: NDArray[np.float32], votes: NDArray[np.bool_]
    ) -> None:
        """Add H intervals of B streams from index first (B,) on, as in `Moments.add`: u (B, H, K), NaN where
        missing."""
        room, back = self._room, np.arange(-self._room + 1, 1)
        for j in range(u.shape[1]):
            index = first + j
            x, count = self._count(slots, index, u[:, j], votes[:, j])
            self._keep(slots, index, x, count)
            middle = index - self._recogniser.reach
            block = self._block(slots, middle)
            known = (middle >= 0) & self._counted[slots, middle % room]
            if known.any():
                s = slots[known]
                around = self._past[s[:, None], (index[known, None] + back) % room]
                p = self._recogniser(around.reshape(len(s), -1))
                sums = p[:, :, None] * around[:, None, self._recogniser.reach]
                one = np.ones((len(s), 1), np.float32)
                self._sums[s, block[known]] += np.concatenate((one, p, sums.reshape(len(s), -1)), 1)

    def jump(self, slot: int, seen: int, to: int) -> None:
        """Skip from interval `seen` to `to` with nothing heard."""
        some, reach, k = np.array([slot]), self._recogniser.reach, self._recogniser.summary
        # The last intervals have not been added yet.
        gap = min(to - seen, self._room)
        nothing = np.full((1, gap, k), np.nan, np.float32)
        self.add(some, np.array([seen]), nothing, np.zeros((1, gap), np.bool_))
        self._since[slot] += to - seen - gap
        old, new = max(seen + gap - reach, 0), to - reach
        if new > old:
            self._pass_over(slot, old, new)

    def read(self, slots: Ints) -> tuple[Floats, Floats]:
        """Return the deviations of the phones in the window (B, F), and the number of counted intervals (B,)."""
        total = self._total(slots)
        p = self._recogniser.phones
        said, sums = total[:, 1 : 1 + p], total[:, 1 + p :].reshape(len(slots), p, -1)
        return self._recogniser.unusual(said, sums), total[:, 0]


def phone_sounds(
    u: NDArray[np.float32], counts: NDArray[np.bool_], recogniser: Recogniser
) -> tuple[Floats, float]:
    """Return what `Phones` computes for a whole clip, u (N, K) and counts (N,): (F,), and the counted intervals.

    Only intervals with `reach` intervals after them are added, as in a stream.
    """
    size, reach, k = 2 * recogniser.reach + 1, recogniser.reach, recogniser.summary
    known = np.flatnonzero(counts[: max(len(u) - reach, 0)])
    heard = np.where(counts[:, None], u, np.float32(0)).astype(np.float32)
    around = np.pad(heard, ((reach, reach), (0, 0)))[known[:, None] + np.arange(size)]
    p = recogniser(around.reshape(len(known), size * k)).astype(np.float64)
    found = recogniser.unusual(p.sum(0)[None], (p.T @ heard[known].astype(np.float64))[None])[0]
    return found, float(len(known))
