"""Intervals of talk by the second that they belong to, for sums that are kept in blocks of a second.

Knows nothing of what is summed.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


def in_seconds(
    talk: Flags, index: NDArray[np.int64], second: int, blocks: int
) -> Iterator[tuple[Ints, Ints, Flags, Flags]]:
    """Split H <= `second` intervals of B streams into those of the current second and those of the next.

    Args:
        talk: Which intervals count, (B, H).
        index: Position of each in its talk, (B, H).
        second: Intervals of a second.
        blocks: Seconds that a stream's ring of blocks holds.

    Yields:
        Which streams have any, (n,); the block of each; whether it begins with these; which intervals, (n, H).
    """
    first = (index[:, 0] // second)[:, None]
    later = index // second > first
    for part in (talk & ~later, talk & later) if later.any() else (talk,):
        some = np.flatnonzero(part.any(1))
        if some.size:
            here = part[some]
            begins = index[some, here.argmax(1)]
            yield some, begins // second % blocks, begins % second == 0, here


def added(sums: Floats, gained: NDArray[np.floating], here: Flags) -> Floats:
    """Add to sums (B, K) what intervals gain, (B, H, K), one after the other: cuts change no bit of it."""
    if not here.all():
        gained = gained * here[..., None]
    for j in range(here.shape[1]):
        sums += gained[:, j]
    return sums
