"""A step cut into pieces of the few sizes that were compiled or recorded, several of them under way at a time.

Compiled graphs have fixed shapes, so a step of any number of streams is covered by pieces of fixed sizes, the
last ones perhaps not quite full. Knows nothing of what a piece computes, or where.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Thing = TypeVar("Thing")
State = Any
"""What a backend keeps of one stream, in its own form."""

RUNS = (32, 8, 4, 2, 1)
"""Intervals of a step: the engine cuts streams into these, and backends compile or record them beforehand."""
WASTE = 0.75
"""How full a piece must be; below that, smaller ones do the rest."""


class Piece(Protocol):
    """Reusable buffers for a number of streams; at most one step is under way."""

    def start(self, slots: Ints, x: Floats) -> None:
        """Step these slots, at most as many as it is made for, by x (B, samples); does not wait."""

    def result(self) -> Floats:
        """Wait for the step that was started: (B, H, width of an answer), valid until the next start."""


def in_pieces(
    sizes: Sequence[int], ready: Callable[[int], Piece], slots: Ints, x: Floats, out: Floats
) -> None:
    """A step of B streams: fills out (B, H, all of an answer).

    sizes  of pieces, falling        ready  gives a piece of a size, the one whose last start is longest ago
    """
    running: deque[tuple[Piece, slice]] = deque()

    def collect() -> None:
        piece, cut = running.popleft()
        out[cut] = piece.result()

    done = 0
    for size in sizes:
        while done < len(slots) and (len(slots) - done >= WASTE * size or size == sizes[-1]):
            cut = slice(done, min(done + size, len(slots)))
            piece = ready(size)
            while any(piece is busy for busy, _ in running):
                collect()
            piece.start(slots[cut], x[cut])
            running.append((piece, cut))
            done = cut.stop
    while running:
        collect()


class RoundRobin(Generic[Thing]):
    """Things that are used in turn."""

    def __init__(self, things: Sequence[Thing]) -> None:
        self._things, self._at = things, 0

    def next(self) -> Thing:
        """The one that has rested longest."""
        self._at = (self._at + 1) % len(self._things)
        return self._things[self._at]
