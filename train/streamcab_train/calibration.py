"""Calibration of confidences: reliability, temperature, and the gain from abstaining.

Confidence is the largest probability of an answer. Expected calibration error over bins of equal width
(Naeini et al., AAAI 2015); temperature by maximum likelihood (Guo et al., ICML 2017), to be applied by
`streamcab/nn/confidence.py`. Knows nothing of models, clips or speakers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamcab.nn.confidence import COLDEST, HOTTEST, TINY, tempered
from streamcab_train.scores import confusion_matrix, scores

Floats = NDArray[np.float64]

BINS = 10
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True)
class Bin:
    """Answers with a confidence in (low, high]: their number, mean confidence and accuracy."""

    low: float
    high: float
    clips: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """ece: mean distance of confidence and accuracy, by clips; nll: mean -log p(truth); bins without clips
    are left out."""

    ece: float
    nll: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Coverage:
    """Scores when only the most confident clips are answered: those of `threshold` and above."""

    share: float
    threshold: float
    clips: int
    accuracy: float
    uar: float


def reliability(probabilities: ArrayLike, truth: ArrayLike, bins: int = BINS) -> Reliability:
    """Return the reliability of probabilities (n, m) for classes (n,), n at least 1."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(truth, np.int64)
    sure, right = p.max(1), p.argmax(1) == y
    number = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    found = []
    for b in np.unique(number):
        own = number == b
        found.append(
            Bin(b / bins, (b + 1) / bins, int(own.sum()), float(sure[own].mean()), float(right[own].mean()))
        )
    ece = sum(b.clips * abs(b.confidence - b.accuracy) for b in found) / len(y)
    return Reliability(float(ece), nll(p, y), tuple(found))


def nll(probabilities: ArrayLike, truth: ArrayLike) -> float:
    """Return the mean of -log p(truth)."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(truth, np.int64)
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], TINY)).mean())


def fit_temperature(probabilities: ArrayLike, truth: ArrayLike) -> float:
    """Return the maximum-likelihood temperature between `COLDEST` and `HOTTEST`.

    -log p is convex in 1/T, so its slope is bisected.
    """
    logs, y = _log(probabilities), np.asarray(truth, np.int64)
    own = logs[np.arange(len(y)), y]

    def slope(inverse: float) -> float:
        return float(((tempered(probabilities, 1 / inverse) * logs).sum(1) - own).mean())

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slope(low) >= 0:
        return HOTTEST
    if slope(high) <= 0:
        return COLDEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2 / (low + high)


def coverage(probabilities: ArrayLike, truth: ArrayLike) -> list[Coverage]:
    """Return the scores if only the most confident clips are answered; ties stay together, so shares may grow."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(truth, np.int64)
    sure, answers = p.max(1), p.argmax(1)
    ordered = np.sort(sure)[::-1]
    curve = []
    for share in COVERAGES:
        threshold = float(ordered[max(1, round(share * len(y))) - 1])
        own = sure >= threshold
        s = scores(confusion_matrix(y[own], answers[own], p.shape[1]))
        curve.append(Coverage(float(own.mean()), threshold, int(own.sum()), s.accuracy, s.uar))
    return curve


def abstain_below(probabilities: ArrayLike, truth: ArrayLike, accuracy: float) -> float | None:
    """Return the lowest threshold of confidence whose answers reach an accuracy; None if there is none."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(truth, np.int64)
    order = np.argsort(-p.max(1), kind="stable")
    sure, right = p.max(1)[order], (p.argmax(1) == y)[order]
    share = np.cumsum(right) / np.arange(1, len(y) + 1)
    # Only where the next clip is less confident: a threshold cannot separate equal values.
    last = np.append(sure[1:] < sure[:-1], True)
    good = np.flatnonzero((share >= accuracy) & last)
    return float(sure[good[-1]]) if len(good) else None


def _log(probabilities: ArrayLike) -> Floats:
    logs: Floats = np.log(np.maximum(np.asarray(probabilities, np.float64), TINY))
    return logs


def fitted(probabilities: ArrayLike, truth: ArrayLike, speakers: Sequence[str]) -> dict[str, Any]:
    """Fit a temperature on validation clips, and return it as a card holds it."""
    temperature = fit_temperature(probabilities, truth)
    after = tempered(probabilities, temperature)
    return {
        "temperature": round(temperature, 4),
        "fitted_on": "validation",
        "clips": len(np.asarray(truth)),
        "speakers": len(set(speakers)),
        "nll_before": round(nll(probabilities, truth), 4),
        "nll_after": round(nll(after, truth), 4),
    }
