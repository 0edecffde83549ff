"""The newest intervals of what flows into each block of the trunk, for every slot: a ring for each block.

A step reads all that a block's convolution needs, and writes only what is new. Knows nothing of graphs or of weights.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamcab.nn.backend.pieces import Floats, Ints


class Rings:
    """Rings of intervals (features,) for `slots` streams: one of contexts[i] intervals or more for each block i.

    Steps are of at most `most` intervals as a rule; of longer ones the end is kept. All is zero before a stream
    begins.
    """

    def __init__(self, slots: int, contexts: Sequence[int], features: int, most: int) -> None:
        self._contexts, self._features = contexts, features
        self._room = [max(context, most) for context in contexts]
        self._rows = [np.zeros((slots * room, features), np.float32) for room in self._room]
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

    def buffers(self, n: int) -> list[Floats]:
        """Arrays for `read` of n slots."""
        return [np.empty((n, context, self._features), np.float32) for context in self._contexts]

    def read(self, slots: Ints, out: Sequence[Floats]) -> None:
        """The newest contexts[i] intervals of each slot (B,), oldest first, into out[i] (B, contexts[i], features)."""
        after = self._next[slots, None]
        for rows, room, context, found in zip(self._rows, self._room, self._contexts, out, strict=True):
            where = (after - context + np.arange(context)) % room + slots[:, None] * room
            np.take(rows, where, axis=0, out=found, mode="clip")

    def newest(self, slot: int) -> list[Floats]:
        """Return a copy of what `read` gives for a slot: (contexts[i], features) for block i."""
        found = self.buffers(1)
        self.read(np.array([slot]), found)
        return [one[0] for one in found]

    def replace(self, slots: Ints, newest: Sequence[Floats]) -> None:
        """Give slots (B,) the newest intervals of another, as `newest` returns them."""
        after = self._next[slots, None]
        for rows, room, kept in zip(self._rows, self._room, newest, strict=True):
            rows[(after - len(kept) + np.arange(len(kept))) % room + slots[:, None] * room] = kept

    def write(self, slots: Ints, news: Sequence[NDArray[np.float32]]) -> None:
        """H more intervals of each slot: news[i] (B, H, features) for block i."""
        if not news:
            return
        after, h = self._next[slots, None], news[0].shape[1]
        for rows, room, new in zip(self._rows, self._room, news, strict=True):
            kept = np.arange(max(h - room, 0), h)
            rows[(after + kept) % room + slots[:, None] * room] = new[:, -room:]
        self._next[slots] += h
