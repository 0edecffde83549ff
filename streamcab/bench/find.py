"""Searches the largest number of calls that holds, by repeated measurements.

Knows nothing of calls.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """holds: the largest number that held, 0 if none did; fails: the smallest that did not, None if all held."""

    holds: int
    fails: int | None


def find_max(holds: Callable[[int], bool], start: int, most: int, precision: float = 0.05) -> Found:
    """Search between 1 and `most`, from `start` on, until good and bad are within `precision` of each other.

    A number that fails is asked for a second time: a machine that others use too has bad moments.
    """

    def twice(n: int) -> bool:
        return holds(n) or holds(n)

    good, bad = 0, None
    n = min(max(start, 1), most)
    while bad is None:
        if not twice(n):
            bad = n
        elif n == most:
            return Found(n, None)
        else:
            good, n = n, min(2 * n, most)
    while bad - good > max(precision * bad, 1):
        n = (good + bad) // 2
        # Round numbers are remembered; they are as good as any.
        step = max(10 ** (len(str(bad - good)) - 2), 1)
        if good < n // step * step < bad:
            n = n // step * step
        if twice(n):
            good = n
        else:
            bad = n
    return Found(good, bad)
