"""The tables of docs/results/accuracy.md: a model as it is served, on voices that it was not taught by.

`python -m streamcab_train.held_out MODEL --config RECIPE --data MANIFEST.. --unheard MANIFEST..`: of the recipe's
corpora the groups that it keeps apart, and corpora that it never heard, whole. Detector, temperature and limits are
the model's. Knows nothing of how it was taught.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import streamcab
from streamcab.errors import StreamcabError
from streamcab.nn import checkpoint
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.confidence import Confidence
from streamcab_train.asked import PIECE_S, Asked, Predicted, begin, joined, one_by_one, pieces
from streamcab_train.calibration import reliability
from streamcab_train.context_keys import ContextKeys, read_context
from streamcab_train.judged import rank_auc
from streamcab_train.report import table
from streamcab_train.scores import confusion_matrix, interval_95, scores
from streamcab_train.voices import NO_CLASS, dealt, read_voices

JOINED_S = (10.0, 20.0, 30.0)
SURE = 0.8
TASKS = 12
"""Chunks after which a process is replaced: OpenVINO keeps some 5 MB of each new length of 4 s."""


def figures(heard: Predicted, labels: Sequence[str], limits: Confidence) -> dict[str, object]:
    """Return all figures of a row of the table."""
    p, truth = heard.p, heard.truth
    got = scores(confusion_matrix(truth, p.argmax(1), len(labels)))
    logs, sure = np.log(np.maximum(p, 1e-12)), heard.sure(limits)
    auc = {}
    for a, b in combinations(range(len(labels)), 2):
        both = (truth == a) | (truth == b)
        auc[f"{labels[a]}/{labels[b]}"] = round(
            rank_auc((logs[:, b] - logs[:, a])[both], truth[both] == b), 3
        )
    between = interval_95(truth, p.argmax(1), heard.groups, len(labels))
    return {
        "clips": np.bincount(truth, minlength=len(labels)).tolist(),
        "groups": [
            len({g for g, t in zip(heard.groups, truth, strict=True) if t == k}) for k in range(len(labels))
        ],
        "uar": round(got.uar, 3),
        "uar_95": None if between is None else [round(x, 2) for x in between],
        "recall": [None if np.isnan(r) else round(float(r), 2) for r in got.recall],
        "accuracy": round(got.accuracy, 3),
        "auc": auc,
        "ece": round(reliability(p, truth).ece, 3),
        "answered": round(float(sure.mean()), 3),
        "right": round(float((p.argmax(1) == truth)[sure].mean()), 3) if sure.any() else None,
    }


def strangers(inside: Predicted, outside: Predicted, limits: Confidence) -> dict[str, object]:
    """Return how well the largest probability and, where the model has it, `other` separate clips of a class from
    others, and how many of the others get a label: those within the limits."""
    both = (inside, outside)
    largest, other = (
        np.concatenate(some) for some in zip(*((h.p.max(1), h.other) for h in both), strict=True)
    )
    of_class, named = np.repeat([True, False], [len(h.truth) for h in both]), outside.sure(limits)
    said = np.isfinite(other)
    return {
        "clips": [len(h.truth) for h in both],
        "auroc": round(rank_auc(largest, of_class), 3),
        **({"auroc_other": round(rank_auc(-other[said], of_class[said]), 3)} if said.any() else {}),
        "named": round(float(named.mean()), 3),
        f"named_{SURE}": round(float((named & (outside.p.max(1) >= SURE)).mean()), 3),
    }


def both(one: Predicted, other: Predicted) -> Predicted:
    """Join the answers of two."""
    p, score, truth = (
        np.concatenate([getattr(h, of) for h in (one, other)]) for of in ("p", "other", "truth")
    )
    return Predicted(p, score, truth, one.groups + other.groups)


def row(name: str, found: dict[str, object]) -> list[str]:
    """Return a row of the table of the page."""

    def numbers(some: Iterable[float | None], form: str) -> str:
        return ", ".join("-" if x is None or np.isnan(x) else format(x, form) for x in some)

    got: dict[str, object] = found
    limits = got["uar_95"]
    between = f" ({limits[0]:.2f} to {limits[1]:.2f})" if isinstance(limits, list) else ""
    auc, clips, recall = got["auc"], got["clips"], got["recall"]
    assert isinstance(auc, dict)
    assert isinstance(clips, list)
    assert isinstance(recall, list)
    right = got["right"]
    return [
        name,
        numbers(clips, "d"),
        f"{got['uar']:.3f}{between}",
        numbers(recall, ".2f"),
        numbers(auc.values(), ".3f"),
        f"{got['ece']:.3f}",
        f"{got['answered']:.0%}",
        "-" if right is None else f"{right:.0%}",
    ]


def judge(
    asked: Asked,
    keys: ContextKeys,
    manifests: Sequence[Path],
    unheard: Sequence[Path],
    say: Callable[[str], object] = print,
) -> dict[str, dict[str, object]]:
    """Return every figure by name, said as they come."""
    classes = {accent: keys.labels.index(name) for accent, name in keys.classes.items()}
    labels, limits = keys.labels, asked.model.checkpoint.confidence
    voices, parts = dealt(keys, manifests)
    found: dict[str, dict[str, object]] = {}

    def ask(name: str, heard: Predicted) -> Predicted:
        if not len(heard.truth):
            return heard
        found[name] = figures(heard, labels, limits)
        say("| " + " | ".join(row(name, found[name])) + " |")
        return heard

    known: list[Predicted] = []
    for corpus in sorted({v.corpus for v, apart in zip(voices, parts.judges, strict=True) if apart}):
        own = [v for v, apart in zip(voices, parts.judges, strict=True) if apart and v.corpus == corpus]
        known.append(ask(corpus, asked.served(one_by_one(own))))
        for seconds in JOINED_S:
            ask(f"{corpus} joined to {seconds:.0f} s", asked.served(joined(own, seconds)))
    inside = known[0]
    for other in known[1:]:
        inside = both(inside, other)
    left = [v for v, out in zip(voices, parts.left_out, strict=True) if out]
    outside = asked.served(one_by_one(left))
    if len(outside.truth):
        found["strangers"] = strangers(inside, outside, limits)
    for manifest in unheard:
        voices = read_voices(manifest, classes)
        own, name = [v for v in voices if v.label != NO_CLASS], manifest.parent.name
        inside = both(inside, here := ask(name, asked.served(one_by_one(own))))
        ask(f"{name} in pieces of {PIECE_S:.0f} s", asked.served(pieces(own, PIECE_S)))
        ask(f"{name}, newest {PIECE_S:.0f} s", asked.newest(one_by_one(own)))
        apart = asked.served(one_by_one(v for v in voices if v.accent in keys.left_out))
        if len(apart.truth):
            found[f"strangers of {name}"] = strangers(here, apart, limits)
        outside = both(outside, apart)
    if unheard and len(outside.truth):
        found["strangers of all corpora"] = strangers(inside, outside, limits)
    for name, told in found.items():
        if name.startswith("strangers"):
            say(f"{name}: {json.dumps(told)}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    words = argparse.ArgumentParser(description="Figures of a model on voices that it was not taught by.")
    words.add_argument("model", help="a checkpoint, or the name of a bundled model")
    words.add_argument("--config", type=Path, required=True, help="the recipe: whom it keeps apart")
    words.add_argument("--data", type=Path, nargs="+", required=True, help="manifests that it was taught by")
    words.add_argument("--unheard", type=Path, nargs="*", default=[], help="manifests that it never heard")
    words.add_argument("--out", type=Path, help="a file for all figures as JSON")
    words.add_argument(
        "--into", type=Path, help="a checkpoint whose card is to hold the figures of this, its twin"
    )
    words.add_argument("--jobs", type=int, default=1, help="processes")
    given = words.parse_args(arguments)
    try:
        sys.stdout.write(table(HEAD, []) + "\n")
        model, keys = streamcab.load(given.model), read_context(given.config)
        with ExitStack() as stack:
            pool = None
            if given.jobs > 1:
                spawn = get_context("spawn")
                pool = stack.enter_context(spawn.Pool(given.jobs, begin, (given.model,), TASKS))
            found = judge(Asked(model, pool), keys, given.data, given.unheard)
        if given.into is not None:
            kept = checkpoint.load(given.into)
            checkpoint.save(Checkpoint(kept.net, kept.card | {"judged": found}), given.into)
    except StreamcabError as error:
        sys.exit(f"error: {error}")
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


HEAD = ["judged on", "clips", "UAR (95 %)", "recall", "AUC", "ECE", "answered", "right of these"]


if __name__ == "__main__":
    main()
