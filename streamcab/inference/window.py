"""The answer: the mean of the voiced c_t of the last seconds (paper, section 3.3), for many streams; weighed by the
evidence where the model has it.

Of each stream a ring of running totals of c_t: a mean is the difference of two. They are whole numbers, so nothing is
rounded and nothing drifts, for hours or for months. Attention is kept in blocks of a second, since it is shown and not
decided by.

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
from streamcab.inference.seconds import added, in_seconds
from streamcab.inference.voices import BLOCK, Change, Voices, voices_of
from streamcab.nn.weights import Net

NOW_S = 1.0
"""Seconds that `now` looks back on, of a block of attention, and of a pause that is talk still: so `now` is empty in
silence."""


EMPTIED = 1 << 40
"""More intervals than a stream can have."""
UNIT = 2.0**-40
"""Of the running totals. They may run over: a difference of whole numbers is right all the same."""


Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Reading:
    """The contents of the windows of B streams at one moment.

    Attributes:
        seen: Intervals so far, (B,).
        voiced: Voiced ones among them, (B,).
        filled: Voiced intervals in the window, (B,).
        mean: The answer, (B, labels).
        votes: Number of votes in it, (B,).
        now: The answer of the newest second, (B, labels).
        now_votes: Number of votes in that, (B,).
        other: Mean score that the accent is of none of the labels, over the votes of `mean`, (B,); None if the model
            has none.
        quality: Acoustic quality of the speech.
        attention: (B, classifiers), if requested.
        voice: Number of the voice that this is about, from 1 on, (B,).
    """

    slots: NDArray[np.intp]
    seen: NDArray[np.int64]
    voiced: NDArray[np.int64]
    filled: NDArray[np.int64]
    mean: NDArray[np.float64]
    votes: NDArray[np.int64]
    now: NDArray[np.float64]
    now_votes: NDArray[np.int64]
    other: NDArray[np.float64] | None
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
        *,
        other: bool = False,
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
        # What follows is kept for each voice: that in place p of a slot has row slot * places + p.
        self._voices, self._places = voices, 1 if voices is None else voices.most
        rows = slots * self._places
        # Intervals of talk so far, by which all is addressed; and what is added to them for `voices`, since they begin
        # anew when the windows are emptied.
        self._talk, self._base = np.zeros(rows, np.int64), np.zeros(slots, np.int64)
        # Before each interval of talk, at its index % room, and now. The last column counts the votes; `other`, if any,
        # comes before it. What a change of voice takes back must not have cost the oldest: hence more room than length.
        self._room = length if voices is None else length + BLOCK
        self._other, width = other, labels + other + 1
        self._before = np.zeros((rows, self._room, width), np.int64)
        self._total = np.zeros((rows, width), np.int64)
        self._attention = np.zeros((rows, -(-length // second), classifiers + 1), np.float64)
        self._evidence = evidence
        self._sums = evidence.sums(rows, evidence_length or length) if evidence is not None else None
        self._acoustics = Acoustics(rows, length, second)

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream."""
        row = (self._before.nbytes + self._total.nbytes + self._attention.nbytes) // len(self._talk) + 8
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

        c (B, H, labels), with `other` one more        alpha (B, H, classifiers)        votes (B, H): those that count
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
            begin = first + start
            at = self._add(slots, begin, c[:, part], alpha[:, part], votes[:, part], None, here)
            counted = votes[:, part] & (begin[:, None] + np.arange(at.shape[1]) >= 0)
            for change in self._voices.hear(slots, at, u[:, part], counted):
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
    ) -> Counts:
        """Add intervals as `add` does, without jumps and changes of voice; return their places in `voices`, (B, H)."""
        h, at = c.shape[1], np.zeros(votes.shape, np.int64)
        real = first[:, None] + np.arange(h) >= 0
        counted = votes & real
        most = min(self._second, self.length)
        for here in (slice(start, start + most) for start in range(0, h, most)):
            talk, index, since = self._talked(slots, real[:, here], counted[:, here])
            if not talk.any():
                continue
            rows = self._rows(slots)
            at[:, here] = np.where(talk, index + self._base[slots, None], 0)
            weight = counted[:, here, None].astype(np.float32)
            self._add_members(rows, talk, index, np.concatenate((c[:, here] * weight, weight), 2))
            self._attend(rows, talk, index, np.concatenate((alpha[:, here] * weight, weight), 2))
            if self._sums is not None:
                assert u is not None, "a window of evidence wants u"
                for j in range(talk.shape[1]):
                    ok, one = talk[:, j], slice(here.start + j, here.start + j + 1)
                    if ok.any():
                        self._sums.add(rows[ok], index[ok, j], u[ok, one], votes[ok, one])
            if heard is not None:
                kind, power, wide = heard
                self._acoustics.add(rows, talk, index, since, kind[:, here], power[:, here], wide[:, here])
        self.seen[slots] = np.maximum(first + h, 0)
        self.voiced[slots] += counted.sum(1)
        return at

    def _rows(self, slots: NDArray[np.intp]) -> NDArray[np.intp]:
        """The rows of the voices that speak in these slots."""
        return slots if self._voices is None else slots * self._places + self._voices.place[slots]

    def _change(self, change: Change) -> None:
        """Another voice has been heard since some interval: that moves over, and all after it."""
        assert self._voices is not None
        base, second, room = int(self._base[change.slot]), self._second, self._room
        old, new = (change.slot * self._places + place for place in (change.before, change.after))
        if change.fresh:
            self._empty(np.array([new]))
        # What was added after the change was told comes over as it would have been added here.
        end, told = int(self._talk[old]), max(change.told - base + 1, 0)
        start = max(change.since - base, told - self.length, 0)
        # Seconds of both begin together, as if the new one had paused for a part of one.
        to = int(self._talk[new])
        begin = to + (start - to) % second
        self._pass_over(new, to, begin)
        moved = np.arange(start, end)
        before = self._before[old, moved % room]
        gone = before[0] if len(moved) else self._total[old].copy()
        oldest = self._before[old, (told - self.length) % room].copy()
        self._before[new, (moved + begin - start) % room] = self._total[new] + before - gone
        self._total[new] += self._total[old] - gone
        self._total[old] = gone
        self._before[old, np.arange(start - self.length, told - self.length) % room] = oldest
        self._talk[old], self._talk[new] = start, begin + len(moved)
        self._move_seconds(old, new, (start, told, end), begin - start)
        self._voices.shift(change.slot, begin - start)

    def _move_seconds(self, old: int, new: int, at: tuple[int, int, int], by: int) -> None:
        """The seconds from `start` on are the new voice's, `by` later; `told` and `end` as in `_change`."""
        start, told, end = at
        second, blocks = self._second, self._attention.shape[1]
        moved = np.arange(start // second, -(-end // second))[-blocks:]
        here, there = moved % blocks, (moved + by // second) % blocks
        goes_on = (moved == start // second) & (start % second > 0)
        # The second that follows would have cost the oldest one.
        spent = np.arange(start // second, -(-told // second) + 1)[-blocks:] % blocks
        self._attention[new, there] = (
            self._attention[new, there] * goes_on[:, None] + self._attention[old, here]
        )
        self._attention[old, np.union1d(here, spent)] = 0
        self._acoustics.move(old, new, here, there, goes_on)
        self._acoustics.clear(old, spent)

    def _talked(self, slots: NDArray[np.intp], real: Flags, counted: Flags) -> tuple[Flags, Counts, Counts]:
        """Advance by H intervals: which are talk, their index in it, and how long before each the newest vote was."""
        at = np.arange(real.shape[1])
        newest = np.maximum.accumulate(np.where(counted, at, -1), 1)
        since = np.where(newest >= 0, at - newest, self._since[slots, None] + real.cumsum(1))
        self._since[slots] = since[:, -1]
        talk = real & (since <= self._second) & (since < self.length)
        over = real & (since == self.length)
        if over.any():
            gone = over.any(1)
            # What came before that is forgotten with the rest.
            talk[gone] &= at > over[gone].argmax(1)[:, None]
            kept = self._since[slots]
            self._forget(slots[gone])
            self._since[slots] = kept
        rows = self._rows(slots)
        ends = self._talk[rows, None] + talk.cumsum(1)
        self._talk[rows] = ends[:, -1]
        return talk, ends - talk, since

    def _add_members(
        self, rows: NDArray[np.intp], talk: Flags, index: Counts, gained: NDArray[np.float32]
    ) -> None:
        if not (whole := talk.all()):
            gained = gained * talk[..., None]
        numbers = np.rint(gained * (1 / UNIT)).astype(np.int64)
        after = self._total[rows, None] + numbers.cumsum(1)
        self._total[rows] = after[:, -1]
        b, j = (np.arange(len(rows))[:, None], np.arange(talk.shape[1])) if whole else np.nonzero(talk)
        self._before[rows[b], index[b, j] % self._room] = (after - numbers)[b, j]

    def _attend(
        self, rows: NDArray[np.intp], talk: Flags, index: Counts, gained: NDArray[np.float32]
    ) -> None:
        for some, block, fresh, here in in_seconds(talk, index, self._second, self._attention.shape[1]):
            place = rows[some], block
            self._attention[rows[some[fresh]], block[fresh]] = 0
            self._attention[place] = added(self._attention[place], gained[some], here)

    def read(self, slots: NDArray[np.intp], *, attention: bool) -> Reading:
        """Return the readings of some streams."""
        found, votes = self._newest(slots, self.length)
        return Reading(
            slots,
            self.seen[slots],
            self.voiced[slots],
            self.filled(slots),
            self._weighed(slots, found[:, : self.labels], votes),
            votes,
            *self.now(slots),
            found[:, self.labels] if self._other else None,
            self.quality(slots),
            self.attention(slots) if attention else None,
            np.ones(len(slots), np.int64) if self._voices is None else self._voices.number[slots],
        )

    def probabilities(self, slots: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return `mean` and its votes, weighed by evidence if the model has it; zeros without votes."""
        mean, votes = self.mean(slots)
        return self._weighed(slots, mean, votes), votes

    def _weighed(
        self, slots: NDArray[np.intp], mean: NDArray[np.float64], votes: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        if self._evidence is None or self._sums is None:
            return mean
        weighed = self._evidence(mean, *self._sums.read(self._rows(slots)))
        return np.where(votes[:, None] > 0, weighed, 0.0)

    def mean(self, slots: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Mean of the members that vote, (B, labels), and how many they are, (B,); zeros where none does."""
        found, votes = self._newest(slots, self.length)
        return found[:, : self.labels], votes

    def now(self, slots: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The same over the newest second only."""
        found, votes = self._newest(slots, min(self._second, self.length))
        return found[:, : self.labels], votes

    def _newest(self, slots: NDArray[np.intp], n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the mean over the n newest intervals of talk, (B, labels or one more), and the votes in it; the ring
        holds zeros for those before the start."""
        rows = self._rows(slots)
        before = self._before[rows, (self._talk[rows] - n) % self._room]
        total = (self._total[rows] - before) * UNIT
        votes = total[:, -1]
        return total[:, :-1] / np.maximum(votes, 1)[:, None], votes.astype(np.int64)

    def attention(self, slots: NDArray[np.intp]) -> NDArray[np.float64]:
        """Mean attention over the window, to the whole second: (B, classifiers)."""
        total = self._attention[self._rows(slots)].sum(1)
        mean: NDArray[np.float64] = total[:, :-1] / np.maximum(total[:, -1:], 1)
        return mean

    def quality(self, slots: NDArray[np.intp]) -> Quality:
        """Return the acoustic quality of the speech in the window, if `add` was given it."""
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
        self._before[row, np.arange(old, new) % self._room] = self._total[row]
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
        self._talk[rows] = self._before[rows] = self._total[rows] = self._attention[rows] = 0
        self._acoustics.reset(rows)
        if self._sums is not None:
            self._sums.reset(rows)


def window_of(net: Net, slots: int, length: int, voices: int = 1) -> Window:
    """A window for `slots` streams of a net, over the last `length` intervals of each, or of each of so many voices."""
    arch, evidence = net.architecture, evidence_of(net)
    apart = voices_of(net, slots, voices)
    second = arch.intervals(NOW_S)
    labels = len(arch.labels)
    return Window(slots, labels, arch.classifiers, length, second, evidence, voices=apart, other=arch.other)
