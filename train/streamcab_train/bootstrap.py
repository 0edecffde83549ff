"""How sure one may be of a set of answers, and of the distance of two, when other voices had spoken.

Voices are drawn anew within each class, and their clips follow, as in `scores.interval_95`, which does it for
one set of answers. For two sets each draw takes the same voices for both, so what is common to both cancels.
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
    """95 % intervals of accuracy, UAR, F1 and each class' recall; None where a class has a single voice."""
    truth, answers, names = np.asarray(truth, np.int64), np.asarray(answers, np.int64), np.asarray(speakers)

    def of(score: Callable[[Scores], float]) -> Interval:
        return interval_95(truth, answers, speakers, labels, score, draws)

    recall: list[Interval] = []
    for label in range(labels):
        rows = np.flatnonzero(truth == label)
        voices: list[str] = names[rows].tolist()
        # Alone: another class with a single voice does not make this one's recall less sure.
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
    """95 % interval of score(others) - score(answers); None when a class has a single voice."""
    (one, group), (other, _) = (by_voice(truth, a, speakers, labels) for a in (answers, others))
    drawn = redrawn(np.stack((one, other)), group, draws, seed)
    if drawn is None:
        return None
    gaps = [score(scores(b)) - score(scores(a)) for a, b in zip(*drawn, strict=True)]
    low, high = np.percentile(gaps, (2.5, 97.5))
    return float(low), float(high)
