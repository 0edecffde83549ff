"""The accumulator: which intervals count in a stream are those that count in the clip, however it is cut and paused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamcab.evidence.accumulator import Accumulator, Spans, counted
from streamcab.nn.cabcnn import Architecture

ONE = np.array([1])
BLOCK, HANG = 40, 16


class Counting(Accumulator):
    """An accumulator of nothing but how many count."""

    def __init__(self, length: int) -> None:
        super().__init__(2, 3, 1, 4, Spans(BLOCK, HANG, length))

    def add(self, first: int, u: NDArray[np.float32], votes: NDArray[np.bool_]) -> list[bool]:
        found = []
        for j in range(len(u)):
            index = np.array([first + j])
            x, count = self._count(ONE, index, u[j : j + 1], votes[j : j + 1])
            assert (x == np.where(count[:, None], u[j], 0)).all()
            self._sums[ONE, self._block(ONE, index)] += count[:, None]
            self._keep(ONE, index, x, count)
            found.append(bool(count[0]))
        return found

    def total(self) -> int:
        return int(self._sums[1].sum())


def clip(seed: int, n: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    u = rng.standard_normal((n, 3)).astype(np.float32)
    u[rng.random(n) < 0.05] = np.nan
    return u, rng.random(n) < 0.06


@settings(deadline=None)
@given(seed=st.integers(0, 2**20), cut=st.integers(0, 300))
def test_a_stream_counts_what_the_clip_counts(seed: int, cut: int) -> None:
    u, votes = clip(seed, 300)
    sums = Counting(400)
    assert (
        sums.add(0, u[:cut], votes[:cut]) + sums.add(cut, u[cut:], votes[cut:])
        == counted(u, votes, HANG).tolist()
    )
    assert sums.total() == counted(u, votes, HANG).sum()


def test_what_follows_a_vote_closely_counts_and_no_more() -> None:
    votes = np.zeros(60, np.bool_)
    votes[10] = True
    assert np.flatnonzero(counted(np.zeros((60, 3), np.float32), votes, HANG)).tolist() == list(
        range(10, 11 + HANG)
    )


def test_nothing_before_the_first_interval_counts() -> None:
    found = Counting(400).add(-5, np.zeros((10, 3), np.float32), np.ones(10, np.bool_))
    assert found == [False] * 5 + [True] * 5


def test_the_window_slides_by_whole_blocks() -> None:
    sums, n = Counting(2 * BLOCK), 5 * BLOCK
    sums.add(0, np.zeros((n, 3), np.float32), np.ones(n, np.bool_))
    assert sums.total() == 2 * BLOCK
    sums.add(n, np.zeros((1, 3), np.float32), np.ones(1, np.bool_))
    assert sums.total() == BLOCK + 1


def test_what_is_passed_over_leaves_the_window() -> None:
    sums = Counting(4 * BLOCK)
    sums.add(0, np.zeros((2 * BLOCK, 3), np.float32), np.ones(2 * BLOCK, np.bool_))
    sums._pass_over(1, 2 * BLOCK, 4 * BLOCK)
    assert sums.total() == BLOCK
    sums._pass_over(1, 4 * BLOCK, 40 * BLOCK)
    assert sums.total() == 0


def test_a_reset_slot_is_fresh_and_its_neighbour_as_it_was() -> None:
    sums = Counting(400)
    sums.add(0, np.zeros((30, 3), np.float32), np.ones(30, np.bool_))
    sums.reset(np.array([0]))
    assert sums.total() == 30
    sums.reset(ONE)
    assert sums.total() == 0
    assert sums.add(0, np.zeros((9, 3), np.float32), np.zeros(9, np.bool_)) == [False] * 9


@pytest.mark.parametrize(("pooled_rate", "block", "hang"), [(8000, 80, 32), (4000, 40, 16), (2000, 20, 8)])
def test_blocks_and_what_follows_a_vote_are_as_long_for_intervals_of_any_length(
    pooled_rate: int, block: int, hang: int
) -> None:
    architecture = Architecture(("a", "b"), pooled_rate=pooled_rate)
    assert Spans.of(architecture, 100) == Spans(block, hang, 100)
