"""Explanations: the course of an answer over a clip, and the stretches of speech that moved it most.

A stretch is half a second of voting intervals. How much it moved the answer is found by leaving its votes out: the
log odds of the answer's label, minus the log odds without it. So it concerns the mean of c_t, which is the whole answer
of a model without evidence. The votes themselves stay unchanged, and each c_t has seconds of context. Knows nothing of
nets or files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.gate import VOICED
from streamcab.inference.answer import AUDIBLE
from streamcab.nn.confidence import TINY, tempered

SECOND_S = 1.0
"""Over which c_t and attention are averaged, to be looked at."""
STRETCH_S = 0.5
PAUSE_S = 0.5
"""A pause that ends a stretch."""
SHARE = 0.1
"""Share of all stretches that is named for the answer, and the same share against it."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """Every interval of a clip.

    seconds of an interval    c (K, labels)    alpha (K, classifiers)    votes (K,): those that count
    kind, power (K,) as in `NormalisedBatch`        voices (K,): the number of the voice
    """

    interval_s: float
    c: NDArray[np.float32]
    alpha: NDArray[np.float32]
    votes: NDArray[np.bool_]
    kind: NDArray[np.uint8]
    power: Floats
    voices: NDArray[np.int64]


@dataclass(frozen=True)
class Stretch:
    """Intervals start .. stop - 1, of which `votes` vote, and by how much the log-odds are higher with them."""

    start: int
    stop: int
    votes: int
    moved: float


@dataclass(frozen=True)
class Explanation:
    """The explanation of an answer to K intervals. NaN where nothing has voted.

    Attributes:
        second: Mean of c_t over the second around each interval, (K, labels).
        running: The answer by all votes so far, with the model's temperature, (K, labels).
        attention: Mean by second, (seconds, classifiers).
        hears: Speech, sound or silence, (K,).
        voices: Number of the voice, (K,).
        stretches: All stretches in order.
        pro: Numbers of the stretches that spoke most for the label.
        contra: Numbers of those that spoke most against it.
        log_odds: Of the label.
        without_pro: The same without the votes of `pro`.
        without_contra: The same without the votes of `contra`.
    """

    interval_s: float
    second: Floats
    running: Floats
    attention: Floats
    hears: NDArray[np.str_]
    voices: NDArray[np.int64]
    votes: NDArray[np.bool_]
    stretches: tuple[Stretch, ...]
    pro: tuple[int, ...]
    contra: tuple[int, ...]
    log_odds: float
    without_pro: float
    without_contra: float


def explain(course: Course, label: int | None, temperature: float = 1.0) -> Explanation:
    """Explain the answer for a label, given by its number; None if the clip has no answer."""
    span = max(round(SECOND_S / course.interval_s), 1)
    second = _around(course, span)
    running = _running(course, temperature)
    stretches: tuple[Stretch, ...] = ()
    pro: tuple[int, ...] = ()
    contra: tuple[int, ...] = ()
    if label is not None:
        stretches = tuple(_stretches(course, label, temperature))
        pro, contra = _named(stretches)
    odds = [
        float("nan")
        if label is None
        else log_odds(course.c, without(course.votes, stretches, some), label, temperature)
        for some in ((), pro, contra)
    ]
    hears = np.where(course.kind == VOICED, "speech", np.where(course.power > AUDIBLE, "sound", "silence"))
    attention = _by_second(course, span)
    heard = hears, course.voices, course.votes
    return Explanation(course.interval_s, second, running, attention, *heard, stretches, pro, contra, *odds)


def log_odds(c: NDArray[np.float32], votes: NDArray[np.bool_], label: int, temperature: float = 1.0) -> float:
    """Compute the log-odds of a label in the mean of the c_t (K, labels) that vote; NaN where none does."""
    if not votes.any():
        return float("nan")
    return float(_odds(c[votes].mean(0, dtype=np.float64)[None], label, temperature)[0])


def without(
    votes: NDArray[np.bool_], stretches: tuple[Stretch, ...], some: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Return the votes (K,) without those of some stretches."""
    left = votes.copy()
    for i in some:
        left[stretches[i].start : stretches[i].stop] = False
    return left


