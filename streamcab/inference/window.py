"""The answer: the mean of the voiced c_t of the last seconds (paper, section 3.3), for many streams; weighed by the
evidence where the model has it.

Of each stream a ring of running totals of c_t: a mean is the difference of two. They are whole numbers, so nothing is
rounded and nothing drifts, for hours or for months. Attention is kept in blocks of a second, since it is shown and not
decided by.

The window moves on with talk: of a pause only the first second takes up room in it, so that in silence an answer stands
still, and what leaves gives way to new speech, one interval for one. A pause as long as the window empties it. Knows
nothing of audio, of the net, or of time but as a count of intervals.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.evidence.layer import Evidence, evidence_of
from streamcab.inference.acoustics import Acoustics, Quality
from streamcab.inference.seconds import added, in_seconds
from streamcab.nn.weights import Net

NOW_S = 1.0
"""Seconds that `now` looks back on, of a block of attention, and of a pause that is talk still: so `now` is empty in
silence."""


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
        quality: Acoustic quality of the speech.
        attention: (B, classifiers), if requested.
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
    ) -> None:
        if length < 1:
            raise ValueError(f"a window needs at least one interval, not {length}")
        self.length, self.labels, self._second = length, labels, second
        self.seen = np.zeros(slots, np.int64)
        """Intervals so far: one past the newest."""
        self.voiced = np.zeros(slots, np.int64)
        """Voiced intervals since the stream began."""
        # Intervals of talk so far, by which all is addressed; and since the newest that voted.
        self._talk = np.zeros(slots, np.int64)
        self._since = np.full(slots, length, np.int64)
        # Before each interval of talk, at its index % length, and now. The last column counts the votes.
        self._before = np.zeros((slots, length, labels + 1), np.int64)
        self._total = np.zeros((slots, labels + 1), np.int64)
        self._attention = np.zeros((slots, -(-length // second), classifiers + 1), np.float64)
        self._evidence = evidence
        self._sums = evidence.sums(slots, evidence_length or length) if evidence is not None else None
        self._acoustics = Acoustics(slots, length, second)

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream."""
        own = (self._before.nbytes + self._total.nbytes + self._attention.nbytes) // len(self.seen) + 32
        return own + self._acoustics.bytes_per_slot + (self._sums.bytes_per_slot if self._sums else 0)

    def reset(self, slots: NDArray[np.intp]) -> None:
        """Make slots ready for new streams."""
        self.seen[slots] = self.voiced[slots] = 0
        self._forget(slots)

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
        u (B, H, summary), where there is evidence
        heard   kind, power and wide (B, H) of `EngineOutput`, where `quality` is to be asked
        """
        h = c.shape[1]
        for i in np.flatnonzero(first > self.seen[slots]):
            self._jump(int(slots[i]), int(first[i]))
        real = first[:, None] + np.arange(h) >= 0
        counted = votes & real
        most = min(self._second, self.length)
        for here in (slice(start, start + most) for start in range(0, h, most)):
            talk, index, since = self._talked(slots, real[:, here], counted[:, here])
            if not talk.any():
                continue
            weight = counted[:, here, None].astype(np.float32)
            self._add_members(slots, talk, index, np.concatenate((c[:, here] * weight, weight), 2))
            self._attend(slots, talk, index, np.concatenate((alpha[:, here] * weight, weight), 2))
            if self._sums is not None:
                assert u is not None, "a window of evidence wants u"
                for j in range(talk.shape[1]):
                    ok, one = talk[:, j], slice(here.start + j, here.start + j + 1)
                    if ok.any():
                        self._sums.add(slots[ok], index[ok, j], u[ok, one], votes[ok, one])
            if heard is not None:
                kind, power, wide = heard
                self._acoustics.add(slots, talk, index, since, kind[:, here], power[:, here], wide[:, here])
        self.seen[slots] = np.maximum(first + h, 0)
        self.voiced[slots] += counted.sum(1)

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
        ends = self._talk[slots, None] + talk.cumsum(1)
        self._talk[slots] = ends[:, -1]
        return talk, ends - talk, since

    def _add_members(
        self, slots: NDArray[np.intp], talk: Flags, index: Counts, gained: NDArray[np.float32]
    ) -> None:
        if not (whole := talk.all()):
            gained = gained * talk[..., None]
        numbers = np.rint(gained * (1 / UNIT)).astype(np.int64)
        after = self._total[slots, None] + numbers.cumsum(1)
        self._total[slots] = after[:, -1]
        b, j = (np.arange(len(slots))[:, None], np.arange(talk.shape[1])) if whole else np.nonzero(talk)
        self._before[slots[b], index[b, j] % self.length] = (after - numbers)[b, j]

    def _attend(
        self, slots: NDArray[np.intp], talk: Flags, index: Counts, gained: NDArray[np.float32]
    ) -> None:
        for some, block, fresh, here in in_seconds(talk, index, self._second, self._attention.shape[1]):
            place = slots[some], block
            self._attention[slots[some[fresh]], block[fresh]] = 0
            self._attention[place] = added(self._attention[place], gained[some], here)

    def read(self, slots: NDArray[np.intp], *, attention: bool) -> Reading:
        """Return the readings of some streams."""
        return Reading(
            slots,
            self.seen[slots],
            self.voiced[slots],
            self.filled(slots),
            *self.probabilities(slots),
            *self.now(slots),
            self.quality(slots),
            self.attention(slots) if attention else None,
        )

    def probabilities(self, slots: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return `mean` and its votes, weighed by evidence if the model has it; zeros without votes."""
        mean, votes = self.mean(slots)
        if self._evidence is None or self._sums is None:
            return mean, votes
        weighed = self._evidence(mean, *self._sums.read(slots))
        return np.where(votes[:, None] > 0, weighed, 0.0), votes

    def mean(self, slots: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Mean of the members that vote, (B, labels), and how many they are, (B,); zeros where none does."""
        return self._newest(slots, self.length)

    def now(self, slots: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The same over the newest second only."""
        return self._newest(slots, min(self._second, self.length))

    def _newest(self, slots: NDArray[np.intp], n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Of the n newest intervals of talk; before there were so many, the ring holds zeros there."""
        before = self._before[slots, (self._talk[slots] - n) % self.length]
        total = (self._total[slots] - before) * UNIT
        votes = total[:, -1]
        return total[:, :-1] / np.maximum(votes, 1)[:, None], votes.astype(np.int64)

    def attention(self, slots: NDArray[np.intp]) -> NDArray[np.float64]:
        """Mean attention over the window, to the whole second: (B, classifiers)."""
        total = self._attention[slots].sum(1)
        mean: NDArray[np.float64] = total[:, :-1] / np.maximum(total[:, -1:], 1)
        return mean

    def quality(self, slots: NDArray[np.intp]) -> Quality:
        """Return the acoustic quality of the speech in the window, if `add` was given it."""
        return self._acoustics.read(slots)

    def filled(self, slots: NDArray[np.intp]) -> NDArray[np.int64]:
        """Intervals of stream time that the window spans so far, (B,)."""
        return np.minimum(self.seen[slots], self.length)

    def _jump(self, slot: int, to: int) -> None:
        """Stream time went on without intervals: they are a pause."""
        gap, since = to - int(self.seen[slot]), int(self._since[slot])
        self._since[slot] += gap
        if since < self.length <= since + gap:
            self._forget(np.array([slot]))
        elif (talk := min(max(min(self._second, self.length - 1) - since, 0), gap)) > 0:
            old, second = int(self._talk[slot]), self._second
            self._before[slot, np.arange(old, old + talk) % self.length] = self._total[slot]
            begun = np.arange(-(-old // second), -(-(old + talk) // second)) % self._attention.shape[1]
            self._attention[slot, begun] = 0
            if self._sums is not None:
                self._sums.jump(slot, old, old + talk)
            self._acoustics.jump(slot, old, old + talk)
            self._talk[slot] = old + talk
        self.seen[slot] = to

    def _forget(self, slots: NDArray[np.intp]) -> None:
        """Empty the window."""
        self._talk[slots] = self._before[slots] = self._total[slots] = self._attention[slots] = 0
        self._since[slots] = self.length
        self._acoustics.reset(slots)
        if self._sums is not None:
            self._sums.reset(slots)


def window_of(net: Net, slots: int, length: int) -> Window:
    """A window for `slots` streams of a net, over the last `length` intervals of each."""
    arch, evidence = net.architecture, evidence_of(net)
    return Window(slots, len(arch.labels), arch.classifiers, length, arch.intervals(NOW_S), evidence)
