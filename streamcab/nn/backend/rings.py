"""The newest intervals of what flows into each block of the trunk, for every slot: a ring for each block.

A step reads all that a block's convolution needs, and writes only what is new. Neighbours are copied together where all
streams allow it, since the copy of one interval costs more than its bytes. Knows nothing of graphs or of weights.
"""

from collections.abc import Sequence
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamcab.nn.backend.pieces import Ints

Kept = NDArray[Any]


class Rings:
    """Rings of intervals (features,) for `slots` streams: one of contexts[i] intervals or more for each block i.

    Steps are of at most `most` intervals as a rule; of longer ones the end is kept. All is zero before a stream
    begins. `dtype` is that of whatever is kept: of bf16, which numpy lacks, the bits.
    """

    def __init__(
        self,
        slots: int,
        contexts: Sequence[int],
        features: int,
        most: int,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self._contexts, self._features, self._dtype = contexts, features, dtype
        self._room = [max(context, most) for context in contexts]
        self._rows = [np.zeros((slots * room, features), dtype) for room in self._room]
        # Where the next interval goes, as a count of intervals since the stream began.
        self._next = np.zeros(slots, np.int64)

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream."""
        return 8 + sum(rows.nbytes for rows in self._rows) // len(self._next)

    def reset(self, slots: Ints) -> None:
        """Make slots ready for new streams."""
        self._next[slots] = 0
        for rows, room in zip(self._rows, self._room, strict=True):
            rows.reshape(len(self._next), room, -1)[slots] = 0

    def buffers(self, n: int) -> list[Kept]:
        """Make arrays for `read` of n slots."""
        return [np.empty((n, context, self._features), self._dtype) for context in self._contexts]

    def read(self, slots: Ints, out: Sequence[Kept]) -> None:
        """Read the newest contexts[i] intervals of each slot (B,), oldest first, into out[i] (B, contexts[i],
        features)."""
        for ring, (context, found) in enumerate(zip(self._contexts, out, strict=True)):
            rows, where = self._places(ring, slots, -context, context)
            np.take(rows, where, axis=0, out=found.reshape(*where.shape, -1), mode="clip")

    def newest(self, slot: int) -> list[Kept]:
        """Return a copy of what `read` gives for a slot: (contexts[i], features) for block i."""
        found = self.buffers(1)
        self.read(np.array([slot]), found)
        return [one[0] for one in found]

    def replace(self, slots: Ints, newest: Sequence[Kept]) -> None:
        """Give slots (B,) the newest intervals of another, as `newest` returns them."""
        for ring, kept in enumerate(newest):
            rows, where = self._places(ring, slots, -len(kept), len(kept))
            rows[where] = kept.reshape(where.shape[1], -1)

    def write(self, slots: Ints, news: Sequence[Kept]) -> None:
        """Write H more intervals of each slot: news[i] (B, H, features) for block i."""
        h = news[0].shape[1] if news else 0
        for ring, (room, new) in enumerate(zip(self._room, news, strict=True)):
            kept = min(h, room)
            rows, where = self._places(ring, slots, h - kept, kept)
            rows[where] = new[:, h - kept :].reshape(*where.shape, -1)
        self._next[slots] += h

    def _places(self, ring: int, slots: Ints, offset: int, n: int) -> tuple[Kept, Ints]:
        """Return the places of n intervals of each slot (B,), from `offset` to its next one on, in groups.

        Returns:
            The ring's groups of neighbours, (all, group * features), and the numbers of the groups, (B, n / group).
        """
        rows, room, first = self._rows[ring], self._room[ring], self._next[slots] + offset
        group = gcd(room, n, int(np.gcd.reduce(first)))
        where = (first[:, None] // group + np.arange(n // group)) % (room // group)
        return rows.reshape(len(rows) // group, -1), where + slots[:, None] * (room // group)
