"""The scores of repeated folds: each fold's, best and mean as in the paper's Tables 3 and 7, and all together.

Knows nothing of how the answers came about.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from streamcab_train.bootstrap import intervals_95
from streamcab_train.calibration import reliability
from streamcab_train.fold_answers import FoldAnswers, pooled
from streamcab_train.report import interval, number, table
from streamcab_train.scores import Scores, confusion_matrix, scores
from streamcab_train.split import DISJOINT

Summary = dict[str, Any]
NAMES = ("accuracy", "uar", "f1")


def summarise(repeats: Sequence[Sequence[FoldAnswers]], corpus: str) -> Summary:
    """Summarise repeats[r][k]: the answers of fold k to its test clips. Every speaker is tested once in a repeat."""
    labels = repeats[0][0].labels
    each = [
        {"repeat": r, "fold": k, "speakers": _speakers(answered)} | _three(_scores(answered))
        for r, folds in enumerate(repeats)
        for k, answered in enumerate(folds)
    ]
    whole = [pooled(folds) for folds in repeats]
    every = pooled(whole)
    s = _scores(every)
    return {
        "corpus": corpus,
        "protocol": DISJOINT,
        "labels": list(labels),
        "repeats": len(repeats),
        "folds": len(repeats[0]),
        "speakers": _speakers(every),
        "each": each,
        "best": _three(max((_scores(a) for folds in repeats for a in folds), key=lambda x: x.accuracy)),
        "mean": {name: float(np.mean([one[name] for one in each])) for name in NAMES},
        "each_repeat": [_three(_scores(a)) for a in whole],
        "pooled": _three(s)
        | {
            "recall": dict(zip(labels, (float(r) for r in s.recall), strict=True)),
            "confusion": s.confusion.tolist(),
            "interval_95": intervals_95(every.truth, every.answers, every.speakers, len(labels)),
            "ece": reliability(every.probabilities, every.truth).ece,
        },
    }


def render(s: Summary) -> str:
    """Return the summary as Markdown."""
    who = ", ".join(f"{label} {n}" for label, n in s["speakers"].items())
    pool = s["pooled"]
    sure = pool["interval_95"]
    rows = [
        [name, number(s["best"][key]), number(s["mean"][key]), f"**{pool[key]:.3f}**", interval(sure[key])]
        for name, key in zip(("accuracy", "UAR", "macro F1"), NAMES, strict=True)
    ]
    each = [
        [
            e["repeat"],
            e["fold"],
            " / ".join(str(n) for n in e["speakers"].values()),
            *(number(e[k]) for k in NAMES),
        ]
        for e in s["each"]
    ]
    confusion = [
        [label, *counts, number(pool["recall"][label]), interval(one)]
        for label, counts, one in zip(s["labels"], pool["confusion"], sure["recall"], strict=True)
    ]
    return (
        "\n\n".join(
            [
                f"# {s['corpus']}: {s['folds']} folds, {s['repeats']} repeats, {s['protocol']}",
                f"Speakers, each tested once in a repeat: {who}.",
                table(["", "best fold", "mean of folds", "all together", "95 %"], rows),
                "Best: by accuracy on test, as the paper has it. All together: the answers of all folds and repeats, "
                "each by a net that never heard the voice; interval by bootstrap over speakers. "
                f"ECE {pool['ece']:.3f}.",
                table(["truth", *s["labels"], "recall", "95 %"], confusion),
                table(
                    ["repeat", "fold", f"speakers: {' / '.join(s['labels'])}", "accuracy", "UAR", "macro F1"],
                    each,
                ),
            ]
        )
        + "\n"
    )


def _scores(answered: FoldAnswers) -> Scores:
    return scores(confusion_matrix(answered.truth, answered.answers, len(answered.labels)))


def _three(s: Scores) -> dict[str, float]:
    return {name: getattr(s, name) for name in NAMES}


def _speakers(answered: FoldAnswers) -> dict[str, int]:
    names = np.array(answered.speakers)
    return {label: len(set(names[answered.truth == i].tolist())) for i, label in enumerate(answered.labels)}