def runs(values: NDArray[np.generic]) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each run of equal values (K,)."""
    if not len(values):
        return
    edges = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    yield from pairwise(edges)


def _odds(mean: Floats, label: int, temperature: float) -> Floats:
    """Compute log-odds of a label in means (n, labels); in logarithms, since a sure answer rounds to 1."""
    logs = np.log(np.maximum(mean, TINY)) / temperature
    odds: Floats = logs[:, label] - np.logaddexp.reduce(np.delete(logs, label, 1), 1)
    return odds


def _stretches(course: Course, label: int, temperature: float) -> Iterator[Stretch]:
    at = np.flatnonzero(course.votes)
    spans = list(_spans(at, course.interval_s))
    if len(spans) < 2:
        return
    voting = course.c[at].astype(np.float64)
    parts = np.array([voting[first:last].sum(0) for first, last in spans])
    sizes = np.array([last - first for first, last in spans])
    total = parts.sum(0)
    whole = _odds(total[None] / len(at), label, temperature)[0]
    # Rounding may leave a little less than nothing.
    left = np.maximum(total - parts, 0) / (len(at) - sizes)[:, None]
    moved = whole - _odds(left, label, temperature)
    for (first, last), change in zip(spans, moved.tolist(), strict=True):
        yield Stretch(int(at[first]), int(at[last - 1]) + 1, last - first, change)


def _spans(at: NDArray[np.intp], interval_s: float) -> Iterator[tuple[int, int]]:
    """Cuts votes at intervals `at` (n,) into stretches: first and last + 1, in votes."""
    size, pause = max(round(STRETCH_S / interval_s), 1), PAUSE_S / interval_s
    talks = np.split(np.arange(len(at)), np.flatnonzero(np.diff(at) > pause) + 1)
    for talk in talks:
        for first in range(int(talk[0]), int(talk[-1]) + 1, size):
            yield first, min(first + size, int(talk[-1]) + 1)


def _named(stretches: tuple[Stretch, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the strongest tenth for the label, and the strongest tenth against it, each in order of time."""
    n = int(np.ceil(SHARE * len(stretches)))
    order = sorted(range(len(stretches)), key=lambda i: stretches[i].moved)
    pro = sorted(i for i in order[len(order) - n :] if stretches[i].moved > 0)
    contra = sorted(i for i in order[:n] if stretches[i].moved < 0)
    return tuple(pro), tuple(contra)


def _around(course: Course, span: int) -> Floats:
    """Average the c_t that vote, over `span` intervals around each."""
    k = np.arange(len(course.c))
    first, last = np.maximum(k - span // 2, 0), np.minimum(k + span - span // 2, len(k))
    sums = np.concatenate((np.zeros((1, course.c.shape[1] + 1)), np.cumsum(_weighted(course), 0)))
    return _mean(sums[last] - sums[first])


def _running(course: Course, temperature: float) -> Floats:
    mean = _mean(np.cumsum(_weighted(course), 0))
    if temperature == 1 or not len(mean):
        return mean
    return np.where(np.isnan(mean), np.nan, tempered(np.nan_to_num(mean), temperature))


def _by_second(course: Course, span: int) -> Floats:
    """Average the attention of the votes in each second."""
    counted = np.concatenate((course.alpha, np.ones((len(course.alpha), 1))), 1) * course.votes[:, None]
    if not len(counted):
        return np.zeros((0, course.alpha.shape[1]))
    return _mean(np.add.reduceat(counted, np.arange(0, len(counted), span), 0))


def _weighted(course: Course) -> Floats:
    """Return c_t and a one (K, labels + 1), zeros where an interval has no vote."""
    ones = np.ones((len(course.c), 1))
    both: Floats = np.concatenate((course.c, ones), 1, dtype=np.float64) * course.votes[:, None]
    return both


def _mean(sums: Floats) -> Floats:
    """Divide sums (n, width + 1) by their last column, which counts; NaN of nothing."""
    n = sums[:, -1:].round()
    return np.where(n > 0, sums[:, :-1] / np.maximum(n, 1), np.nan)
