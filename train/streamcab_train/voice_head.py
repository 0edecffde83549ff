"""Gives a model what tells voices apart on a line: train/recipes/voices.sh, minutes after a trunk has been taught.

    python -m streamcab_train.voice_head MODEL --config configs/context.toml --data MANIFEST..

What the trunk makes of the clips that teach, by the recipe's draw, is heard once. A linear discriminant of it and the
threshold of a change go into MODEL, whose other weights stay. Voices that judge are heard by none of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from streamcab.dsp.gate import VOICED
from streamcab.errors import CorpusError
from streamcab.inference.voices import BLOCK, Voices
from streamcab.nn import checkpoint
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.voice import Metric
from streamcab.nn.weights import Weights, without_voice
from streamcab_train.context_keys import ContextKeys, read_context
from streamcab_train.heads import WRITTEN_ANEW, execute, hear_each, with_head, words_for
from streamcab_train.voice_metric import Fitted, blocks_of, fit
from streamcab_train.voices import Voice, dealt

NUMBERS = 24
CLIPS, SECONDS = 6, 15.0
"""Of a voice so many clips at most are heard, and so much of each."""
EVERY_S = 900.0
"""Seconds of one voice's speech in which one false change is accepted, in speakers whom the discriminant was not fitted
to."""
FOLDS = 2
HIGHEST = 60.0

Heard = NDArray[np.float32]


def hear(voices: Sequence[Voice], model: Checkpoint, say: Callable[[str], object]) -> list[Heard]:
    """Compute half the trunk's output for the voting intervals of each clip, (n, features); see `Trunk.both`."""
    net, found = model.model, []
    assert net.trunk is not None, "a net without a trunk"
    for heard in hear_each(voices, model, say, SECONDS):
        with torch.inference_mode():
            h = net.trunk.both(net.distiller(torch.from_numpy(heard.x)))[1][0].numpy()
        found.append(h[heard.kind[0] == VOICED])
    return found


def some_of_each(voices: Sequence[Voice], seed: int) -> list[Voice]:
    """Return at most CLIPS clips of each group."""
    rng, left, found = np.random.default_rng(seed), dict[str, int](), []
    for i in rng.permutation(len(voices)).tolist():
        group = voices[i].group
        left[group] = left.get(group, CLIPS) - 1
        if left[group] >= 0:
            found.append(voices[i])
    return found


def threshold(fitted: Fitted, streams: Sequence[Heard], interval_s: float) -> float:
    """Find the least threshold by which streams of one voice each change no more than once in EVERY_S of speech."""
    numbers = [(h @ fitted.weight.T + fitted.bias).astype(np.float32) for h in streams]
    accepted = sum(map(len, streams)) * interval_s / EVERY_S
    low, high = 0.0, HIGHEST
    while high - low > 0.1:
        middle = (low + high) / 2
        changes = sum(changed(fitted, v, middle) for v in numbers)
        low, high = (low, middle) if changes <= accepted else (middle, high)
    return high


def changed(fitted: Fitted, v: Heard, odds: float) -> int:
    """Return how often a stream (n, numbers) of votes changes its voice."""
    told = Voices(1, 2, Metric(fitted.between, fitted.drift, fitted.within, odds))
    found, slot = 0, np.zeros(1, np.intp)
    for first in range(0, len(v), BLOCK):
        part = v[None, first : first + BLOCK]
        at = np.arange(first, first + part.shape[1])[None]
        found += len(told.hear(slot, at, part, np.ones(at.shape, np.bool_)))
    return found


def taught(
    voices: Sequence[Voice], heard: Sequence[Heard], interval_s: float, seed: int
) -> tuple[Fitted, float]:
    """Fit the discriminant of all these clips, and the mean threshold of those of some, by speakers of the others."""
    groups = np.array([voice.group for voice in voices])
    known = {voice.group for voice in voices if voice.known}
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    found = []
    for fold in range(FOLDS):
        apart = np.isin(groups, names[fold::FOLDS])
        fitted = _fitted(heard, groups, ~apart)
        streams = [
            np.concatenate([h for h, g in zip(heard, groups, strict=True) if g == name])
            for name in names[fold::FOLDS]
            if name in known
        ]
        found.append(threshold(fitted, streams, interval_s))
    return _fitted(heard, groups, np.ones(len(groups), np.bool_)), float(np.mean(found))


def _fitted(heard: Sequence[Heard], groups: NDArray[np.str_], some: NDArray[np.bool_]) -> Fitted:
    which = np.flatnonzero(some).tolist()
    return fit([blocks_of(heard[i]) for i in which], groups[which].tolist(), NUMBERS)


def attach(model: Checkpoint, fitted: Fitted, odds: float, about: dict[str, object]) -> Checkpoint:
    """Return the same model with what tells voices apart; what it had of that before is replaced."""
    bare = without_voice(model.net).weights
    arrays = {
        "of_interval.weight": fitted.weight,
        "of_interval.bias": fitted.bias,
        "between": fitted.between,
        "drift": fitted.drift,
        "within": fitted.within,
        "threshold": np.array([odds]),
    }
    own = {f"voice.{name}": np.ascontiguousarray(a, np.float32) for name, a in arrays.items()}
    architecture = replace(bare.architecture, voice=len(fitted.bias))
    return with_head(model, Weights(architecture, {**bare.arrays, **own}), {"voices": about})


def run(
    path: Path, keys: ContextKeys, manifests: Sequence[Path], say: Callable[[str], object] = print
) -> Checkpoint:
    """Fit the head, and write MODEL again with it.

    Raises:
        CorpusError: The manifests contain no clip to learn from.
    """
    model = checkpoint.load(path)
    if not model.architecture.trunk or model.architecture.summary:
        raise CorpusError(
            f"{path} has no trunk, or evidence: voices are told apart by a trunk's output alone"
        )
    voices, parts = dealt(keys, manifests)
    teaching = some_of_each([v for v, t in zip(voices, parts.teaches, strict=True) if t], keys.seed)
    if not teaching:
        raise CorpusError("no clip teaches: the manifests hold none of the recipe's corpora")
    heard = hear(teaching, model, say)
    fitted, odds = taught(teaching, heard, model.architecture.interval_s, keys.seed)
    about = {
        "numbers": NUMBERS,
        "threshold": round(odds, 2),
        "clips": len(teaching),
        "groups": len({v.group for v in teaching}),
        "corpora": sorted({v.corpus for v in teaching}),
    }
    found = attach(model, fitted, odds, about)
    checkpoint.save(found, path)
    say(f"{path}: {checkpoint.load(path).hash}, threshold {odds:.1f}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    words = words_for("Gives a model what tells voices apart on a line.", WRITTEN_ANEW)
    execute(words, lambda given: run(given.model, read_context(given.config), given.data), arguments)


if __name__ == "__main__":
    main()
