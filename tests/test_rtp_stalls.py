"""Which calls have stalled and which speak again, told once each; and when all are silent at once."""

import numpy as np

from streamcab.rtp.stalls import STALL_S, Stalls
from streamcab.rtp.table import State, Table


def stage(calls=3, slots=4):
    table = Table(slots)
    table.state[:calls] = State.LIVE
    return table, Stalls(table)


def looked(stalls, now):
    change = stalls.look(now)
    return change.stalled.tolist(), change.heard.tolist()


def test_a_call_that_stalls_and_speaks_again_is_told_once_each():
    table, stalls = stage()
    assert looked(stalls, STALL_S) == ([], [])
    table.last[:2] = 2.0
    assert looked(stalls, 2.0) == ([2], [])
    assert looked(stalls, 2.5) == ([], [])
    table.last[2] = 2.6
    assert looked(stalls, 2.7) == ([], [2])
    assert looked(stalls, 2.8) == ([], [])


def test_a_call_that_is_over_is_no_news():
    table, stalls = stage()
    table.last[:2] = 2.0
    stalls.look(2.0)
    table.state[2] = State.ENDED
    assert looked(stalls, 2.1) == ([], [])


def test_who_takes_the_slot_of_a_stalled_call_and_stalls_is_told_again():
    table, stalls = stage(1)
    assert looked(stalls, 2.0) == ([0], [])
    table.state[0] = State.PROBATION
    assert looked(stalls, 2.1) == ([], [])
    table.state[0], table.last[0] = State.LIVE, 0.5
    assert looked(stalls, 2.2) == ([0], [])


def test_silence_is_of_all_calls_and_since_the_last_packet_of_any():
    table, stalls = stage()
    table.last[:3] = (1.0, 3.0, 2.0)
    stalls.look(3.0)
    assert stalls.silent is None
    stalls.look(3.0 + 2 * STALL_S)
    assert (stalls.silent, stalls.calls) == (3.0, 3)
    # While it lasts, since when and of how many stays.
    table.state[0] = State.ENDED
    stalls.look(9.0)
    assert (stalls.silent, stalls.calls) == (3.0, 3)
    table.last[1] = 9.5
    stalls.look(9.6)
    assert stalls.silent is None


def test_without_calls_nobody_is_silent():
    table, stalls = stage(0)
    change = stalls.look(99.0)
    assert stalls.silent is None
    assert change.stalled.dtype == np.intp
    # Calls that end in the silence leave it as it was: nobody has been heard since.
    table.state[0], table.last[0] = State.LIVE, 90.0
    stalls.look(99.0)
    table.state[0] = State.ENDED
    stalls.look(100.0)
    assert stalls.silent == 90.0
