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
    """Of H <= `second` intervals of B streams, those of the second under way, and then those of the next.

    Args:
        talk: (B, H), which intervals count.
        index: (B, H), where in its talk each of them is.
        second: intervals.
        blocks: seconds that a stream's ring of blocks holds.

    Yields:
        Which streams have some, (n,); the block of each; whether it begins with these; which intervals, (n, H).
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
    """Sums (B, K) and what intervals add to them, gained (B, H, K), one after the other: cuts change no bit of it."""
    if not here.all():
        gained = gained * here[..., None]
    for j in range(here.shape[1]):
        sums += gained[:, j]
    return sums
