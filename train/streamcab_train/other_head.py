"""Gives a model the score of accents of none of its labels: train/recipes/other.sh, after a trunk has been trained.

    python -m streamcab_train.other_head MODEL --config configs/context.toml --data MANIFEST..

A logistic regression on the mean of the trunk's output over the votes of a few seconds: clips of the labels against
clips of the recipe's strangers. Its mean over votes is that of one number for each interval. It and the limit from
which on an answer is not sure go into MODEL, whose other weights stay. Held-out groups and the accents that are left
out are heard by none of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from streamcab.dsp.gate import VOICED
from streamcab.errors import CorpusError
from streamcab.nn import checkpoint
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.confidence import odds_of
from streamcab.nn.weights import Weights, without_other
from streamcab_train.context_keys import ContextKeys, read_context
from streamcab_train.heads import WRITTEN_ANEW, execute, hear_each, with_head, words_for
from streamcab_train.opinion import regress
from streamcab_train.voices import NO_CLASS, Parts, Voice, dealt

PIECE_S = 5.0
"""Seconds of an example; of a clip with longer speech there are several, which together weigh as one."""
LEAST = 40
"""Votes of an example, unless a clip has no more."""
PENALTY = 0.3
"""Of the regression, for each example. A third to ten times of it differ little (lab notebook, 15)."""
FOLDS = 5
LOST = 0.05
"""Share of the sure answers to clips of the labels that the limit may cost."""

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Heard:
    """One clip: its examples (n, features), their votes (n,), and the confidence of its answer."""

    examples: Doubles
    votes: NDArray[np.int64]
    confidence: float

    @property
    def mean(self) -> Doubles:
        """The mean of the trunk's output over all its votes, (features,)."""
        found: Doubles = self.votes @ self.examples / self.votes.sum()
        return found


@dataclass(frozen=True)
class Line:
    """The score: weight (features,) and bias."""

    weight: Doubles
    bias: float

    def __call__(self, means: Doubles) -> Doubles:
        """Compute scores (n,) of means (n, features)."""
        found: Doubles = means @ self.weight + self.bias
        return found


def hear(voices: Sequence[Voice], model: Checkpoint, say: Callable[[str], object]) -> list[Heard | None]:
    """Compute the examples of each clip; None where nothing votes."""
    net, found = model.model, list[Heard | None]()
    length = model.architecture.intervals(PIECE_S)
    for heard in hear_each(voices, model, say):
        with torch.inference_mode():
            h = net.heard(torch.from_numpy(heard.x))
            c = net.acb(h)[0][0].double().numpy()
        at = np.flatnonzero(heard.kind[0] == VOICED)
        if len(at):
            confidence = float(model.confidence(c[at].mean(0)[None]).max())
            found.append(Heard(*examples(h[0].double().numpy()[at], at, length), confidence))
        else:
            found.append(None)
    return found


def examples(votes: Doubles, at: NDArray[np.int64], length: int) -> tuple[Doubles, NDArray[np.int64]]:
    """Return the means of votes (n, features) at intervals `at` (n,), by pieces of so many intervals, and how many
    votes are in each; pieces with few votes are part of their neighbours."""
    piece = at // length
    starts = [0]
    for k in range(1, len(at)):
        if piece[k] != piece[k - 1] and k - starts[-1] >= LEAST and len(at) - k >= LEAST:
            starts.append(k)
    counts = np.diff([*starts, len(at)])
    means: Doubles = np.add.reduceat(votes, starts, 0) / counts[:, None]
    return means, counts


def use(voices: Sequence[Voice], parts: Parts) -> tuple[NDArray[np.int64], Flags]:
    """Return the clips to learn from, (n,), and which of them are strangers; none of a corpus that lacks a side."""
    stranger = parts.stranger
    known = parts.teaches & np.array([v.label != NO_CLASS for v in voices])
    corpora = np.array([v.corpus for v in voices])
    both = [c for c in np.unique(corpora) if known[corpora == c].any() and stranger[corpora == c].any()]
    some = np.flatnonzero((known | stranger) & np.isin(corpora, both))
    return some, stranger[some]


def weights(voices: Sequence[Voice], stranger: Flags) -> Doubles:
    """Return the weight of each clip, (n,), 1 in the mean: labels as much as strangers within each corpus, and large
    groups and classes more than others by the root of their size alone."""
    names = [str(v.label) if v.label != NO_CLASS else v.accent for v in voices]
    corpora = np.array([v.corpus for v in voices])
    weight = _evened(np.ones(len(voices)), [v.group for v in voices])
    for corpus in np.unique(corpora):
        own = corpora == corpus
        total = weight[own].sum()
        for side in (stranger, ~stranger):
            some = np.flatnonzero(own & side)
            if not len(some):
                continue
            part = _evened(weight[some], [names[i] for i in some])
            weight[some] = part * (total / 2 / part.sum())
    found: Doubles = weight * (len(weight) / weight.sum())
    return found


def _evened(weight: Doubles, names: Sequence[str]) -> Doubles:
    """Weights (n,), of which those of a name sum to the root of what they summed to."""
    _, which = np.unique(names, return_inverse=True)
    evened: Doubles = weight / np.sqrt(np.bincount(which, weight))[which]
    return evened


