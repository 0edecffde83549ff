"""Sequence numbers: what is a duplicate, what never came and how much of it was sound, over batches and wraps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcab.rtp.loss import MAX_DROPOUT, SEEN, Sequences

N = 160
"""Samples of a packet."""


def begun(first, slots=2):
    numbers = Sequences(slots)
    numbers.begin(np.zeros(1, np.int64), np.array([first % 65536], np.uint16), np.zeros(1, np.int64))
    return numbers


def note(numbers, first, batch, slot=0, samples=N):
    """Packets with these numbers, counted from `first`, at the places that their numbers say; whether each is new."""
    slots = np.full(len(batch), slot)
    sequence = ((first + np.array(batch)) % 65536).astype(np.uint16)
    again = numbers.repeated(slots, sequence)
    keep = ~again
    position = N * np.array(batch, np.int64)
    if keep.any():
        numbers.note(slots[keep], sequence[keep], position[keep], np.full(int(keep.sum()), samples))
    return (~again).tolist()


@settings(max_examples=200)
@given(st.data(), st.integers(0, 65535))
def test_what_never_came_is_lost_whatever_the_order_and_the_cutting(data, first):
    count = data.draw(st.integers(2, 60))
    lost = data.draw(st.sets(st.integers(1, count - 2), max_size=count // 2)) if count > 2 else set()
    sent = [k for k in range(count) if k not in lost]
    # Some change places with the one before; the first stays first, since positions are counted from it.
    for k in data.draw(st.sets(st.integers(2, max(len(sent) - 1, 2)), max_size=10)):
        if k < len(sent):
            sent[k - 1], sent[k] = sent[k], sent[k - 1]
    numbers = begun(first)
    while sent:
        n = data.draw(st.integers(1, len(sent)))
        assert note(numbers, first, sent[:n]) == [True] * n
        sent = sent[n:]
    assert numbers.lost_packets[0] == len(lost)
    assert numbers.lost[0] == N * len(lost)
    assert numbers.lost[1] == 0


def test_a_packet_that_comes_twice_is_told_in_a_batch_and_across():
    numbers = begun(65_530)
    assert note(numbers, 65_530, [0, 1, 1, 2]) == [True, True, False, True]
    assert note(numbers, 65_530, [2, 3, 0, 9]) == [False, True, False, True]
    assert note(numbers, 65_530, [9, 8]) == [False, True]
    assert numbers.lost_packets[0] == 4


def test_the_same_number_in_two_calls_is_no_duplicate():
    numbers = begun(7)
    numbers.begin(np.ones(1, np.int64), np.array([7], np.uint16), np.zeros(1, np.int64))
    sequence = np.array([7, 7], np.uint16)
    assert not numbers.repeated(np.array([0, 1]), sequence).any()


def test_where_only_time_has_passed_nothing_is_lost():
    numbers = begun(0)
    note(numbers, 0, [0])
    # Number 1, a second later: the sender was silent.
    numbers.note(np.zeros(1, np.int64), np.array([1], np.uint16), np.array([8000]), np.array([N]))
    assert (numbers.lost[0], numbers.lost_packets[0]) == (0, 0)


def test_of_a_hole_no_more_was_sound_than_the_packets_could_hold():
    numbers = begun(0)
    note(numbers, 0, [0])
    # Two numbers are missing in a hole of a second: the rest of it was silence.
    numbers.note(np.zeros(1, np.int64), np.array([3], np.uint16), np.array([8000]), np.array([N]))
    assert (numbers.lost[0], numbers.lost_packets[0]) == (2 * N, 2)
    assert numbers.hole_end[0] == 8000


def test_what_is_no_audio_takes_a_number_and_no_time():
    numbers = begun(0)
    note(numbers, 0, [0])
    zero = np.zeros(1, np.int64)
    numbers.note(zero, np.array([1], np.uint16), np.array([N]), zero)
    numbers.note(zero, np.array([2], np.uint16), np.array([N]), np.array([N]))
    assert (numbers.lost[0], numbers.lost_packets[0]) == (0, 0)


def test_a_hole_reaches_from_sound_to_sound_whatever_events_lie_in_it():
    numbers = begun(0)
    note(numbers, 0, [0])
    zero = np.zeros(1, np.int64)
    numbers.note(zero, np.array([2], np.uint16), np.array([900]), zero)
    numbers.note(zero, np.array([4], np.uint16), np.array([1000]), np.array([N]))
    assert (numbers.lost[0], numbers.lost_packets[0]) == (2 * N, 2)


@pytest.mark.parametrize("jump", [MAX_DROPOUT + 1, -SEEN])
def test_numbers_that_begin_anew_lose_nothing(jump):
    numbers = begun(30_000)
    note(numbers, 30_000, [0, 1])
    sequence = np.array([(30_001 + jump) % 65536], np.uint16)
    zero = np.zeros(1, np.int64)
    numbers.note(zero, sequence, np.array([2 * N]), np.array([N]))
    assert (numbers.lost[0], numbers.lost_packets[0]) == (0, 0)
    # From there on they count as before.
    numbers.note(zero, sequence + np.uint16(2), np.array([4 * N]), np.array([N]))
    assert (numbers.lost[0], numbers.lost_packets[0]) == (N, 1)


def test_the_largest_gap_that_is_loss():
    numbers = begun(0)
    note(numbers, 0, [0])
    note(numbers, 0, [MAX_DROPOUT])
    assert numbers.lost_packets[0] == MAX_DROPOUT - 1


def test_a_new_clock_loses_nothing_and_counts_on():
    numbers = begun(0)
    note(numbers, 0, [0, 2])
    numbers.renumber(0, 500, 9000)
    numbers.note(np.zeros(1, np.int64), np.array([500], np.uint16), np.array([9000]), np.array([N]))
    numbers.note(np.zeros(1, np.int64), np.array([502], np.uint16), np.array([9000 + 2 * N]), np.array([N]))
    assert (numbers.lost[0], numbers.lost_packets[0]) == (2 * N, 2)


def test_positions_counted_from_elsewhere_move_the_holes():
    numbers = begun(0)
    note(numbers, 0, [0, 2])
    numbers.shift(0, 100)
    assert numbers.hole_end[0] == 2 * N - 100
    numbers.note(np.zeros(1, np.int64), np.array([4], np.uint16), np.array([4 * N - 100]), np.array([N]))
    assert numbers.lost[0] == 2 * N


def test_a_call_that_begins_in_a_slot_has_lost_nothing_and_seen_nothing():
    numbers = begun(0)
    note(numbers, 0, [0, 5])
    numbers.begin(np.zeros(1, np.int64), np.array([5], np.uint16), np.zeros(1, np.int64))
    assert (numbers.lost[0], numbers.lost_packets[0], numbers.hole_end[0]) == (0, 0, 0)
    assert note(numbers, 5, [0]) == [True]
    assert numbers.lost_packets[0] == 0
