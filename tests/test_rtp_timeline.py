"""Timestamps as positions: over the wrap of 32 bits, out of order, and when a call's clock jumps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcab.rtp.timeline import FOLLOWS, JUMP_S, Timeline, difference

RATE = 8000
JUMP = int(JUMP_S * RATE)


def one(value, kind=np.int64):
    return np.array([value], kind)


def begun(time=1000, position=0, step=1, slots=2):
    line = Timeline(slots)
    line.begin(one(0), one(time, np.uint32), one(position), one(RATE, np.float64), one(step))
    return line


def locate(line, time, silent=0.0, behind=0.0):
    time = one(time % 2**32, np.uint32)
    position, stray = line.locate(one(0), time, one(silent, np.float64), one(behind, np.float64))
    return int(position[0]), bool(stray[0])


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(-2000, JUMP), max_size=30), st.integers(1, 2))
def test_positions_are_differences_of_timestamps_whatever_wraps(time, steps, step):
    line, position = begun(time, 500, step), 500
    for ticks in steps:
        limit = JUMP // step
        ticks = min(ticks, limit)
        time, position = time + ticks, position + ticks * step
        assert locate(line, time) == (position, False)
        line.move(one(0), one(time % 2**32, np.uint32), one(position))


@given(st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1))
def test_a_difference_is_signed_and_undone_by_adding(base, ticks):
    assert difference((base + ticks) % 2**32, base) == ticks


def test_further_than_wall_time_says_is_out_of_proportion():
    line = begun(0)
    assert locate(line, JUMP) == (JUMP, False)
    assert locate(line, JUMP + 1)[1]
    assert locate(line, -JUMP) == (-JUMP, False)
    assert locate(line, -JUMP - 1)[1]


def test_after_silence_a_timestamp_may_be_as_much_further():
    line = begun(0)
    assert locate(line, JUMP + 2 * RATE, silent=2.0) == (JUMP + 2 * RATE, False)
    assert locate(line, JUMP + 2 * RATE + 1, silent=2.0)[1]
    # After we were suspended only what is ahead is in proportion, not what lies before.
    assert not locate(line, JUMP + 5 * RATE, behind=5.0)[1]
    assert locate(line, -JUMP - 1, behind=5.0)[1]


def test_a_single_stray_packet_moves_nothing():
    line = begun(0)
    assert line.restart(0, 10 * JUMP, 7, newest=160, silent=0.02) == (None, False)
    assert line.strays
    line.settle(one(0))
    assert not line.strays
    # After a packet in proportion the next stray one is the first again.
    assert line.restart(0, 10 * JUMP + 160, 8, newest=320, silent=0.02) == (None, False)
    assert line.restarts == 0


def test_two_to_the_same_place_are_a_new_clock_and_the_hole_is_as_long_as_wall_time_says():
    line = begun(0)
    line.restart(0, 10 * JUMP, 7, newest=160, silent=1.0)
    assert line.restart(0, 10 * JUMP + 160, 8, newest=160, silent=1.5) == (160 + 12_000, True)
    assert line.restarts == 1
    assert locate(line, 10 * JUMP + 320) == (160 + 12_000 + 160, False)
    # One that was behind it in the batch is placed by the new clock, and moves nothing again.
    assert line.restart(0, 10 * JUMP + 480, 9, newest=160, silent=1.5) == (160 + 12_000 + 320, False)


def test_a_hole_is_no_shorter_than_what_lies_between_the_two():
    line = begun(0)
    line.restart(0, 10 * JUMP, 7, newest=160, silent=0.0)
    assert line.restart(0, 10 * JUMP + 800, 9, newest=160, silent=0.0) == (160 + 800, True)


@pytest.mark.parametrize(
    ("time", "sequence"),
    [(20 * JUMP, 8), (10 * JUMP + 160, 7), (10 * JUMP + 160, 6), (10 * JUMP + 160, 7 + FOLLOWS)],
    ids=["another place", "the same number", "an older number", "far apart"],
)
def test_two_that_do_not_belong_together_are_no_new_clock(time, sequence):
    line = begun(0)
    line.restart(0, 10 * JUMP, 7, newest=160, silent=0.0)
    assert line.restart(0, time, sequence, newest=160, silent=0.0) == (None, False)
    assert line.restarts == 0


def test_sequence_numbers_of_a_pair_may_wrap():
    line = begun(0)
    line.restart(0, 10 * JUMP, 65535, newest=0, silent=0.0)
    assert line.restart(0, 10 * JUMP + 160, 0, newest=0, silent=0.0)[1]


def test_a_call_that_begins_in_a_slot_knows_nothing_of_the_last_one():
    line = begun(0)
    line.restart(0, 10 * JUMP, 7, newest=160, silent=0.0)
    line.begin(one(0), one(5, np.uint32), one(480), one(RATE, np.float64), one(1))
    assert not line.strays
    assert locate(line, 5) == (480, False)


def test_of_a_slot_named_twice_the_first_packet_counts():
    line = Timeline(1)
    twice = np.zeros(2, np.int64)
    line.begin(twice, np.array([100, 260], np.uint32), twice + 480, twice + float(RATE), twice + 1)
    assert locate(line, 260) == (640, False)


def test_calls_have_clocks_of_their_own():
    line = begun(0)
    line.begin(one(1), one(2**31, np.uint32), one(0), one(16_000, np.float64), one(2))
    both, times = np.array([0, 1]), np.array([160, 2**31 + 160], np.uint32)
    position, stray = line.locate(both, times, np.zeros(2), np.zeros(2))
    assert position.tolist() == [160, 320]
    assert not stray.any()
