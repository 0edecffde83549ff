"""The batches of a trunk's training: rows of intervals, clips of one kind end to end.

Rows of speech come from all clips to learn from. Rows of a class come from one corpus and class, and a third of them
from one group. Each corpus and class has its share, so that no class comes to mean a corpus. Everything follows from
the seed. Knows nothing of nets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample

from streamcab_train.components import at_intervals
from streamcab_train.copies import Copy
from streamcab_train.voices import NO_CLASS, Parts, Voice

ONE_GROUP = 0.35
"""The part of the rows of a class that hold one group's clips alone."""
FEW_GROUPS = 12
"""A corpus and class of fewer groups than this has less than its share."""
STRANGERS = 0.2
"""The part of the rows of a class that are of accents of no class."""
SHORTEST = 40
"""Intervals of a clip that is worth a part of a row."""

Floats = NDArray[np.float32]


SPEEDS = (0.88, 1.14)
"""Of shaken rows: how many of their own intervals an interval holds."""
TAPS, TILT = 5, 0.25
NOISY, NOISE = 0.5, (0.03, 0.3)
"""Of shaken rows: the taps of a random filter and their deviation; how many have noise, and how loud it is."""


@dataclass(frozen=True)
class Row:
    """T intervals: x (T, width), frames (T, components), votes (T,); opinion (classes,), and label (classes,) if it is
    of a class.

    The label of a stranger is uniform: no class.
    """

    x: Floats
    frames: Floats
    votes: NDArray[np.bool_]
    opinion: Floats
    label: Floats | None


