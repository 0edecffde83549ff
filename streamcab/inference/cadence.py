"""Streams that are answered by their own time: whenever `every` more intervals of one are complete, in any chunks.

So are streams that are pushed by hand, in Python, and files that the daemon reads as fast as it can. Knows nothing of
clocks, of names, or of who is told.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.inference.engine_output import EngineOutput
from streamcab.inference.reading import Reading
from streamcab.inference.window import Window


@dataclass(frozen=True)
class Due:
    """An answer of one stream that has fallen due: what its window said then, and its newest interval's power, (1,)."""

    reading: Reading
    power: NDArray[np.float64]


def add_by_own_time(
    window: Window, output: EngineOutput, row: int, every: int, *, gate: bool, attention: bool
) -> list[Due]:
    """Add the intervals of one stream of an output to the window; the answers that fall due meanwhile, in order."""
    due, first, h, start = [], int(output.first[row]), output.c.shape[1], 0
    while start < h:
        # Up to the next interval that completes `every`: what lies before interval 0 completes nothing.
        stop = min((max(first + start, 0) // every + 1) * every - first, h)
        part = output.part(row, start, stop)
        window.add(part.slots, part.first, part.c, part.alpha, part.votes(gate), part.u, part.heard)
        if (complete := first + stop) > 0 and complete % every == 0:
            due.append(Due(window.read(part.slots, attention=attention), part.power[:, -1]))
        start = stop
    return due
