"""Rings against the plainest model of them: a list of everything that was ever written."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcab.audio.ring import NO_SAMPLE, Bank

CAPACITY = 13


def written(bank: Bank, row: int, model: list[float], start: int, n: int) -> list[float]:
    """What a read must give."""
    out = []
    for i in range(start, start + n):
        if i < 0 or i >= len(model):
            out.append(0.0)
        elif i < len(model) - bank.capacity:
            out.append(math.nan)
        else:
            out.append(model[i])
    return out


operation = st.tuples(st.sampled_from(["write", "skip"]), st.integers(0, 1), st.integers(0, 3 * CAPACITY))


@given(
    st.lists(operation, max_size=12),
    st.tuples(st.integers(-20, 80), st.integers(-20, 80)),
    st.integers(0, 30),
)
def test_reads_what_a_list_would_hold(
    operations: list[tuple[str, int, int]], starts: tuple[int, int], n: int
) -> None:
    bank = Bank(8000, 2, CAPACITY)
    models: list[list[float]] = [[], []]
    skipped = [0, 0]
    counter = 1.0
    for kind, row, length in operations:
        if kind == "write":
            values = [counter + i for i in range(length)]
            counter += length
            bank.write(row, np.array(values, np.float32), counter)
            models[row] += values
        else:
            bank.skip(row, length, counter)
            models[row] += [math.nan] * length
            skipped[row] += length
        assert bank.stamp[row] == counter
        assert bank.arrived.is_set()
        # A read amid the writing, not only at the end: both rows, at places of their own.
        got = bank.read(np.array([1, 0]), np.array(starts), n)
        assert got.shape == (2, n)
        for j, each in enumerate((1, 0)):
            np.testing.assert_array_equal(got[j], np.float32(written(bank, each, models[each], starts[j], n)))
    assert bank.written.tolist() == [len(m) for m in models]
    assert bank.skipped.tolist() == skipped


@given(st.integers(1, 3 * CAPACITY), st.data())
def test_a_read_during_a_write_shows_no_newer_sample_as_an_older_one(n: int, data: st.DataObject) -> None:
    """The reader comes in at every store of the writer, and gets old samples or NO_SAMPLE, never new ones."""
    bank = Bank(8000, 1, CAPACITY)
    before = data.draw(st.integers(0, 2 * CAPACITY))
    bank.write(0, np.arange(before, dtype=np.float32), 0.0)
    oldest = before - CAPACITY
    seen = []

    class Watched(np.ndarray):  # type: ignore[type-arg]
        def __setitem__(self, key: object, value: object) -> None:
            super().__setitem__(key, value)  # type: ignore[call-overload]
            seen.append(np.array(bank.read(np.array([0]), np.array([oldest]), CAPACITY)[0]))

    bank.data = bank.data.view(Watched)
    bank.write(0, 1000 + np.arange(n, dtype=np.float32), 0.0)
    assert seen
    for got in seen:
        for i, value in enumerate(got.tolist(), oldest):
            assert math.isnan(value) or value == max(i, 0)


def test_room_is_what_fits_before_something_unread_is_lost() -> None:
    bank = Bank(8000, 1, CAPACITY)
    assert bank.room(0) == CAPACITY
    bank.write(0, np.ones(10, np.float32), 0.0)
    assert bank.room(0) == CAPACITY - 10
    bank.consumed[0] = 4
    assert bank.room(0) == CAPACITY - 6


def test_a_row_that_is_reset_is_as_new_and_its_neighbour_untouched() -> None:
    bank = Bank(8000, 2, CAPACITY)
    for row in (0, 1):
        bank.write(row, np.arange(20, dtype=np.float32), 5.0)
        bank.skip(row, 3, 6.0)
        bank.overflows[row] = 2
        bank.finish(row)
    bank.reset(0)
    fresh = Bank(8000, 1, CAPACITY)
    fields = ("written", "claimed", "consumed", "stamp", "overflows", "skipped", "ended")
    assert {f: getattr(bank, f)[0] for f in fields} == {f: getattr(fresh, f)[0] for f in fields}
    assert np.isnan(bank.data[0]).all()
    bank.write(0, np.arange(5, dtype=np.float32), 1.0)
    assert bank.read(np.array([0]), np.array([-1]), 6)[0].tolist() == [0, 0, 1, 2, 3, 4]
    assert bank.written[1] == 23
    assert bank.ended[1]
    assert bank.read(np.array([1]), np.array([18]), 2)[0].tolist() == [18, 19]


def test_the_end_is_told_and_wakes_the_reader() -> None:
    bank = Bank(8000, 2, CAPACITY)
    bank.finish(1)
    assert bank.ended.tolist() == [False, True]
    assert bank.arrived.is_set()


def test_a_new_ring_holds_nothing() -> None:
    assert np.isnan(Bank(8000, 2, CAPACITY).data).all()
    assert math.isnan(NO_SAMPLE)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (8000, 0, 1), (8000, 1, 0), (-1, 1, 1)])
def test_sizes_that_cannot_be_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="positive sizes"):
        Bank(*sizes)
