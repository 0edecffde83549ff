"""Evidence beside the mean of c_t: a linear layer on numbers that a window sums up, and one answer of both.

The numbers are second moments (moments.py) or how each phone sounds (phones.py), as the architecture says; the paper's
model has neither. Knows nothing of audio or of streams.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.evidence.accumulator import HANG_S, Spans, counted
from streamcab.evidence.moments import Moments, moments
from streamcab.evidence.phones import Phones, Recogniser, phone_sounds
from streamcab.nn.weights import Net

HALF_S = 5.0
"""Seconds that count, from which on evidence has more than half its weight: a few say little."""

Floats = NDArray[np.float64]


class Evidence:
    """The linear layer of a net, and how its word and the mean of c_t become one answer."""

    def __init__(self, net: Net) -> None:
        arch, weights = net.architecture, net.weights
        assert arch.summary, "a net without evidence"
        self._architecture = arch
        self._half, self._hang = arch.intervals(HALF_S), arch.intervals(HANG_S)
        self._recogniser = Recogniser(weights) if arch.phones else None
        self._weight, self._bias = (a.astype(np.float64) for a in weights.layer("evidence"))

    def sums(self, slots: int, length: int) -> Moments | Phones:
        """What keeps the numbers of so many streams over their last `length` intervals."""
        arch, spans = self._architecture, Spans.of(self._architecture, length)
        if self._recogniser is not None:
            return Phones(slots, self._recogniser, spans)
        return Moments(slots, arch.summary, arch.lags, spans)

    def of_clip(self, u: NDArray[np.float32], votes: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """The same of a whole clip, u (N, K) and votes (N,): numbers (1, F), and how many intervals count, (1,)."""
        counts = counted(u, votes, self._hang)
        if self._recogniser is not None:
            found, size = phone_sounds(u, counts, self._recogniser)
        else:
            found, size = moments(u, counts, self._architecture.lags), float(counts.sum())
        return found[None], np.array([size])

    def __call__(self, mean: Floats, numbers: Floats, counts: Floats) -> Floats:
        """Mean of c_t (B, labels), numbers (B, F) of so many intervals (B,) -> probabilities (B, labels).

        log p is log(mean) + weight * numbers + bias, up to its constant; the latter two weigh counts / (counts +
        half), half being HALF_S in intervals.
        """
        word = (numbers @ self._weight.T + self._bias) * (counts / (counts + self._half))[:, None]
        p = np.maximum(mean, 1e-12) * np.exp(word - word.max(1, keepdims=True))
        answer: Floats = p / p.sum(1, keepdims=True)
        return answer


def evidence_of(net: Net) -> Evidence | None:
    """What a net has of evidence; None for the paper's."""
    return Evidence(net) if net.architecture.summary else None
