"""Confidence intervals for the scores of a set of answers, and for the difference of two, over the choice of voices.

Voices are resampled within each class with all their clips, as in `scores.interval_95`, which does this for one
set of answers. For two sets each draw takes the same voices for both, so effects common to both cancel.
Knows nothing of models.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from streamcab_train.scores import Scores, by_voice, interval_95, redrawn, scores

Interval = tuple[float, float] | None


def intervals_95(
    truth: ArrayLike, answers: ArrayLike, speakers: Sequence[str], labels: int, draws: int = 2000
) -> dict[str, Interval | list[Interval]]:
    """Return 95 % intervals of accuracy, UAR, F1 and each class' recall; None if a class has a single voice."""
    truth, answers, names = np.asarray(truth, np.int64), np.asarray(answers, np.int64), np.asarray(speakers)

    def of(score: Callable[[Scores], float]) -> Interval:
        return interval_95(truth, answers, speakers, labels, score, draws)

    recall: list[Interval] = []
    for label in range(labels):
        rows = np.flatnonzero(truth == label)
        voices: list[str] = names[rows].tolist()
        # Separately: another class with a single voice does not affect this one's recall.
        one = interval_95(truth[rows], answers[rows], voices, labels, draws=draws) if len(rows) else None
        recall.append(one)
    return {
        "accuracy": of(lambda s: s.accuracy),
        "uar": of(lambda s: s.uar),
        "f1": of(lambda s: s.f1),
        "recall": recall,
    }


def difference_95(
    truth: ArrayLike,
    answers: ArrayLike,
    others: ArrayLike,
    speakers: Sequence[str],
    labels: int,
    score: Callable[[Scores], float] = lambda s: s.uar,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the 95 % interval of score(others) - score(answers); None if a class has a single voice."""
    (one, group), (other, _) = (by_voice(truth, a, speakers, labels) for a in (answers, others))
    drawn = redrawn(np.stack((one, other)), group, draws, seed)
    if drawn is None:
        return None
    gaps = [score(scores(b)) - score(scores(a)) for a, b in zip(*drawn, strict=True)]
    low, high = np.percentile(gaps, (2.5, 97.5))
    return float(low), float(high)