def shake(
    x: Floats, frames: Floats, votes: NDArray[np.bool_], rng: np.random.Generator, length: int
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return samples x (n, width), frames and votes of n intervals, played as `length` intervals: pitch, formants
    and tempo move, through a random filter and with some noise, as loud as before."""
    before = x.std()
    samples = resample(x.ravel(), length * x.shape[1]) if len(x) != length else x.ravel()
    taps = rng.normal(0, TILT, TAPS)
    taps[TAPS // 2] = 1
    samples = np.convolve(samples, taps.astype(np.float32), "same")
    samples = samples * (before / (samples.std() + 1e-9))
    if rng.random() < NOISY:
        loud = np.float32(rng.uniform(*NOISE))
        samples = samples + loud * rng.standard_normal(len(samples), dtype=np.float32)
    place = np.clip((np.arange(length) + 0.5) * len(x) / length - 0.5, 0, len(x) - 1)
    low = place.astype(np.int64)
    part = (place - low)[:, None].astype(np.float32)
    high = np.minimum(low + 1, len(x) - 1)
    between = frames[low] * (1 - part) + frames[high] * part
    return samples.reshape(length, -1).astype(np.float32), between, votes[np.rint(place).astype(np.int64)]


class Rows:
    """Draws rows."""

    def __init__(
        self,
        voices: Sequence[Voice],
        parts: Parts,
        copies: Sequence[Copy],
        frames: Sequence[NDArray[np.floating]],
        frames_per_s: float,
        opinions: Floats,
        interval_s: float,
        *,
        shaken: bool = False,
    ) -> None:
        """Take the `frames` of each recording (n, components), and `opinions` (clips, classes + 1), the last one no
        class: what is seldom meant is drawn the more often. `shaken`: no row is heard twice the same, see `shake`."""
        self._shaken = shaken
        self._copies, self._frames, self._opinions = copies, frames, opinions
        self._frames_per_s, self._interval_s = frames_per_s, interval_s
        self._classes = opinions.shape[1] - 1
        length = np.min([copy.length for copy in copies], axis=0)
        seconds = np.array([len(f) for f in frames]) / frames_per_s
        usable = (length >= SHORTEST) & (seconds > SHORTEST * interval_s)
        self._groups = np.array([v.group for v in voices])
        self._speech = np.flatnonzero(usable & parts.teaches)
        told = opinions[self._speech]
        rare = (told / told.mean(0).clip(1e-6)).sum(1)
        share = np.minimum(seconds[self._speech], 8.0) * rare
        self._speech_share = share / share.sum()
        corpora = np.array([v.corpus for v in voices])
        labels = np.array([v.label for v in voices])
        self._cells: list[tuple[int, NDArray[np.int64]]] = []
        shares: list[float] = []
        for label in (*range(self._classes), NO_CLASS):
            of = parts.teaches & usable & (labels == label)
            if label == NO_CLASS:
                of &= parts.stranger
            own = [np.flatnonzero(of & (corpora == c)) for c in sorted(set(corpora[of].tolist()))]
            weight = np.array([min(1.0, len(set(self._groups[i].tolist())) / FEW_GROUPS) ** 0.5 for i in own])
            part = STRANGERS if label == NO_CLASS else (1 - STRANGERS) / self._classes
            self._cells += [(label, i) for i in own]
            shares += (part * weight / weight.sum()).tolist() if own else []
        self._cell_share = np.array(shares) / (sum(shares) or 1.0)

    def of_speech(self, rng: np.random.Generator, length: int) -> Row:
        """Draw any speech, `length` intervals, with the teacher's mean opinion."""
        parts, have, opinion = [], 0, np.zeros(self._classes + 1)
        wanted = self._wanted(rng, length)
        while have < wanted:
            i = int(rng.choice(self._speech, p=self._speech_share))
            parts.append(self._piece(i, rng, wanted - have, whole=False))
            n = len(parts[-1][2])
            opinion += self._opinions[i] * n
            have += n
        return Row(*self._joined(parts, rng, length), self._spread(opinion / have), None)

    def of_class(self, rng: np.random.Generator, length: int) -> Row:
        """Return speech of one corpus and class, with its label and the teacher's mean opinion; where there is none
        of any class, any speech."""
        if not self._cells:
            return self.of_speech(rng, length)
        label, clips = self._cells[int(rng.choice(len(self._cells), p=self._cell_share))]
        if rng.random() < ONE_GROUP:
            clips = clips[self._groups[clips] == self._groups[rng.choice(clips)]]
        parts, have, opinion = [], 0, np.zeros(self._classes + 1)
        wanted = self._wanted(rng, length)
        while have < wanted:
            i = int(rng.choice(clips))
            parts.append(self._piece(i, rng, wanted - have, whole=bool(rng.random() < 0.3)))
            n = len(parts[-1][2])
            opinion += self._opinions[i] * n
            have += n
        x, frames, votes = self._joined(parts, rng, length)
        target = np.full(self._classes, 1 / self._classes)
        if label != NO_CLASS:
            target = np.eye(self._classes)[label]
        return Row(x, frames, votes, self._spread(opinion / have), target.astype(np.float32))

    def _spread(self, opinion: NDArray[np.float64]) -> Floats:
        """Give the opinion of no class, the last of (classes + 1,), to each of the (classes,) as much as to another."""
        out: Floats = (opinion[:-1] + opinion[-1] / self._classes).astype(np.float32)
        return out

    def _wanted(self, rng: np.random.Generator, length: int) -> int:
        """Return the number of intervals from which a row of `length` is made."""
        return max(round(length * rng.uniform(*SPEEDS)), 1) if self._shaken else length

    def _joined(
        self, parts: Sequence[tuple[Floats, Floats, NDArray[np.bool_]]], rng: np.random.Generator, length: int
    ) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        x, frames, votes = (np.concatenate(some) for some in zip(*parts, strict=True))
        return shake(x, frames, votes, rng, length) if self._shaken else (x, frames, votes)

    def _piece(
        self, i: int, rng: np.random.Generator, most: int, *, whole: bool
    ) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Return at most `most` intervals of some copy of clip i, from its start if `whole`."""
        copy = self._copies[int(rng.integers(len(self._copies)))]
        known = len(self._frames[i]) / self._frames_per_s / self._interval_s / float(copy.speed[i])
        n = max(min(int(copy.length[i]), int(known)), 1)
        count = min(n, most)
        first = 0 if whole or n == count else int(rng.integers(n - count + 1))
        x, votes = copy.cut(i, first, count)
        frames = at_intervals(
            self._frames[i], self._frames_per_s, first + count, self._interval_s, float(copy.speed[i])
        )
        return x, frames[first:], votes
