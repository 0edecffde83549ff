"""Sums in blocks of a second: each interval of talk in its own second, in whatever parts they come."""

import numpy as np
import pytest

from streamcab.inference.seconds import added, in_seconds

SECOND, BLOCKS, STREAMS = 5, 3, 4


@pytest.mark.parametrize("longest", [1, 3, SECOND])
def test_each_interval_of_talk_is_added_to_its_second_once(longest: int) -> None:
    rng = np.random.default_rng(longest)
    sums, wanted = np.full((STREAMS, BLOCKS, 2), 9.0), np.zeros((STREAMS, 40, 2))
    at = np.array([0, 1, 3, 4])
    sums[np.arange(STREAMS), at // SECOND] = 0
    for _ in range(30):
        h = int(rng.integers(1, longest + 1))
        talk, gained = rng.random((STREAMS, h)) < 0.7, rng.random((STREAMS, h, 2))
        index = at[:, None] + talk.cumsum(1) - talk
        for some, block, fresh, here in in_seconds(talk, index, SECOND, BLOCKS):
            sums[some[fresh], block[fresh]] = 0
            sums[some, block] = added(sums[some, block], gained[some], here)
        for b, j in zip(*np.nonzero(talk), strict=True):
            wanted[b, index[b, j] // SECOND] += gained[b, j]
        at = at + talk.sum(1)
        for b in range(STREAMS):
            newest = (at[b] - 1) // SECOND if at[b] else 0
            for second in range(max(newest - BLOCKS + 1, 0), newest + 1):
                np.testing.assert_array_equal(sums[b, second % BLOCKS], wanted[b, second])
