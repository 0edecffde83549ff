"""Rings that are written out of order: what was placed is read, what was not is missing, what is gone is gone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcab.rtp.bank import BLOCKS, HOLE, ScatterBank

RATE = 800
CAPACITY = 80


def bank(rows=1, compact=True, touch=False):
    made = ScatterBank(RATE, rows, CAPACITY / RATE, compact, touch)
    made.data[:] = 7  # what another call has left there
    return made


def place(of, row, position, values):
    """A packet, as the intake places it: first the ring is emptied as far as it reaches."""
    rows, at = np.array([row]), np.array([position])
    of.prepare(rows, at + len(values))
    if position >= of.claimed[row] - of.capacity:
        of.place(rows, at, np.array([values], of.data.dtype))
    of.written[row] = max(int(of.written[row]), position + len(values))


def read(of, row, start, n):
    return of.read(np.array([row]), np.array([start]), n)[0]


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 12)), min_size=1, max_size=25),
    st.booleans(),
)
def test_what_was_placed_is_read_and_all_else_is_missing(packets, compact):
    of = bank(compact=compact)
    of.take(np.array([0]))
    said = {}
    for number, (position, n) in enumerate(packets, 1):
        if position >= of.claimed[0] - CAPACITY:
            said |= {position + k: number for k in range(n)}
        place(of, 0, position, [number] * n)
        # Emptied by blocks of an eighth, so up to a block of the oldest goes early.
        oldest = int(of.claimed[0]) - CAPACITY
        said = {at: value for at, value in said.items() if at >= oldest}
    end = int(of.written[0])
    start = max(int(of.oldest(np.array([0]))[0]), 0)
    found = read(of, 0, start, end - start)
    scale = 2**-15 if compact else 1.0
    wanted = [said.get(at, np.nan) for at in range(start, end)]
    assert np.array_equal(found, np.float32(wanted) * np.float32(scale), equal_nan=True)
    assert end - start >= min(end, CAPACITY - CAPACITY // BLOCKS) - 12


def test_calls_side_by_side_do_not_touch_each_other():
    of = bank(rows=3)
    of.take(np.arange(3))
    for row in (2, 0, 1):
        place(of, row, 10 * row, [row + 1] * 5)
    for row in range(3):
        assert read(of, row, 10 * row, 5).tolist() == [(row + 1) / 32768] * 5


def test_a_row_that_begins_anew_hides_what_was_there():
    of = bank()
    of.take(np.array([0]))
    place(of, 0, 0, [5] * 60)
    of.ended[0], of.skipped[0] = True, 9
    of.take(np.array([0]))
    assert not of.ended[0]
    assert (of.written[0], of.skipped[0]) == (0, 0)
    place(of, 0, 30, [6] * 4)
    assert np.isnan(read(of, 0, 0, 30)).all()
    assert read(of, 0, 30, 4).tolist() == [6 / 32768] * 4


def test_what_the_writer_has_overtaken_is_missing():
    of = bank()
    of.take(np.array([0]))
    place(of, 0, 0, [3] * 10)
    place(of, 0, CAPACITY + 20, [4] * 10)
    assert np.isnan(read(of, 0, 0, 10)).all()
    assert read(of, 0, CAPACITY + 20, 10).tolist() == [4 / 32768] * 10


@pytest.mark.parametrize("compact", [True, False])
def test_the_earliest_sample_becomes_sample_0(compact):
    of = bank(compact=compact)
    of.take(np.array([0]))
    place(of, 0, 25, [1] * 5)
    place(of, 0, 35, [2] * 5)
    assert of.rebase(0, 25, 40) == 15
    of.written[0] = 15
    scale = 2**-15 if compact else 1.0
    wanted = np.float32([1] * 5 + [np.nan] * 5 + [2] * 5) * np.float32(scale)
    assert np.array_equal(read(of, 0, 0, 15), wanted, equal_nan=True)
    # Nothing of what was heard on probation comes round again.
    place(of, 0, 40, [3] * 2)
    assert np.isnan(read(of, 0, 15, 25)).all()


def test_of_more_than_a_ring_the_newest_are_kept():
    of = bank()
    of.take(np.array([0]))
    for at in range(0, 200, 10):
        place(of, 0, at, [at + 1] * 10)
    kept = of.rebase(0, 0, 200)
    assert CAPACITY - CAPACITY // BLOCKS <= kept <= CAPACITY
    of.written[0] = kept
    assert read(of, 0, kept - 10, 10).tolist() == [191 / 32768] * 10


def test_a_hole_is_no_sample_that_a_codec_decodes_to():
    of = bank(touch=True)
    of.take(np.array([0]))
    place(of, 0, 0, [HOLE + 1, 0, -HOLE - 1])
    assert read(of, 0, 0, 3).tolist() == [-32767 / 32768, 0.0, 32767 / 32768]


def test_the_memory_of_a_row_is_what_its_arrays_take():
    for compact, size in ((True, 2), (False, 4)):
        of = bank(rows=4, compact=compact)
        arrays = [of.written, of.claimed, of.consumed, of.stamp, of.ended, of.overflows, of.skipped]
        arrays += [of.silence_from, of.silence_to]
        assert of.data.nbytes == 4 * CAPACITY * size
        assert of.bytes_per_row == (of.data.nbytes + sum(a.nbytes for a in arrays)) // 4
