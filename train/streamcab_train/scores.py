"""Scores of a classifier, all from its confusion matrix, and their confidence intervals.

As in the paper: accuracy, unweighted average recall (UAR), and F1 as the mean of the classes' F1. A class without
a clip is excluded from the means. Knows nothing of models or corpora.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """confusion (m, m): truth in rows, answers in columns. recall (m,): NaN for a class without clips."""

    confusion: Ints
    accuracy: float
    uar: float
    f1: float
    recall: NDArray[np.float64]


def confusion_matrix(truth: ArrayLike, answers: ArrayLike, labels: int) -> Ints:
    """Count (truth, answer), both (n,) of class numbers: (labels, labels)."""
    pair = np.asarray(truth, np.int64) * labels + np.asarray(answers, np.int64)
    return np.bincount(pair, minlength=labels * labels).reshape(labels, labels)


def scores(confusion: ArrayLike) -> Scores:
    """Compute all scores of a confusion matrix with at least one clip."""
    matrix = np.asarray(confusion, np.int64)
    hits, truth, answers = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    there = truth > 0
    recall = np.where(there, hits / np.maximum(truth, 1), np.nan)
    f1 = 2 * hits / np.maximum(truth + answers, 1)
    return Scores(
        matrix,
        accuracy=float(hits.sum() / matrix.sum()),
        uar=float(recall[there].mean()),
        f1=float(f1[there].mean()),
        recall=recall,
    )


def interval_95(
    truth: ArrayLike,
    answers: ArrayLike,
    speakers: Sequence[str],
    labels: int,
    score: Callable[[Scores], float] = lambda s: s.uar,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the 95 % interval of a score by bootstrap over speakers, resampled within each class with their clips.

    truth, answers and speakers are (n,), clip by clip. None if a class has a single voice, since the variation
    between voices is then unknown.
    """
    drawn = redrawn(*by_voice(truth, answers, speakers, labels), draws, seed)
    if drawn is None:
        return None
    low, high = np.percentile([score(scores(matrix)) for matrix in drawn], (2.5, 97.5))
    return float(low), float(high)


def by_voice(truth: ArrayLike, answers: ArrayLike, speakers: Sequence[str], labels: int) -> tuple[Ints, Ints]:
    """Return each of v voices as a confusion matrix, (v, labels, labels), and its class, (v,): that of its first
    clip."""
    truth, answers = np.asarray(truth, np.int64), np.asarray(answers, np.int64)
    clips: dict[str, list[int]] = {}
    for i, speaker in enumerate(speakers):
        clips.setdefault(speaker, []).append(i)
    voices = np.array([confusion_matrix(truth[rows], answers[rows], labels) for rows in clips.values()])
    return voices, np.array([truth[rows[0]] for rows in clips.values()])


def redrawn(voices: Ints, group: Ints, draws: int, seed: int) -> Ints | None:
    """Return confusion matrices (..., draws, m, m) of as many voices of each class, drawn anew from voices (..., v, m,
    m).

    group (v,) are their classes. None when a class has a single voice.
    """
    if np.bincount(group)[np.unique(group)].min() < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = np.zeros((*voices.shape[:-3], draws, *voices.shape[-2:]), np.int64)
    for label in np.unique(group):
        own = np.flatnonzero(group == label)
        drawn += voices[..., own[rng.integers(len(own), size=(draws, len(own)))], :, :].sum(-3)
    return drawn
