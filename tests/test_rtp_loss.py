"""Numbers that have come: what is a repeat, and what is only a number that comes again; what was lost and found."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamcab.rtp.loss import SEEN, Sequences, keys


def key(sequence, time=0, content=0):
    one = np.array([sequence % 65536], np.uint16), np.array([time], np.uint32), np.array([content], np.uint64)
    return keys(*one)


def begun(slots=2):
    made = Sequences(slots)
    made.begin(np.arange(slots))
    return made


def came(numbers, *packets, slot=0):
    """Packets (sequence, time, content) in one batch; whether each is new."""
    one = np.concatenate([key(*packet) for packet in packets])
    slots = np.full(len(packets), slot)
    new = ~numbers.repeated(slots, one)
    numbers.note(slots[new], one[new])
    return new.tolist()


packet = st.tuples(st.integers(0, 65535), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))


@given(st.lists(packet, min_size=1, max_size=40))
def test_a_packet_that_comes_twice_is_a_repeat_in_a_batch_and_across(packets):
    numbers = begun()
    first = came(numbers, *packets)
    assert first == [p not in packets[:k] for k, p in enumerate(packets)]
    kept = [p for p in packets if all(p == q or (p[0] - q[0]) % SEEN for q in packets)]
    assert not kept or came(numbers, *kept) == [False] * len(
        kept
    )  # of a cell, the newest packet is remembered


@given(packet, packet)
def test_number_time_and_content_tell_packets_apart(one, other):
    assert (key(*one)[0] == key(*other)[0]) == (one == other)


def test_a_number_that_comes_again_is_known_and_no_repeat():
    numbers = begun()
    came(numbers, (7, 100, 1))
    assert came(numbers, (7, 260, 1)) == [True]
    assert came(numbers, (7, 260, 2)) == [True]
    slot = np.zeros(2, np.int64)
    assert numbers.known(slot, np.array([7, 8], np.uint16)).tolist() == [True, False]


def test_the_same_packet_in_two_calls_is_no_repeat():
    numbers = begun()
    assert came(numbers, (7, 1, 1), slot=0) == came(numbers, (7, 1, 1), slot=1) == [True]


def test_in_a_fresh_slot_nothing_has_come():
    numbers = begun()
    came(numbers, *[(k, 0, 0) for k in range(300)])
    numbers.gap(0, 3, 480, 900)
    numbers.begin(np.zeros(1, np.int64))
    assert not numbers.known(np.zeros(SEEN * 2, np.int64), np.arange(SEEN * 2).astype(np.uint16)).any()
    assert (numbers.lost[0], numbers.lost_packets[0], numbers.hole_end[0]) == (0, 0, 0)


def test_what_was_taken_for_lost_and_comes_is_not_lost():
    numbers = begun()
    numbers.gap(0, 2, 320, 900)
    numbers.found(0, 160)
    assert (numbers.lost[0], numbers.lost_packets[0], numbers.hole_end[0]) == (160, 1, 900)
    numbers.shift(0, 100)
    assert numbers.hole_end[0] == 800
    for _ in range(3):
        numbers.found(0, 160)
    assert (numbers.lost[0], numbers.lost_packets[0]) == (0, 0)
