"""Every figure of a report, counted from the answers: a table or list for each section, as JSON takes it.

Nothing here depends on the clock or the machine. Knows nothing of audio, of models' weights, or of how a
report looks.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamcab import __version__
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.confidence import Confidence
from streamcab_train.bootstrap import difference_95, intervals_95
from streamcab_train.calibration import coverage, reliability
from streamcab_train.conditions import OFFLINE
from streamcab_train.predict import ClipPredictions, Floats
from streamcab_train.scores import confusion_matrix, interval_95, scores
from streamcab_train.selection import Chosen

AGES = ((0, 25, "under 25"), (25, 40, "25 to 39"), (40, 60, "40 to 59"), (60, 200, "60 and more"))
DIGITS = 4


def about(model: Checkpoint, path: Path) -> dict[str, Any]:
    """Return which model was evaluated."""
    return {
        "file": path.name,
        "hash": model.hash,
        "name": model.card.get("name", ""),
        "labels": list(model.architecture.labels),
        "licence": model.card.get("licence", "unknown"),
        "trained_on": model.card.get("corpus", "unknown"),
        "made_with": {"streamcab": __version__, "torch": torch.__version__.split("+")[0]},
    }


def who(
    chosen: Chosen, answers: ClipPredictions, split: str, dropped: Counter[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Return the voices of the test: clips, speakers and hours of each class, and what was left out."""
    classes = {}
    for i, label in enumerate(labels):
        own = np.flatnonzero(answers.truth == i)
        classes[label] = {
            "clips": len(own),
            "speakers": len({answers.speakers[j] for j in own}),
            "hours": round(float(answers.seconds[own].sum()) / 3600, DIGITS),
        }
    return {
        "manifest": chosen.manifest.name,
        "split": split,
        "protocol": chosen.protocol,
        "clips": len(answers.clips),
        "speakers": len(set(answers.speakers)),
        "classes": classes,
        "dropped": dict(sorted(dropped.items())),
    }


def overall(answers: ClipPredictions, p: Floats, labels: Sequence[str], draws: int) -> dict[str, Any]:
    """Return all scores of the answers p (n, labels), with intervals, and the scores of guessing."""
    top, m = p.argmax(1), len(labels)
    s = scores(confusion_matrix(answers.truth, top, m))
    sure = intervals_95(answers.truth, top, answers.speakers, m, draws)
    majority = np.bincount(answers.truth, minlength=m).max() / len(answers.truth)
    return {
        "accuracy": s.accuracy,
        "uar": s.uar,
        "f1": s.f1,
        "interval_95": sure,
        "recall": {k: None if np.isnan(r) else float(r) for k, r in zip(labels, s.recall, strict=True)},
        "confusion": s.confusion.tolist(),
        "accuracy_of_the_largest_class": float(majority),
        "chance_uar": 1 / len(set(answers.truth.tolist())),
    }


def by_condition(answers: ClipPredictions, gate: bool, draws: int) -> list[dict[str, Any]]:
    """Return a row for each way of hearing, and how far its answers are from the offline ones."""
    base = answers.by_condition[OFFLINE]
    found = []
    for name, p in answers.by_condition.items():
        row: dict[str, Any] = {
            "condition": name + (f" (gate {'on' if gate else 'off'})" if name == OFFLINE else "")
        }
        row |= _brief(answers, p, draws)
        row["uar_minus_offline_95"] = (
            None
            if p is base
            else difference_95(
                answers.truth, base.argmax(1), p.argmax(1), answers.speakers, p.shape[1], draws=draws
            )
        )
        row["same_answers"] = float((p.argmax(1) == base.argmax(1)).mean())
        row["largest_difference"] = float(np.abs(p - base).max())
        found.append(row)
    return found


