"""Queries a model as it is served: whole clips, joined clips, pieces, and the newest seconds.

Knows nothing of figures or of recipes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import Pool

import numpy as np
from numpy.typing import NDArray

import streamcab
from streamcab.dsp.gate import VOICED
from streamcab.inference.offline import intervals
from streamcab.nn.confidence import Confidence
from streamcab.nn.weights import detector_of
from streamcab.source.file import read_audio
from streamcab_train.voices import Voice

PIECE_S = 5.0
STEP_S = 1.0
"""Between two looks at the newest seconds."""
CHUNK = 8
"""Items that a process is given at once."""

Floats = NDArray[np.float64]
Audio = tuple[NDArray[np.float32], int]


@dataclass(frozen=True)
class Predicted:
    """Answers to n clips.

    Attributes:
        p: Probabilities, (n, classes).
        other: How much each sounds like an accent of none of the labels, (n,); NaN where the model does not say.
        truth: Classes, (n,); NO_CLASS for a stranger.
        groups: Group of each.
    """

    p: Floats
    other: Floats
    truth: NDArray[np.int64]
    groups: tuple[str, ...]

    def sure(self, limits: Confidence) -> NDArray[np.bool_]:
        """Return which answers are within both limits, (n,); a limit that is not set excludes none."""
        within: NDArray[np.bool_] = self.p.max(1) >= (limits.abstain_below or 0.0)
        if limits.abstain_other is None:
            return within
        # NaN is below every limit: a model that does not say excludes none.
        within &= ~(self.other >= limits.abstain_other)
        return within


@dataclass(frozen=True)
class Item:
    """One item of a benchmark: samples, their rate in Hz, the class, the group."""

    audio: Audio
    truth: int
    group: str


def one_by_one(voices: Iterable[Voice]) -> Iterator[Item]:
    """Yield each clip."""
    for voice in voices:
        yield Item(read_audio(voice.path), voice.label, voice.group)


def joined(voices: Sequence[Voice], seconds: float) -> Iterator[Item]:
    """Join clips of one class and group to items of `seconds`; the remainder is left out."""
    for group in sorted({voice.group for voice in voices}):
        for label in sorted({voice.label for voice in voices if voice.group == group}):
            parts: list[NDArray[np.float32]] = []
            for voice in voices:
                if (voice.group, voice.label) != (group, label):
                    continue
                samples, rate = read_audio(voice.path)
                parts.append(samples)
                if sum(map(len, parts)) >= seconds * rate:
                    yield Item((np.concatenate(parts), rate), label, group)
                    parts = []


def pieces(voices: Iterable[Voice], seconds: float) -> Iterator[Item]:
    """Cut each clip into whole pieces of `seconds`."""
    for voice in voices:
        samples, rate = read_audio(voice.path)
        size = round(seconds * rate)
        for first in range(0, len(samples) - size + 1, size):
            yield Item((samples[first : first + size], rate), voice.label, voice.group)


Answer = Callable[[streamcab.Classifier, Item], Floats]
"""The answers of a model to an item and, last, their `other`: (n, classes + 1)."""


class Asked:
    """A model, and perhaps more processes that ask it."""

    def __init__(self, model: streamcab.Classifier, pool: Pool | None = None) -> None:
        self.model, self._pool = model, pool

    def served(self, items: Iterable[Item]) -> Predicted:
        """Return the answer to all of an item, (1, classes)."""
        return self._ask(served, items)

    def newest(self, items: Iterable[Item]) -> Predicted:
        """Average the newest seconds of c_t, each second from then on."""
        return self._ask(newest, items)

    def _ask(self, answer: Answer, items: Iterable[Item]) -> Predicted:
        given = list(items)
        if self._pool is None:
            found = [answer(self.model, item) for item in given]
        else:
            found = list(self._pool.imap(partial(_elsewhere, answer), given, CHUNK))
        width = len(self.model.architecture.labels) + 1
        answers = np.concatenate(found) if found else np.zeros((0, width))
        times = [len(f) for f in found]
        truth = np.repeat(np.array([item.truth for item in given], np.int64), times)
        groups = tuple(i.group for i, n in zip(given, times, strict=True) for _ in range(n))
        return Predicted(answers[:, :-1], answers[:, -1], truth, groups)


_models: list[streamcab.Classifier] = []
"""Of a process of a pool: its own."""


def begin(model: str) -> None:
    _models.append(streamcab.load(model))


def _elsewhere(answer: Answer, item: Item) -> Floats:
    return answer(_models[0], item)


def served(model: streamcab.Classifier, item: Item) -> Floats:
    """Return the answer to all of an item and its `other`, (1, classes + 1)."""
    labels, told = model.architecture.labels, model.classify(*item.audio)
    p = [told.probs.get(label, 1 / len(labels)) for label in labels]
    return np.array([[*p, np.nan if told.other is None else told.other]])


def newest(model: streamcab.Classifier, item: Item) -> Floats:
    """Return the mean of the newest `PIECE_S` of c_t, each `STEP_S` from then on, and no `other`, (n, classes + 1);
    n may be 0."""
    size, step = model.architecture.intervals(PIECE_S), model.architecture.intervals(STEP_S)
    answered, heard = intervals(model.runtime, *item.audio, detector_of(model.checkpoint.weights))
    votes = heard.kind[0] == VOICED
    some = [(slice(end - size, end)) for end in range(size, len(votes) + 1, step)]
    means = [np.append(answered.c[one][votes[one]].mean(0), np.nan) for one in some if votes[one].any()]
    return np.array(means, np.float64).reshape(-1, answered.c.shape[1] + 1)
