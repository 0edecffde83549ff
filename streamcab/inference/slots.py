"""Slots: which streams there are, and every column that is kept of them.

A stream has a slot, its place in all columns, from `attach` to `detach`; then the slot is another stream's. Whoever
keeps something for each stream asks for a column here, or adds how its own arrays are reset: so a stream begins and
ends in one place, and a free slot is always as new. Knows nothing of what the columns mean, of names, or of time.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamcab.audio.ring import Bank

Slots = NDArray[np.intp]


class SlotTable:
    """The slots of up to `size` streams. Each column has an entry per slot.

    Attributes:
        in_use: Whether a stream has the slot, bool.
        row: The stream's row in its bank.
        heard: Intervals taken from the ring, in stream time.
        stepped: Intervals that have gone into the net.
        dropped: Samples that were captured and not classified.
        finished: Whether the stream has ended and its last interval has been answered, bool.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._columns: list[tuple[NDArray[Any], object]] = []
        self._resets: list[Callable[[Slots], object]] = []
        self.bytes_per_slot = 0
        """Memory of one stream in all columns, including added ones."""
        self._free = list(range(size - 1, -1, -1))
        self._banks: list[Bank | None] = []
        self._bank: NDArray[np.intp] = self.column(np.intp)
        self.in_use: NDArray[np.bool_] = self.column(np.bool_)
        self.row: NDArray[np.intp] = self.column(np.intp)
        self.heard: NDArray[np.int64] = self.column(np.int64)
        self.stepped: NDArray[np.int64] = self.column(np.int64)
        self.dropped: NDArray[np.int64] = self.column(np.int64)
        self.finished: NDArray[np.bool_] = self.column(np.bool_)

    def column(self, dtype: DTypeLike, initial: object = 0, *shape: int) -> NDArray[Any]:
        """Make a new column, (size, *shape), in which every stream begins with `initial`."""
        made: NDArray[Any] = np.full((self.size, *shape), initial, dtype)
        self._columns.append((made, initial))
        self.bytes_per_slot += made.nbytes // self.size
        return made

    def add(self, reset: Callable[[Slots], object], bytes_per_slot: int = 0) -> None:
        """Add another owner's arrays, of `bytes_per_slot` each: `reset` clears slots in them."""
        self._resets.append(reset)
        self.bytes_per_slot += bytes_per_slot

    @property
    def free(self) -> int:
        """Streams that can still be attached."""
        return len(self._free)

    @property
    def slots(self) -> Slots:
        """The slots in use, ascending."""
        return np.flatnonzero(self.in_use)

    def __len__(self) -> int:
        return self.size - len(self._free)

    def attach(self, bank: Bank, row: int) -> int:
        """Attach a new stream that reads `row` of `bank` from its sample 0 on; return its slot. ValueError when all are
        taken."""
        if not self._free:
            raise ValueError(f"all {self.size} slots are taken")
        slot = self._free.pop()
        known = next((i for i, one in enumerate(self._banks) if one is bank), None)
        if known is None:
            known = next((i for i, one in enumerate(self._banks) if one is None), len(self._banks))
            self._banks[known : known + 1] = [bank]
        self.in_use[slot], self._bank[slot], self.row[slot] = True, known, row
        return slot

    def detach(self, slot: int) -> None:
        """Forget a stream; its slot may be given to another."""
        bank = self._bank[slot]
        for column, initial in self._columns:
            column[slot] = initial
        for reset in self._resets:
            reset(np.array([slot]))
        if not (self._bank[self.in_use] == bank).any():
            self._banks[bank] = None
        self._free.append(slot)

    def bank(self, slot: int) -> Bank:
        """Return the bank that the stream in this slot reads."""
        found: Bank | None = self._banks[int(self._bank[slot])]
        assert found is not None, f"nobody has slot {slot}"
        return found

    def by_bank(self, slots: Slots) -> Iterator[tuple[Slots, Bank, Slots]]:
        """Yield, bank by bank, which of `slots` it has, the bank, and their rows."""
        banks = self._bank[slots]
        for b in np.unique(banks).tolist():
            which = np.flatnonzero(banks == b)
            yield which, self.bank(int(slots[which[0]])), self.row[slots[which]]
