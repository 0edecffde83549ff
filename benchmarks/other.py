"""How well a model tells accents of none of its labels, as it is served.

    python benchmarks/other.py MODEL --config RECIPE --data MANIFEST..

Clips of the labels are those of the groups that the recipe holds out. Strangers are the accents that it leaves out
whole. `near` are accents that are neither: no stage had their labels. Prints, by corpus and seconds, how well `other`
and the confidence alone rank strangers behind clips of the labels (AUROC, and the share of strangers that stay where
95 % of the labels' clips do), and the answers that are sure by confidence alone, and with the limit of `other`.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from streamcab_train.asked import Item, joined
from streamcab_train.context_keys import read_context
from streamcab_train.judged import rank_auc
from streamcab_train.report import table
from streamcab_train.voices import NO_CLASS, Voice, deal, read_voices

import streamcab
from streamcab.classifier import Recording
from streamcab.source.file import read_audio

LENGTHS_S = (5.0, 10.0, 30.0)
ONE_EACH_S = 15.0
"""Mean length of clips from which on a corpus is judged by their first seconds; shorter ones are joined."""
WHOLE_S = 1e6
HIGH = 0.8
KEPT = 0.95
LEAST = 5
"""Clips of the labels, or strangers, of a row at least."""

Floats = NDArray[np.float64]


def begun(voices: Sequence[Voice], seconds: float) -> Iterator[Item]:
    """Yield the first seconds of each clip, or all of it."""
    for voice in voices:
        samples, rate = read_audio(voice.path)
        yield Item((samples[: round(seconds * rate)], rate), voice.label, voice.group)


class Answers(NamedTuple):
    """Confidence and `other` of n answers, (n,), and whether they are sure."""

    confidence: Floats
    other: Floats
    sure: NDArray[np.bool_]


def mean_s(voices: Sequence[Voice]) -> float:
    """Return the mean length of clips."""
    return float(np.mean([len(samples) / rate for samples, rate in (read_audio(v.path) for v in voices)]))


def answered(model: streamcab.Classifier, items: Iterator[Item]) -> Answers:
    """Return the answers to the items with speech."""
    recordings = (Recording(item.group, item.audio[1], [item.audio[0]]) for item in items)
    told = [one.answer() for one in model.classify_many(recordings)]
    some = [p for p in told if p.top is not None]
    return Answers(
        np.array([p.confidence for p in some], np.float64),
        np.array([p.other for p in some], np.float64),
        np.array([p.sure for p in some], np.bool_),
    )


def stays(known: Floats, strange: Floats) -> float:
    """Return the share of strangers whose score is no higher than that of KEPT of the labels' clips."""
    return float((strange <= np.quantile(known, KEPT)).mean())


def auroc(known: Floats, strange: Floats) -> float:
    """Return the chance that a stranger's score is higher."""
    return rank_auc(np.concatenate((known, strange)), np.arange(len(known) + len(strange)) >= len(known))


def row(corpus: str, heard: str, found: dict[str, Answers], below: float) -> list[str]:
    """Return a row of the table."""
    known, strange = found["labels"], found["strangers"]
    cells = [corpus, heard, f"{len(known.sure)}, {len(strange.sure)}"]
    for score, score_of in ((-known.confidence, -strange.confidence), (known.other, strange.other)):
        cells.append(f"{auroc(score, score_of):.3f}, {stays(score, score_of):.2f}")
    for high in (below, HIGH):
        for some in found.values():
            named = some.confidence >= high
            cells.append(f"{named.mean():.0%}, {(some.sure & named).mean():.0%}" if len(named) else "-")
    return cells


def main() -> None:
    """The command line."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("model", help="a checkpoint, or the name of a bundled model")
    words.add_argument("--config", type=Path, required=True, help="the recipe: whom it keeps apart")
    words.add_argument("--data", type=Path, nargs="+", required=True, help="manifests")
    given = words.parse_args()
    model, keys = streamcab.load(given.model), read_context(given.config)
    below = model.checkpoint.confidence.abstain_below or 0.0
    classes = {accent: keys.labels.index(name) for accent, name in keys.classes.items()}
    voices = [v for manifest in given.data for v in read_voices(manifest, classes)]
    parts = deal(voices, keys.seed, strangers=keys.strangers, left_out=keys.left_out)
    named = np.array([v.accent not in ("", "none", "mixed") and v.label == NO_CLASS for v in voices])
    near = named & ~parts.left_out & ~np.isin([v.accent for v in voices], keys.strangers)
    kinds = {"labels": parts.judges, "strangers": parts.left_out, "near": near}
    rows: list[list[str]] = []
    for seconds in LENGTHS_S:
        every: dict[str, list[Answers]] = {name: [] for name in kinds}
        for corpus in sorted({v.corpus for v in voices}):
            own = {
                name: [v for v, m in zip(voices, of, strict=True) if m and v.corpus == corpus]
                for name, of in kinds.items()
            }
            if min(len(own["labels"]), len(own["strangers"])) < LEAST:
                continue
            long = mean_s(own["labels"]) >= ONE_EACH_S
            whole = not long and seconds == LENGTHS_S[0]
            cut = begun if long or whole else joined
            found = {
                name: answered(model, cut(some, WHOLE_S if whole else seconds)) for name, some in own.items()
            }
            if min(len(found[name].confidence) for name in ("labels", "strangers")) < LEAST:
                continue
            for name, answers in found.items():
                every[name].append(answers)
            rows.append(row(corpus, "one clip" if whole else f"{seconds:.0f} s", found, below))
        if len(every["labels"]) > 1:
            together = {
                name: Answers(*map(np.concatenate, zip(*some, strict=True))) for name, some in every.items()
            }
            rows.append(row("all of these", f"{seconds:.0f} s", together, below))
    print(table(HEAD, rows))


HEAD = ["corpus", "heard", "clips: labels, strangers", "confidence: AUROC, stay", "other: AUROC, stay"]
HEAD += [
    f"{words}: {kind}" for words in ("sure", f"sure at {HIGH}") for kind in ("labels", "strangers", "near")
]


if __name__ == "__main__":
    main()
