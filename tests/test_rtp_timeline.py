"""Positions: batches give what packets one by one give, whatever the calls do; and calls have clocks of their own."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcab.rtp.cursor import Verdict, difference
from streamcab.rtp.loss import Sequences, keys
from streamcab.rtp.timeline import Arrivals, Timeline

RATE = 8000
LOOK = 480


def begun(*calls, slots=4):
    """A timeline with calls (sequence, time) in slots 0, 1, ..."""
    sequences = Sequences(slots)
    line = Timeline(slots, sequences)
    which = np.arange(len(calls))
    sequences.begin(which)
    sequence = np.array([c[0] % 65536 for c in calls], np.uint16)
    time = np.array([c[1] % 2**32 for c in calls], np.uint32)
    rate = np.full(len(calls), float(RATE))
    line.begin(which, sequence, time, np.full(len(calls), LOOK), rate, np.full(len(calls), RATE), 0.0)
    return line, sequences


def locate(line, sequences, packets, now=0.02, floor=0):
    """Packets (slot, sequence, time, samples) in one batch: positions, and verdicts."""
    slot = np.array([p[0] for p in packets])
    sequence = np.array([p[1] % 65536 for p in packets], np.uint16)
    time = np.array([p[2] % 2**32 for p in packets], np.uint32)
    samples = np.array([float(p[3]) for p in packets])
    none = np.zeros(len(packets), np.bool_)
    arrivals = Arrivals(slot, sequence, time, samples, np.full(len(packets), RATE), none)
    position, verdict = line.locate(arrivals, np.full(4, floor), now)
    good = verdict == Verdict.GOOD
    key = keys(sequence, time, np.zeros(len(packets), np.uint64))
    sequences.note(slot[good], key[good])
    return position, verdict


@st.composite
def traffic(draw):
    """Packets of three calls, some lost, swapped, stepped or off by a few ticks; and where the batches are cut."""
    state = [[draw(st.integers(0, 65535)), draw(st.integers(0, 2**32 - 1))] for _ in range(3)]
    first = [tuple(s) for s in state]
    made = []
    for _ in range(draw(st.integers(1, 60))):
        slot = draw(st.integers(0, 2))
        samples = draw(st.sampled_from([160, 160, 160, 80, 0]))
        what = draw(st.sampled_from(["next"] * 12 + ["lost", "off", "number", "time"]))
        jitter = 0
        if what == "lost":
            state[slot][0] += 1
            state[slot][1] += 160
        elif what == "off":
            jitter = draw(st.integers(-8, 8))
        elif what == "number":
            state[slot][0] += draw(st.integers(-300, 300))
        elif what == "time":
            state[slot][1] += draw(st.integers(-20_000, 20_000))
        made.append((slot, state[slot][0], state[slot][1] + jitter, samples))
        state[slot][0] += 1
        state[slot][1] += samples
    for k in draw(st.sets(st.integers(1, max(len(made) - 1, 1)), max_size=4)):
        if k < len(made):
            made[k - 1], made[k] = made[k], made[k - 1]
    cuts = sorted(draw(st.lists(st.integers(0, len(made)), max_size=8)))
    return first, made, cuts


@settings(max_examples=200, deadline=None)
@given(traffic())
def test_batches_and_single_packets_come_to_the_same_places(some):
    first, packets, cuts = some
    alone, together = begun(*first), begun(*first)
    one_by_one = [locate(*alone, [packet]) for packet in packets]
    for a, b in zip([0, *cuts], [*cuts, len(packets)], strict=True):
        if a == b:
            continue
        position, verdict = locate(*together, packets[a:b])
        for k in range(a, b):
            (expected,), (judged,) = one_by_one[k]
            assert verdict[k - a] == judged
            if judged == Verdict.GOOD:
                assert abs(position[k - a] - expected) < 1e-6
    assert alone[0].restarts == together[0].restarts
    assert alone[1].lost.tolist() == together[1].lost.tolist()


@given(st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1))
def test_a_difference_is_signed_and_undone_by_adding(base, ticks):
    assert difference((base + ticks) % 2**32, base) == ticks


def test_numbers_and_timestamps_wrap():
    line, sequences = begun((65_534, 2**32 - 200))
    packets = [(0, 65_534 + k, 2**32 - 200 + 160 * k, 160) for k in range(6)]
    for packet in packets[:3]:
        locate(line, sequences, [packet])
    position, verdict = locate(line, sequences, packets[3:])
    assert position.tolist() == [LOOK + 160 * k for k in (3, 4, 5)]
    assert not verdict.any()


def test_of_a_slot_named_twice_the_first_packet_counts_and_a_new_call_knows_nothing_of_the_last():
    line, sequences = begun((5, 100))
    locate(line, sequences, [(0, 5, 100, 160), (0, 900, 7, 160)])
    both = np.zeros(2, np.int64)
    sequence, time = np.array([50, 51], np.uint16), np.array([7000, 7160], np.uint32)
    sequences.begin(both)
    line.begin(both, sequence, time, both + LOOK, both + float(RATE), both + RATE, 9.0)
    position, verdict = locate(line, sequences, [(0, 50, 7000, 160), (0, 51, 7160, 160)], now=9.0)
    assert position.tolist() == [LOOK, LOOK + 160]
    assert not verdict.any()
    assert sequences.lost[0] == 0


def test_a_clock_that_drifts_by_five_percent_is_followed():
    line, sequences = begun((0, 0), (0, 0))
    for k in range(2000):
        packets = [(0, k, 168 * k, 160), (1, k, 152 * k, 160)]
        position, verdict = locate(line, sequences, packets, now=0.02 * (k + 1))
        assert not verdict.any()
        assert position.tolist() == [LOOK + 160 * k] * 2
    assert line.restarts == 0
    assert not line.flaws
