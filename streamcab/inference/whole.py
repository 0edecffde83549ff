"""Sums over whole clips, or over segments of them, of many clips at a time, a block of intervals in one go.

What a window (window.py) as long as the clip would say, in constant memory. Knows nothing of audio or of the net.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.evidence.layer import evidence_of
from streamcab.inference.acoustics import Totals
from streamcab.inference.engine_output import EngineOutput
from streamcab.inference.reading import NOW_S, Reading
from streamcab.nn.weights import Net

LONG_AGO = 1 << 40
"""Intervals since the last vote, before any."""
FOLD_S = 60
"""Seconds of talk after which sums of evidence are folded."""

Slots = NDArray[np.intp]
Floats = NDArray[np.float64]


class WholeSums:
    """Sums over `slots` clips. `power` (slots,) sums the levels of all intervals, `seen` counts them."""

    def __init__(self, net: Net, slots: int) -> None:
        arch = net.architecture
        self._second = second = arch.intervals(NOW_S)
        self.seen = np.zeros(slots, np.int64)
        self.power = np.zeros(slots)
        self._talk = np.zeros(slots, np.int64)
        self._since = np.full(slots, LONG_AGO, np.int64)
        self._labels, self._other, averaged = len(arch.labels), arch.other, arch.widths[0]
        self._total = np.zeros((slots, averaged + 1))
        self._attended = np.zeros((slots, arch.classifiers))
        self._newest = np.zeros((slots, second, averaged + 1), np.float32)
        self._totals = Totals(slots, second)
        self._evidence = evidence_of(net)
        self._fold = FOLD_S * second
        self._sums = self._evidence.sums(slots, 2 * self._fold) if self._evidence is not None else None

    def reset(self, slots: Slots) -> None:
        """Make slots ready for new clips, or for new segments."""
        for a in (self.seen, self.power, self._talk, self._total, self._attended, self._newest):
            a[slots] = 0
        self._since[slots] = LONG_AGO
        self._totals.reset(slots)
        if self._sums is not None:
            self._sums.reset(slots)

    def add(self, e: EngineOutput, gate: bool, start: NDArray[np.int64], stop: NDArray[np.int64]) -> None:
        """Add intervals start .. stop - 1 (B,) of what was answered, counted from its first; at most a second of
        them."""
        slots, at = e.slots, np.arange(e.c.shape[1])
        real = (at >= start[:, None]) & (at < stop[:, None])
        votes = e.votes(gate) & real
        self.seen[slots] += stop - start
        self.power[slots] += (e.power * real).sum(1)
        weight = votes.astype(np.float32)
        members = np.concatenate((e.c * weight[..., None], weight[..., None]), 2)
        self._total[slots] += members.sum(1, dtype=np.float64)
        self._attended[slots] += (weight[:, None] @ e.alpha)[:, 0]
        newest = np.maximum.accumulate(np.where(votes, at, -1), axis=1)
        since = np.where(newest >= 0, at - newest, self._since[slots, None] + at - start[:, None] + 1)
        self._since[slots] = np.where(
            stop > start, since[np.arange(len(slots)), stop - 1], self._since[slots]
        )
        talk = real & (since <= self._second)
        index = self._talk[slots, None] + np.cumsum(talk, 1) - 1
        b, j = np.nonzero(talk)
        self._newest[slots[b], index[b, j] % self._second] = members[b, j]
        self._totals.add(slots, talk, index, since, e.heard)
        if self._sums is not None:
            self._weigh(e, votes, talk, index)
        self._talk[slots] += talk.sum(1)

    def _weigh(
        self, e: EngineOutput, votes: NDArray[np.bool_], talk: NDArray[np.bool_], index: NDArray[np.int64]
    ) -> None:
        assert self._sums is not None
        for j in range(e.c.shape[1]):
            if (ok := talk[:, j]).any():
                self._sums.add(e.slots[ok], index[ok, j], e.u[ok, j : j + 1], votes[ok, j : j + 1])
        after = self._talk[e.slots] + talk.sum(1)
        full = e.slots[after // self._fold > self._talk[e.slots] // self._fold]
        if full.size:
            self._sums.fold(full)

    def read(self, slots: Slots) -> Reading:
        """Return the reading of some clips."""
        votes, labels = self._total[slots, -1], self._labels
        found = self._total[slots, :-1] / np.maximum(votes, 1)[:, None]
        mean = found[:, :labels]
        if self._evidence is not None and self._sums is not None:
            weighed = self._evidence(mean, *self._sums.read(slots))
            mean = np.where(votes[:, None] > 0, weighed, 0.0)
        recent = self._newest[slots].sum(1, dtype=np.float64)
        return Reading(
            slots,
            self.seen[slots],
            votes.astype(np.int64),
            self.seen[slots],
            mean,
            votes.astype(np.int64),
            recent[:, :labels] / np.maximum(recent[:, -1:], 1),
            recent[:, -1].astype(np.int64),
            found[:, labels] if self._other else None,
            self._totals.read(slots),
            self._attended[slots] / np.maximum(votes, 1)[:, None],
            np.ones(len(slots), np.int64),
        )
