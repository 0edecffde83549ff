"""Evidence beside the mean of c_t: a linear layer on the sums of a window, and one answer from both.

The sums are second moments (moments.py) or sounds of phones (phones.py), depending on the architecture; the paper's
model has neither. Knows nothing of audio or of streams.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.evidence.accumulator import HANG_S, Spans, counted
from streamcab.evidence.moments import Moments, moments
from streamcab.evidence.phones import Phones, Recogniser, phone_sounds
from streamcab.nn.weights import Net

HALF_S = 5.0
"""Counted seconds beyond which evidence has more than half its weight: a few seconds say little."""

Floats = NDArray[np.float64]


class Evidence:
    """The linear layer of a network, and the combination of its output with the mean of c_t."""

    def __init__(self, net: Net) -> None:
        arch, weights = net.architecture, net.weights
        assert arch.summary, "a net without evidence"
        self._architecture = arch
        self._half, self._hang = arch.intervals(HALF_S), arch.intervals(HANG_S)
        self._recogniser = Recogniser(weights) if arch.phones else None
        self._weight, self._bias = (a.astype(np.float64) for a in weights.layer("evidence"))

    def sums(self, slots: int, length: int) -> Moments | Phones:
        """Return an accumulator for this many streams over their last `length` intervals."""
        arch, spans = self._architecture, Spans.of(self._architecture, length)
        if self._recogniser is not None:
            return Phones(slots, self._recogniser, spans)
        return Moments(slots, arch.summary, arch.lags, spans)

    def of_clip(self, u: NDArray[np.float32], votes: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return the sums (1, F) of a whole clip, u (N, K) and votes (N,), and the number of counted intervals (1,)."""
        counts = counted(u, votes, self._hang)
        if self._recogniser is not None:
            found, size = phone_sounds(u, counts, self._recogniser)
        else:
            found, size = moments(u, counts, self._architecture.lags), float(counts.sum())
        return found[None], np.array([size])

    def __call__(self, mean: Floats, numbers: Floats, counts: Floats) -> Floats:
        """Combine the mean of c_t (B, labels) with sums (B, F) over counts (B,) intervals: probabilities (B, labels).

        log p is log(mean) + weight * numbers + bias, up to a constant. The last two terms are multiplied by
        counts / (counts + half); half is HALF_S in intervals.
        """
        word = (numbers @ self._weight.T + self._bias) * (counts / (counts + self._half))[:, None]
        p = np.maximum(mean, 1e-12) * np.exp(word - word.max(1, keepdims=True))
        answer: Floats = p / p.sum(1, keepdims=True)
        return answer


def evidence_of(net: Net) -> Evidence | None:
    """Return the evidence layer of a network; None for the paper's."""
    return Evidence(net) if net.architecture.summary else None
