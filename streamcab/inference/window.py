"""The answer: the mean of the voiced c_t of the last seconds (paper, section 3.3), for many streams; weighed by the
evidence where the model has it.

A ring of c_t for each stream. A mean is a fresh sum of the ring's members each time it is asked for, so nothing drifts,
for hours or for months. Attention is kept in blocks of a second, since it is shown and not decided by.

The window moves on with talk: of a pause only the first second takes up room in it, so that in silence an answer stands
still, and what leaves gives way to new speech, one interval for one. A pause as long as the window empties it.

Where voices are told apart (voices.py), each has a window of its own, and the answer is about the voice that speaks.
Intervals that were added before a change was noticed move over to it; attention and quality do so by the second.

Knows nothing of audio, of the net, or of time but as a count of intervals.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.evidence.layer import Evidence, evidence_of
from streamcab.inference.acoustics import Acoustics, Quality
from streamcab.inference.voices import BLOCK, Change, Voices, voices_of
from streamcab.nn.weights import Net

NOW_S = 1.0
"""Seconds that `now` looks back on, of a block of attention, and of a pause that is talk still: so `now` is empty in
silence."""
EMPTIED = 1 << 40
"""More intervals than a stream can have."""


@dataclass(frozen=True)
class Reading:
    """What a window says of B streams at one moment.

    seen (B,) intervals so far     voiced (B,) of them     filled (B,) of them in the window
    mean (B, labels) the answer, of so many votes (B,)     now (B, labels) the same of the newest second, now_votes (B,)
    quality how well it is heard     attention (B, classifiers), if it was asked for
    voice (B,) the number of the voice that this is about, from 1 on
    """

    slots: NDArray[np.intp]
    seen: NDArray[np.int64]
    voiced: NDArray[np.int64]
    filled: NDArray[np.int64]
    mean: NDArray[np.float64]
    votes: NDArray[np.int64]
    now: NDArray[np.float64]
    now_votes: NDArray[np.int64]
    quality: Quality
    attention: NDArray[np.float64] | None
    voice: NDArray[np.int64]


class Window:
    """Sliding means for `slots` streams over the last `length` intervals of talk of each.

    second  NOW_S in intervals
    """

    def __init__(
        self,
        slots: int,
        labels: int,
        classifiers: int,
        length: int,
        second: int,
        evidence: Evidence | None = None,
        evidence_length: int | None = None,
        voices: Voices | None = None,
    ) -> None:
        if length < 1:
            raise ValueError(f"a window needs at least one interval, not {length}")
        self.length, self.labels, self._second = length, labels, second
        self.seen = np.zeros(slots, np.int64)
        """Intervals so far: one past the newest."""
        self.voiced = np.zeros(slots, np.int64)
        """Voiced intervals since the stream began."""
        # Intervals since the newest that voted.
        self._since = np.full(slots, length, np.int64)
        # What follows is kept for each voice: the voice in place p of a slot has row slot * places + p.
        self._voices, self._places = voices, 1 if voices is None else voices.most
        rows = slots * self._places
        # Intervals of talk so far, by which all is addressed; what is added to them for `voices`, since they begin anew
        # when the windows are emptied.
        self._talk, self._base = np.zeros(rows, np.int64), np.zeros(slots, np.int64)
        # Time lies innermost, so that a sum runs over contiguous memory. The last row counts the votes.
        self._ring = np.zeros((rows, labels + 1, length), np.float32)
        self._attention = np.zeros((rows, -(-length // second), classifiers + 1), np.float64)
        self._evidence = evidence
        self._sums = evidence.sums(rows, evidence_length or length) if evidence is not None else None
        self._acoustics = Acoustics(rows, length, second)

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream."""
        row = (self._ring.nbytes + self._attention.nbytes) // len(self._ring) + 16
        row += self._acoustics.bytes_per_slot + (self._sums.bytes_per_slot if self._sums else 0)
        return row * self._places + 32 + (self._voices.bytes_per_slot if self._voices else 0)

    def reset(self, slots: NDArray[np.intp]) -> None:
        """Make slots ready for new streams."""
        self.seen[slots] = self.voiced[slots] = 0
        self._forget(slots)
        self._base[slots] = 0
        if self._voices is not None:
            self._voices.reset(slots)

    def add(
        self,
        slots: NDArray[np.intp],
        first: NDArray[np.int64],
        c: NDArray[np.float32],
        alpha: NDArray[np.float32],
        votes: NDArray[np.bool_],
        u: NDArray[np.float32] | None = None,
        heard: tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]] | None = None,
    ) -> None:
        """H intervals of B streams, from index first (B,) on; what lies before index 0 is no interval.

        c (B, H, labels)        alpha (B, H, classifiers)        votes (B, H): those that count
        u (B, H, numbers), where there is evidence, or where voices are told apart
        heard   kind, power and wide (B, H) of `EngineOutput`, where `quality` is to be asked
        """
        for i in np.flatnonzero(first > self.seen[slots]):
            self._jump(int(slots[i]), int(first[i]))
        if self._voices is None:
            self._add(slots, first, c, alpha, votes, u, heard)
            return
        assert u is not None, "voices are told apart by u"
        for start in range(0, c.shape[1], BLOCK):
            part = slice(start, start + BLOCK)
            here = None if heard is None else (heard[0][:, part], heard[1][:, part], heard[2][:, part])
            at = self._add(slots, first + start, c[:, part], alpha[:, part], votes[:, part], None, here)
            for change in self._voices.hear(slots, at, u[:, part], votes[:, part] & (at >= 0)):
                self._change(change)

    def _add(
        self,
        slots: NDArray[np.intp],
        first: NDArray[np.int64],
        c: NDArray[np.float32],
        alpha: NDArray[np.float32],
        votes: NDArray[np.bool_],
        u: NDArray[np.float32] | None,
        heard: tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]] | None,
    ) -> NDArray[np.int64]:
        """As `add`, without jumps and without changes of voice. Returns where each interval lies in its voice's talk,
        (B, H), negative where it is no talk."""
        h, at = c.shape[1], np.full(votes.shape, -1)
        real = first[:, None] + np.arange(h) >= 0
        weight = (votes & real).astype(np.float32)
        members = np.concatenate((c * weight[..., None], weight[..., None]), 2)
        gained = np.concatenate((alpha * weight[..., None], weight[..., None]), 2)
        for j in range(h):
            since = np.where(weight[:, j] > 0, 0, self._since[slots] + real[:, j])
            self._since[slots] = since
            if (over := since == self.length).any():
                self._forget(slots[over])
            talk = real[:, j] & (since <= self._second) & (since < self.length)
            if not talk.any():
                continue
            ok = slice(None) if talk.all() else talk
            s = self._rows(slots[ok])
            index = self._talk[s]
            at[ok, j] = index + self._base[slots[ok]]
            self._ring[s, :, index % self.length] = members[ok, j]
            block = index // self._second % self._attention.shape[1]
            if (new := index % self._second == 0).any():
                self._attention[s[new], block[new]] = 0
            self._attention[s, block] += gained[ok, j]
            if self._sums is not None:
                assert u is not None, "a window of evidence wants u"
                self._sums.add(s, index, u[ok, j : j + 1], votes[ok, j : j + 1])
            if heard is not None:
                kind, power, wide = heard
                self._acoustics.add(s, index, since[ok], kind[ok, j], power[ok, j], wide[ok, j])
            self._talk[s] = index + 1
        self.seen[slots] = np.maximum(first + h, 0)
        self.voiced[slots] += weight.sum(1).astype(np.int64)
        return at

    def _rows(self, slots: NDArray[np.intp]) -> NDArray[np.intp]:
        """The rows of the voices that are heard in these slots."""
        return slots if self._voices is None else slots * self._places + self._voices.place[slots]

    def _change(self, change: Change) -> None:
        """Another voice has been heard since some interval: that moves over, and all after it."""
        assert self._voices is not None
        old, new = (change.slot * self._places + place for place in (change.before, change.after))
        if change.fresh:
            self._empty(np.array([new]))
        end = int(self._talk[old])
        start = max(change.since - int(self._base[change.slot]), end - self.length, 0)
        second, blocks = self._second, self._attention.shape[1]
        # Seconds of both begin together, as if the new one had paused for a part of one.
        to = int(self._talk[new])
        begin = to + (start - to) % second
        self._pass_over(new, to, begin)
        n = np.arange(end - start)
        self._ring[new][:, (begin + n) % self.length] = self._ring[old][:, (start + n) % self.length]
        self._ring[old][:, (start + n) % self.length] = 0
        moved = np.arange(start // second, -(-end // second))[-blocks:]
        there = (moved + (begin - start) // second) % blocks
        goes_on = (moved == start // second) & (begin % second > 0)
        self._attention[new, there] *= goes_on[:, None]
        self._attention[new, there] += self._attention[old, moved % blocks]
        self._attention[old, moved % blocks] = 0
        self._acoustics.move(old, new, moved, there, goes_on)
        self._talk[old], self._talk[new] = start, begin + len(n)
        self._voices.shift(change.slot, begin - start)

    def read(self, slots: NDArray[np.intp], *, attention: bool) -> Reading:
        """All that it says of some streams."""
        return Reading(
            slots,
            self.seen[slots],
            self.voiced[slots],
            self.filled(slots),
            *self.probabilities(slots),
            *self.now(slots),
            self.quality(slots),
            self.attention(slots) if attention else None,
            np.ones(len(slots), np.int64) if self._voices is None else self._voices.number[slots],
        )

    def probabilities(self, slots: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """As `mean`, weighed by evidence where the model has it; zeros where none votes."""
        mean, votes = self.mean(slots)
        if self._evidence is None or self._sums is None:
            return mean, votes
        weighed = self._evidence(mean, *self._sums.read(self._rows(slots)))
        return np.where(votes[:, None] > 0, weighed, 0.0), votes

    def mean(self, slots: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Mean of the members that vote, (B, labels), and how many they are, (B,); zeros where none does."""
        return self._mean(self._ring[self._rows(slots)].sum(-1, dtype=np.float64))

    def now(self, slots: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The same over the newest second only."""
        n = min(self._second, self.length)
        rows = self._rows(slots)
        at = (self._talk[rows, None] - 1 - np.arange(n)) % self.length
        members = self._ring[rows[:, None, None], np.arange(self.labels + 1)[:, None], at[:, None, :]]
        return self._mean(members.sum(-1, dtype=np.float64))

    def attention(self, slots: NDArray[np.intp]) -> NDArray[np.float64]:
        """Mean attention over the window, to the whole second: (B, classifiers)."""
        total = self._attention[self._rows(slots)].sum(1)
        mean: NDArray[np.float64] = total[:, :-1] / np.maximum(total[:, -1:], 1)
        return mean

    def quality(self, slots: NDArray[np.intp]) -> Quality:
        """How well the speech in the window is heard, where `add` was told what was heard."""
        return self._acoustics.read(self._rows(slots))

    def filled(self, slots: NDArray[np.intp]) -> NDArray[np.int64]:
        """Intervals of stream time that the window spans so far, (B,); of the second voice and others those of talk."""
        spans = self.seen[slots]
        if self._voices is not None:
            spans = np.where(self._voices.number[slots] > 1, self._talk[self._rows(slots)], spans)
        return np.minimum(spans, self.length)

    def _jump(self, slot: int, to: int) -> None:
        """Stream time went on without intervals: they are a pause."""
        gap, since = to - int(self.seen[slot]), int(self._since[slot])
        self._since[slot] += gap
        if since < self.length <= since + gap:
            self._forget(np.array([slot]))
        elif (talk := min(max(min(self._second, self.length - 1) - since, 0), gap)) > 0:
            row = int(self._rows(np.array([slot]))[0])
            old = int(self._talk[row])
            self._pass_over(row, old, old + talk)
            self._talk[row] = old + talk
        self.seen[slot] = to

    def _pass_over(self, row: int, old: int, new: int) -> None:
        """Intervals old .. new - 1 of a voice's talk are a pause."""
        second = self._second
        self._ring[row][:, np.arange(old, new) % self.length] = 0
        begun = np.arange(-(-old // second), -(-new // second)) % self._attention.shape[1]
        self._attention[row, begun] = 0
        if self._sums is not None:
            self._sums.jump(row, old, new)
        self._acoustics.jump(row, old, new)

    def _forget(self, slots: NDArray[np.intp]) -> None:
        """Empty the windows of all voices."""
        self._since[slots] = self.length
        self._base[slots] += EMPTIED
        self._empty((slots[:, None] * self._places + np.arange(self._places)).ravel())

    def _empty(self, rows: NDArray[np.intp]) -> None:
        self._talk[rows] = self._ring[rows] = self._attention[rows] = 0
        self._acoustics.reset(rows)
        if self._sums is not None:
            self._sums.reset(rows)

    @staticmethod
    def _mean(total: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        votes = total[:, -1]
        return total[:, :-1] / np.maximum(votes, 1)[:, None], votes.astype(np.int64)


def window_of(net: Net, slots: int, length: int, voices: int = 1) -> Window:
    """A window for `slots` streams of a net, over the last `length` intervals of each, or of each of so many voices."""
    arch, evidence = net.architecture, evidence_of(net)
    apart = voices_of(net, slots, voices)
    second = arch.intervals(NOW_S)
    return Window(slots, len(arch.labels), arch.classifiers, length, second, evidence, voices=apart)