def fit(heard: Sequence[Heard], stranger: Flags, weight: Doubles) -> Line:
    """Fit the regression to clips."""
    x = np.concatenate([h.examples for h in heard])
    times = [len(h.votes) for h in heard]
    y = np.repeat(stranger, times).astype(np.int64)
    each = np.concatenate([np.full(n, w / n) for n, w in zip(times, weight, strict=True)])
    found = regress(x.astype(np.float32), y, each * (len(each) / each.sum()), PENALTY * len(each))
    slope = found.directions[:, 1] - found.directions[:, 0]
    return Line(slope, float(found.bias[1] - found.bias[0] - found.mean @ slope))


def fitted_apart(voices: Sequence[Voice], heard: Sequence[Heard], stranger: Flags, seed: int) -> Doubles:
    """Return the score of each clip, (n,), by a line that met neither its group nor, of a stranger, its accent, unless
    there is but one."""
    rng = np.random.default_rng([seed, 6])
    several = len({v.accent for v, s in zip(voices, stranger, strict=True) if s}) > 1
    keys = [v.accent if s and several else v.group for v, s in zip(voices, stranger, strict=True)]
    fold = {str(key): i % FOLDS for i, key in enumerate(rng.permutation(sorted(set(keys))))}
    of, groups = np.array([fold[key] for key in keys]), np.array([v.group for v in voices])
    scores = np.zeros(len(voices))
    for k in range(FOLDS):
        apart = of == k
        rest = ~apart & ~np.isin(groups, groups[apart])
        some = [v for v, r in zip(voices, rest, strict=True) if r]
        line = fit(
            [h for h, r in zip(heard, rest, strict=True) if r], stranger[rest], weights(some, stranger[rest])
        )
        scores[apart] = line(np.array([h.mean for h, a in zip(heard, apart, strict=True) if a]))
    return scores


def limit(shown: Doubles, confidence: Doubles, below: float, corpora: Sequence[str]) -> float:
    """Return the least `other` that costs no more than LOST of the sure answers, all corpora alike.

    Args:
        shown: `other` of clips of the labels, (n,).
        confidence: Of their answers, (n,).
        below: The threshold of confidence.
        corpora: Of each clip.
    """
    sure = confidence >= below
    if not sure.any():
        return 1.0
    _, which = np.unique(np.array(corpora)[sure], return_inverse=True)
    weight = 1 / np.bincount(which)[which]
    ordered = np.argsort(-shown[sure])
    lost = np.cumsum(weight[ordered]) / weight.sum()
    n = int(np.searchsorted(lost, LOST, "right"))
    return float(shown[sure][ordered[n - 1]]) if n else 1.0


def attach(model: Checkpoint, line: Line, above: float, about: dict[str, object]) -> Checkpoint:
    """Return the same model with the score and its limit; what it had of that before is replaced."""
    bare = without_other(model.net).weights
    own = {
        "other.weight": np.ascontiguousarray(line.weight[None], np.float32),
        "other.bias": np.array([line.bias], np.float32),
    }
    abstain = {**model.card.get("abstain", {}), "other": above}
    architecture = replace(bare.architecture, other=True)
    return with_head(
        model, Weights(architecture, {**bare.arrays, **own}), {"other": about, "abstain": abstain}
    )


def run(
    path: Path, keys: ContextKeys, manifests: Sequence[Path], say: Callable[[str], object] = print
) -> Checkpoint:
    """Fit the score, and write MODEL again with it.

    Raises:
        CorpusError: The model has no trunk, or no corpus has clips of both kinds.
    """
    model = checkpoint.load(path)
    if not model.architecture.trunk:
        raise CorpusError(f"{path} has no trunk, from whose output the score is read")
    every, parts = dealt(keys, manifests)
    chosen, strange = use(every, parts)
    if not len(chosen):
        raise CorpusError("no corpus has both clips of the labels and clips of the recipe's strangers")
    all_heard = hear([every[i] for i in chosen], model, say)
    voting = np.array([h is not None for h in all_heard])
    voices, stranger = [every[i] for i in chosen[voting]], strange[voting]
    heard = [h for h in all_heard if h is not None]
    apart = odds_of(fitted_apart(voices, heard, stranger, keys.seed))
    known = np.flatnonzero(~stranger)
    below = model.confidence.abstain_below or 0.0
    above = limit(
        apart[known], np.array([heard[i].confidence for i in known]), below, [voices[i].corpus for i in known]
    )
    line = fit(heard, stranger, weights(voices, stranger))
    about: dict[str, object] = {
        "clips": [int((~stranger).sum()), int(stranger.sum())],
        "groups": [len({v.group for v, s in zip(voices, stranger, strict=True) if s == k}) for k in (0, 1)],
        "accents": sorted({v.accent for v, s in zip(voices, stranger, strict=True) if s}),
        "corpora": sorted({v.corpus for v in voices}),
    }
    found = attach(model, line, round(above, 3), about)
    checkpoint.save(found, path)
    say(f"{path}: {checkpoint.load(path).hash}, not sure from an other of {above:.3f} on")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    words = words_for("Gives a model a score of accents of none of its labels.", WRITTEN_ANEW)
    execute(words, lambda given: run(given.model, read_context(given.config), given.data), arguments)


if __name__ == "__main__":
    main()
