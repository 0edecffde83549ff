"""The newest intervals of what flows into each block of the trunk, for every slot: a ring for each block.

A step reads all that a block's convolution needs, and writes only what is new. Knows nothing of graphs or of weights.
"""

from collections.abc import Sequence
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
        self._contexts, self._features = contexts, features
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
        """Arrays for `read` of n slots."""
        dtypes = [rows.dtype for rows in self._rows]
        return [
            np.empty((n, context, self._features), dtype)
            for context, dtype in zip(self._contexts, dtypes, strict=True)
        ]

    def read(self, slots: Ints, out: Sequence[Kept]) -> None:
        """The newest contexts[i] intervals of each slot (B,), oldest first, into out[i] (B, contexts[i], features)."""
        after = self._next[slots, None]
        for rows, room, context, found in zip(self._rows, self._room, self._contexts, out, strict=True):
            where = (after - context + np.arange(context)) % room + slots[:, None] * room
            np.take(rows, where, axis=0, out=found, mode="clip")

    def newest(self, slot: int) -> list[Kept]:
        """Return a copy of what `read` gives for a slot: (contexts[i], features) for block i."""
        found = self.buffers(1)
        self.read(np.array([slot]), found)
        return [one[0] for one in found]

    def replace(self, slots: Ints, newest: Sequence[Kept]) -> None:
        """Give slots (B,) the newest intervals of another, as `newest` returns them."""
        after = self._next[slots, None]
        for rows, room, kept in zip(self._rows, self._room, newest, strict=True):
            rows[(after - len(kept) + np.arange(len(kept))) % room + slots[:, None] * room] = kept

    def write(self, slots: Ints, news: Sequence[Kept]) -> None:
        """H more intervals of each slot: news[i] (B, H, features) for block i."""
        if not news:
            return
        after, h = self._next[slots, None], news[0].shape[1]
        for rows, room, new in zip(self._rows, self._room, news, strict=True):
            kept = np.arange(max(h - room, 0), h)
            rows[(after + kept) % room + slots[:, None] * room] = new[:, -room:]
        self._next[slots] += h
