"""Steps cut into pieces of the few sizes that were compiled or recorded, several of them under way at a time.

Compiled graphs have fixed shapes, so a step of any number of streams is covered by pieces of fixed sizes, the
last ones perhaps not quite full. Pieces of one step are computed while the next step is prepared. Knows nothing of what
a piece computes, or where.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Answer = tuple[Floats, Floats, Floats]
"""c (B, H, labels), attention (B, H, classifiers) and u (B, H, summary) of a step."""
State = Any
"""What a backend keeps of one stream, in its own form."""

RUNS = (32, 8, 4, 2, 1)
"""Intervals of a step: the engine cuts streams into these, and backends compile or record them beforehand."""
WASTE = 0.75
"""How full a piece must be; below that, smaller ones do the rest."""


@dataclass
class Batch:
    """B streams of a step: their slots (B,), and their next samples x (B, samples)."""

    slots: Ints
    x: Floats

    def part(self, cut: slice) -> Self:
        """Return some of these streams."""
        return type(self)(self.slots[cut], self.x[cut])


@dataclass
class EdgeBatch(Batch):
    """The same near the streams' starts or ends: `first` and `end` (B,) as in Backend."""

    first: NDArray[np.int64]
    end: NDArray[np.int64]

    def part(self, cut: slice) -> Self:
        """Return some of these streams."""
        return type(self)(self.slots[cut], self.x[cut], self.first[cut], self.end[cut])


Given = TypeVar("Given", bound=Batch)
Taken = TypeVar("Taken", bound=Batch, contravariant=True)
Thing = TypeVar("Thing")


class Piece(Protocol[Taken]):
    """Reusable buffers for a number of streams; at most one step is under way."""

    def start(self, batch: Taken) -> None:
        """Step these streams, at most as many as it is made for; does not wait."""

    def result(self) -> Floats:
        """Wait for the step that was started: (B, H, width of an answer), valid until the next start."""


class Step:
    """A step of B streams that is being computed, piece by piece, into out (B, H, all of an answer)."""

    def __init__(self, pieces: "Pieces", out: Floats) -> None:
        self.out, self.left = out, 0
        self.error: Exception | None = None
        self._pieces = pieces

    def wait(self) -> Floats:
        """Return `out` when all of it is there; raises what went wrong with a piece, each time that it is asked."""
        while self.left:
            self._pieces.collect()
        if self.error is not None:
            raise self.error
        return self.out


class Pieces:
    """The pieces that are under way, of any number of steps, in the order of their starts."""

    def __init__(self, slots: int) -> None:
        self._running: deque[tuple[Piece[Any], Step, slice | Ints, Ints]] = deque()
        self._busy = np.zeros(slots, np.bool_)

    def start(
        self,
        step: Step,
        batch: Given,
        sizes: Sequence[int],
        ready: Callable[[int], Piece[Given]],
        where: Ints | None = None,
    ) -> None:
        """Start streams of a step; waits only where too much is under way, or a step of the same streams.

        Args:
            step: that these streams belong to.
            batch: the streams, and what they are given.
            sizes: of pieces, falling.
            ready: gives a piece of a size, the one whose last start is longest ago.
            where: rows of the step's `out` that these streams have there, (B,); the first B unless given.
        """
        slots, done = batch.slots, 0
        self.settle(slots)
        for size in sizes:
            while done < len(slots) and (len(slots) - done >= WASTE * size or size == sizes[-1]):
                cut = slice(done, min(done + size, len(slots)))
                piece = ready(size)
                while any(piece is busy for busy, *_ in self._running):
                    self.collect()
                piece.start(batch.part(cut))
                step.left += 1
                self._busy[slots[cut]] = True
                self._running.append((piece, step, cut if where is None else where[cut], slots[cut]))
                done = cut.stop

    def settle(self, slots: Ints) -> None:
        """Wait until nothing of these streams is under way: then their state is that of their last step."""
        while self._busy[slots].any():
            self.collect()

    def collect(self) -> None:
        """Wait for the piece that was started first. What goes wrong is for its own step to tell."""
        piece, step, cut, slots = self._running.popleft()
        step.left -= 1
        self._busy[slots] = False
        try:
            step.out[cut] = piece.result()
        except Exception as error:
            step.error = error


class RoundRobin(Generic[Thing]):
    """Things that are used in turn."""

    def __init__(self, things: Sequence[Thing]) -> None:
        self._things, self._at = things, 0

    def next(self) -> Thing:
        """Return the one that has rested longest."""
        self._at = (self._at + 1) % len(self._things)
        return self._things[self._at]
