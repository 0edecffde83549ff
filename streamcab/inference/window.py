"""The answer: the mean of the voiced c_t of the last seconds (paper, section 3.3), for many streams; weighed by the
evidence where the model has it.

The window moves on with talk: of a pause only the first second takes up room in it, so that in silence an answer stands
still, and what leaves gives way to new speech, one interval for one. A pause as long as the window empties it.

Where voices are told apart (voices.py), each has a window of its own, and the answer is about the voice that speaks.
Intervals that were added before a change was noticed move over to it; attention and quality do so by the second.

Knows nothing of audio, of the net, or of time but as a count of intervals.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.evidence.layer import Evidence, evidence_of
from streamcab.inference.acoustics import Acoustics, Quality
from streamcab.inference.attention import AttentionSums
from streamcab.inference.intervals import Intervals
from streamcab.inference.pauses import Counts, Flags, Pauses
from streamcab.inference.reading import NOW_S, Reading
from streamcab.inference.running_totals import RunningTotals
from streamcab.inference.voices import BLOCK, Change, Voices, voices_of
from streamcab.nn.weights import Net

EMPTIED = 1 << 40  # more intervals than a stream can have


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
        assert evidence is None or voices is None, "u is either for evidence or for voices"
        self.length, self.labels, self._second = length, labels, second
        self.seen = np.zeros(slots, np.int64)
        """Intervals so far: one past the newest."""
        self.voiced = np.zeros(slots, np.int64)
        """Voiced intervals since the stream began."""
        self._pauses = Pauses(slots, second, length)
        # What follows is kept for each voice: that in place p of a slot has row slot * places + p.
        self._voices, self._places = voices, 1 if voices is None else voices.most
        rows = slots * self._places
        # Intervals of talk so far, by which all is addressed; and what is added to them for `voices`, since they begin
        # anew when the windows are emptied.
        self._talk, self._base = np.zeros(rows, np.int64), np.zeros(slots, np.int64)
        self._other = other
        # The last column counts the votes; `other`, if any, comes before it.
        self._totals = RunningTotals(rows, labels + other + 1, length, 0 if voices is None else BLOCK)
        self._attention = AttentionSums(rows, classifiers, length, second)
        self._evidence = evidence
        self._sums = evidence.sums(rows, evidence_length or length) if evidence is not None else None
        self._acoustics = Acoustics(rows, length, second)

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream."""
        row = self._totals.bytes_per_row + self._attention.bytes_per_row + 8
        row += self._acoustics.bytes_per_slot + (self._sums.bytes_per_slot if self._sums else 0)
        return row * self._places + 32 + (self._voices.bytes_per_slot if self._voices else 0)

    def reset(self, slots: NDArray[np.intp]) -> None:
        """Make slots ready for new streams."""
        self.seen[slots] = self.voiced[slots] = 0
        self._pauses.reset(slots)
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
        """Add H intervals of B streams, from index first (B,) on; what lies before index 0 is no interval.

        c (B, H, labels), with `other` one more        alpha (B, H, classifiers)        votes (B, H): those that count
        u (B, H, numbers), where there is evidence, or where voices are told apart
        heard   kind, power and wide (B, H) of `EngineOutput`, where `quality` is to be asked
        """
        for i in np.flatnonzero(first > self.seen[slots]):
            self._jump(int(slots[i]), int(first[i]))
        new = Intervals(c, alpha, votes, u, heard)
        if self._voices is None:
            self._add(slots, first, new)
            return
        assert u is not None, "voices are told apart by u"
        for start in range(0, c.shape[1], BLOCK):
            here, begin = slice(start, start + BLOCK), first + start
            at = self._add(slots, begin, new.part(here))
            counted = votes[:, here] & (begin[:, None] + np.arange(at.shape[1]) >= 0)
            for change in self._voices.hear(slots, at, u[:, here], counted):
                self._change(change)

    def _add(self, slots: NDArray[np.intp], first: NDArray[np.int64], new: Intervals) -> Counts:
        """Add intervals without jumps and changes of voice; return their places in `voices`, (B, H)."""
        h, at = new.c.shape[1], np.zeros(new.votes.shape, np.int64)
        real = first[:, None] + np.arange(h) >= 0
        counted = new.votes & real
        most = min(self._second, self.length)
        for here in (slice(start, start + most) for start in range(0, h, most)):
            talk, index, since = self._talked(slots, real[:, here], counted[:, here])
            if not talk.any():
                continue
            rows, some = self._rows(slots), new.part(here)
            at[:, here] = np.where(talk, index + self._base[slots, None], 0)
            weight = counted[:, here, None].astype(np.float32)
            self._totals.add(rows, talk, index, np.concatenate((some.c * weight, weight), 2))
            self._attention.add(rows, talk, index, np.concatenate((some.alpha * weight, weight), 2))
            if self._sums is not None:
                assert some.u is not None, "a window of evidence wants u"
                for j in range(talk.shape[1]):
                    if (ok := talk[:, j]).any():
                        one = slice(j, j + 1)
                        self._sums.add(rows[ok], index[ok, j], some.u[ok, one], some.votes[ok, one])
            if some.heard is not None:
                self._acoustics.add(rows, talk, index, since, *some.heard)
        self.seen[slots] = np.maximum(first + h, 0)
        self.voiced[slots] += counted.sum(1)
        return at

    def _rows(self, slots: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the rows of the voices that speak in these slots."""
        return slots if self._voices is None else slots * self._places + self._voices.place[slots]

    def _change(self, change: Change) -> None:
        """Change to another voice, heard since some interval: move that interval over, and all after it."""
        assert self._voices is not None
        base, second = int(self._base[change.slot]), self._second
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
        self._totals.move(old, new, start, told, end, begin - start)
        self._talk[old], self._talk[new] = start, begin + end - start
        self._move_seconds(old, new, (start, told, end), begin - start)
        self._voices.shift(change.slot, begin - start)

    def _move_seconds(self, old: int, new: int, at: tuple[int, int, int], by: int) -> None:
        """Give the seconds from `start` on to the new voice, `by` later; `told` and `end` as in `_change`.

        A voice that comes back has nothing in its newest second: that went to the next one as a whole.
        """
        start, told, end = at
        second, blocks = self._second, self._attention.blocks
        moved = np.arange(start // second, -(-end // second))[-blocks:]
        here, there = moved % blocks, (moved + by // second) % blocks
        # The second that follows would have cost the oldest one.
        spent = np.arange(start // second, -(-told // second) + 1)[-blocks:] % blocks
        for sums in (self._attention, self._acoustics):
            sums.move(old, new, here, there)
            sums.clear(old, spent)

    def _talked(self, slots: NDArray[np.intp], real: Flags, counted: Flags) -> tuple[Flags, Counts, Counts]:
        """Advance by H intervals: which are talk, their index in it, and how long before each the newest vote was."""
        talk, since, emptied = self._pauses.add(slots, real, counted)
        if emptied.any():
            self._forget(slots[emptied])
        rows = self._rows(slots)
        ends = self._talk[rows, None] + talk.cumsum(1)
        self._talk[rows] = ends[:, -1]
        return talk, ends - talk, since

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
        """Return the mean of the members that vote, (B, labels), and their number, (B,); zeros where none does."""
        found, votes = self._newest(slots, self.length)
        return found[:, : self.labels], votes

    def now(self, slots: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the same over the newest second only."""
        found, votes = self._newest(slots, min(self._second, self.length))
        return found[:, : self.labels], votes

    def _newest(self, slots: NDArray[np.intp], n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the mean of those that vote of the n newest intervals of talk, with `other` if any, and how many they
        are."""
        rows = self._rows(slots)
        total = self._totals.newest(rows, self._talk[rows], n)
        votes = total[:, -1]
        return total[:, :-1] / np.maximum(votes, 1)[:, None], votes.astype(np.int64)

    def attention(self, slots: NDArray[np.intp]) -> NDArray[np.float64]:
        """Average attention over the window, to the whole second: (B, classifiers)."""
        return self._attention.read(self._rows(slots))

    def quality(self, slots: NDArray[np.intp]) -> Quality:
        """Return the acoustic quality of the speech in the window, if `add` was given it."""
        rows = self._rows(slots)
        return self._acoustics.read(rows, self._talk[rows])

    def filled(self, slots: NDArray[np.intp]) -> NDArray[np.int64]:
        """Count the intervals of stream time that the window spans so far, (B,); of the second voice and others those
        of talk."""
        spans = self.seen[slots]
        if self._voices is not None:
            spans = np.where(self._voices.number[slots] > 1, self._talk[self._rows(slots)], spans)
        return np.minimum(spans, self.length)

    def _jump(self, slot: int, to: int) -> None:
        """Count stream time that went on without intervals as a pause."""
        talk, emptied = self._pauses.jump(slot, to - int(self.seen[slot]))
        if emptied:
            self._forget(np.array([slot]))
        elif talk > 0:
            row = int(self._rows(np.array([slot]))[0])
            old = int(self._talk[row])
            self._pass_over(row, old, old + talk)
            self._talk[row] = old + talk
        self.seen[slot] = to

    def _pass_over(self, row: int, old: int, new: int) -> None:
        """Count intervals old .. new - 1 of a voice's talk as a pause."""
        self._totals.jump(row, old, new)
        self._attention.jump(row, old, new)
        self._acoustics.jump(row, old, new)
        if self._sums is not None:
            self._sums.jump(row, old, new)

    def _forget(self, slots: NDArray[np.intp]) -> None:
        """Empty the windows of all voices."""
        self._base[slots] += EMPTIED
        self._empty((slots[:, None] * self._places + np.arange(self._places)).ravel())

    def _empty(self, rows: NDArray[np.intp]) -> None:
        self._talk[rows] = 0
        self._totals.reset(rows)
        self._attention.reset(rows)
        self._acoustics.reset(rows)
        if self._sums is not None:
            self._sums.reset(rows)


def window_of(net: Net, slots: int, length: int, voices: int = 1) -> Window:
    """Make a window for `slots` streams of a net, over the last `length` intervals of each, or of each of so many
    voices."""
    arch, evidence, apart = net.architecture, evidence_of(net), voices_of(net, slots, voices)
    second = arch.intervals(NOW_S)
    labels = len(arch.labels)
    return Window(slots, labels, arch.classifiers, length, second, evidence, voices=apart, other=arch.other)