def _brief(
    answers: ClipPredictions, p: Floats, draws: int, rows: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """Return accuracy, UAR with its interval, and F1, of some clips."""
    rows = np.arange(len(p)) if rows is None else rows
    truth, top, m = answers.truth[rows], p[rows].argmax(1), p.shape[1]
    s = scores(confusion_matrix(truth, top, m))
    names = answers.speakers
    sure = interval_95(truth, top, [names[i] for i in rows], m, draws=draws)
    return {"accuracy": s.accuracy, "uar": s.uar, "uar_95": sure, "f1": s.f1}


def by_seconds(answers: ClipPredictions, draws: int) -> list[dict[str, Any]]:
    """Return a row for each length of which only the beginning was heard."""
    whole = answers.by_condition[OFFLINE].argmax(1)
    found = []
    for s, p in answers.by_seconds.items():
        row: dict[str, Any] = {"seconds": s, "clips_that_long": int((answers.seconds >= s).sum())}
        row |= _brief(answers, p, draws)
        row["same_answers"] = float((p.argmax(1) == whole).mean())
        row["whole_minus_these_uar_95"] = difference_95(
            answers.truth, p.argmax(1), whole, answers.speakers, p.shape[1], draws=draws
        )
        found.append(row)
    return found


def enough(by_seconds: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the row of the length from which on whole clips score no more, as far as intervals can tell; None: of no
    length.

    Only lengths that some clip has: to hear more than there is helps nobody, and shows nothing.
    """
    known = [row for row in by_seconds if row["clips_that_long"]]
    gains = [row["whole_minus_these_uar_95"] for row in known]
    helped = [i for i, gain in enumerate(gains) if gain is None or gain[0] > 0]
    at = helped[-1] + 1 if helped else 0
    return known[at] if at < len(known) else None


def calibration(
    answers: ClipPredictions, served: Confidence, temperature: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the reliability of the served answers, and of the bare mean of c_t."""
    p = answers.by_condition[OFFLINE]
    return {
        "as_served": dataclasses.asdict(reliability(served(p), answers.truth)),
        "bare": dataclasses.asdict(reliability(p, answers.truth)),
        "temperature": temperature,
    }


def by_coverage(answers: ClipPredictions, served: Confidence) -> list[dict[str, Any]]:
    """Return the scores of the surest answers only, as served, by coverage."""
    return [dataclasses.asdict(c) for c in coverage(served(answers.by_condition[OFFLINE]), answers.truth)]


def abstaining(
    answers: ClipPredictions, served: Confidence, abstain: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return the threshold that validation chose, and what it does here."""
    if abstain is None:
        return None
    p = served(answers.by_condition[OFFLINE])
    own = np.array([served.sure(float(sure)) is True for sure in p.max(1)])
    right = p[own].argmax(1) == answers.truth[own]
    return {
        "wanted_accuracy": abstain.get("accuracy"),
        "threshold": served.abstain_below,
        "coverage": float(own.mean()),
        "accuracy": float(right.mean()) if own.any() else None,
    }


def by_trait(
    answers: ClipPredictions, chosen: Chosen, labels: Sequence[str], draws: int
) -> dict[str, list[dict[str, Any]]]:
    """Return rows by sex and age, where the manifest has them; a clip without a value is in a group of its own."""
    at = {clip.path: i for i, clip in enumerate(chosen.clips)}
    p = answers.by_condition[OFFLINE]
    found: dict[str, list[dict[str, Any]]] = {}
    for trait, values in chosen.traits.items():
        own = [values[at[clip.path]] for clip in answers.clips]
        names = [age_group(v) if trait == "age" else v or "not given" for v in own]
        found[trait] = []
        for name in sorted(set(names), key=_place):
            rows = np.array([i for i, n in enumerate(names) if n == name])
            counts = np.bincount(answers.truth[rows], minlength=len(labels)).tolist()
            group: dict[str, Any] = {"group": name, "clips": dict(zip(labels, counts, strict=True))}
            group |= _brief(answers, p, draws, rows)
            found[trait].append(group)
    return found


def _place(group: str) -> tuple[int, bool, str]:
    """Order ages by age, then words, and at the end those without."""
    return [*(name for _, _, name in AGES), group].index(group), group == "not given", group


def age_group(word: str) -> str:
    """Return `25 to 39` of "31"; a word such as "twenties" stays."""
    try:
        years = float(word)
    except ValueError:
        return word or "not given"
    return next((name for low, high, name in AGES if low <= years < high), "not given")
