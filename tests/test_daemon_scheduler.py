"""Whose turn it is, and when there is too much to do: by hand, without a clock."""

import numpy as np
import pytest
from serving import Hand

from streamcab.audio.ring import Bank
from streamcab.daemon.scheduler import GATHER, SLICE, Load, Scheduler
from streamcab.daemon.streams import StreamTable
from streamcab.nn.cabcnn import Architecture
from streamcab.source import Line


class Stage(Scheduler):
    """The scheduler of `slots` streams, which a test lets begin."""

    def __init__(self, slots, period=0.2, most=SLICE):
        super().__init__(StreamTable(Architecture(("a", "b")), slots), period, most)
        self._bank = Bank(8000, slots, 1)

    def join(self, slot, now, paced=True):
        line = Line(f"call-{slot}", self._bank, slot, "by hand")
        source = Hand(rows=1, seconds=1, live=paced)
        assert self._streams.join(line, source, now, turn=self.first(now)).slot == slot

    def leave(self, slot):
        self._streams.leave(self._streams[slot])


def joined(n, period=0.2, most=128, paced=True, slots=None):
    turns = Stage(slots or n, period, most)
    for slot in range(n):
        turns.join(slot, 0.0, paced)
    return turns


def test_few_streams_share_one_turn_each_period():
    turns = Stage(8, 0.2)
    for slot in range(3):
        turns.join(slot, 0.03 * slot)
    assert turns.take(0.06).tolist() == [0, 1, 2]
    assert turns.take(0.1).size == 0
    assert turns.wait(0.1) == pytest.approx(0.1)
    assert turns.take(0.2).tolist() == [0, 1, 2]


def test_a_stream_that_joins_few_waits_for_their_turn():
    turns = joined(3)
    assert turns.take(0.0).tolist() == [0, 1, 2]
    turns.leave(0)
    turns.join(0, 0.05)
    assert turns.take(0.1).size == 0
    assert turns.take(0.2).tolist() == [0, 1, 2]


def test_a_stream_that_joins_nobody_has_its_turn_at_once():
    turns = Stage(2)
    turns.join(0, 7.0)
    assert turns.take(7.0).tolist() == [0]


def test_many_streams_come_slice_by_slice_the_longest_waiting_first():
    turns, seen = joined(1000), []
    for i in range(8):
        slots = turns.take(0.025 * i)
        assert len(slots) <= 128
        seen += slots.tolist()
    assert sorted(seen) == list(range(1000))


def test_every_stream_is_visited_once_in_each_period():
    turns, visits = joined(500), np.zeros(500, int)
    for i in range(1000):
        np.add.at(visits, turns.take(0.01 * i), 1)
    # Ten seconds of periods of 0.2 s; turns come a little early rather than late.
    assert visits.min() >= 49
    assert visits.max() <= 56


def test_in_time_a_turn_takes_few_and_late_it_takes_more():
    turns = Stage(1000, 0.2)
    for slot in range(1000):
        turns.join(slot, 0.0002 * slot)
    assert len(turns.take(0.025)) == GATHER
    assert len(turns.take(0.19)) == SLICE
    assert len(turns.take(0.19)) < SLICE


def test_when_late_nobody_is_starved():
    turns, visits = joined(1000, most=100), np.zeros(1000, int)
    for i in range(200):
        slots = turns.take(0.1 * i)
        assert len(slots) == 100
        np.add.at(visits, slots, 1)
    assert visits.min() == visits.max() == 20
    assert turns.behind(20.0) > 0.5


def test_behind_is_how_late_the_latest_visit_is():
    turns = joined(2, most=1)
    assert turns.behind(0.0) == 0
    assert turns.behind(0.3) == pytest.approx(0.3)
    turns.take(0.3)
    assert turns.behind(0.3) == pytest.approx(0.3)
    turns.take(0.3)
    assert turns.behind(0.3) == 0


def test_streams_that_no_clock_paces_always_have_a_turn_and_are_never_late():
    turns = joined(2, paced=False)
    assert turns.take(5.0).tolist() == [0, 1]
    assert turns.take(5.0).tolist() == [0, 1]
    assert turns.behind(9.0) == 0
    assert turns.wait(5.0) == 0


def test_a_slot_that_was_left_has_no_turn():
    turns = joined(2, slots=3)
    turns.leave(0)
    assert turns.take(1.0).tolist() == [1]
    turns.leave(1)
    assert turns.wait(1.0) == np.inf


def test_overload_is_lateness_that_lasts_and_ends_when_it_is_gone_for_as_long():
    load = Load(0.25, 1.0)
    for now, behind, high in [
        (0.0, 0.3, False),
        (0.9, 0.3, False),
        (0.95, 0.1, False),
        (1.0, 0.5, False),
        (1.9, 0.5, False),
        (2.0, 0.5, True),
        (2.5, 0.2, True),
        (9.0, 0.2, True),
        (9.1, 0.1, True),
        (10.0, 0.3, True),
        (10.1, 0.0, True),
        (11.1, 0.0, False),
    ]:
        load.note(behind, now)
        assert load.high == high, (now, behind)


def test_overload_is_said_in_words_only_while_it_is_there():
    load = Load(0.25, 0.0)
    assert load.in_words() == ""
    load.note(0.4, 0.0)
    load.note(0.4, 0.1)
    assert load.in_words().startswith("overloaded: streams wait 400 ms")


def test_streams_that_came_to_be_due_together_are_not_answered_together():
    turns = Stage(400, 0.2)
    for slot in range(400):
        turns.join(slot, 0.0)
    sizes = [len(turns.take(now)) for now in (0.0, 0.02, 0.051, 0.101, 0.151)]
    assert sizes == [GATHER, 0, GATHER, GATHER, 400 - 3 * GATHER]
    assert len(turns.take(0.17)) == 0


def test_among_many_those_that_have_ended_come_in_one_turn():
    turns = Stage(400, 0.2)
    for slot in range(300):
        turns.join(slot, 0.2 * slot / 300)
    for i in range(10):  # each has a turn of its own by now
        turns.take(0.05 * i)
    gone = [3, 120, 290]
    turns._bank.ended[gone] = True
    visits = (set(gone) & set(turns.take(0.5 + 0.01 * i).tolist()) for i in range(30))
    assert next(filter(None, visits)) == set(gone)


def test_among_many_each_has_its_own_moment_in_every_period_though_visits_are_late():
    turns, rng = Stage(500, 0.2), np.random.default_rng(0)
    for slot in range(500):
        turns.join(slot, float(rng.uniform(0, 0.2)))
    now, visits = 0.0, [[] for _ in range(500)]
    while now < 6.0:
        for slot in turns.take(now + rng.uniform(0, 0.01)).tolist():
            visits[slot].append(now)
        now += max(turns.wait(now), 0.001)
    # Once as many as fit are together, each is visited at the same moment: what has come since is always as much.
    apart = np.array([np.diff(times[-20:]) for times in visits])
    np.testing.assert_allclose(apart, 0.2, atol=0.011)


def test_cohorts_become_fewer_only_when_many_have_left():
    turns = joined(300)
    turns.take(0.0)
    assert turns._cohorts == 3
    for slot in range(50):
        turns.leave(slot)
    turns.take(0.05)
    assert turns._cohorts == 3
    for slot in range(50, 110):
        turns.leave(slot)
    turns.take(0.1)
    assert turns._cohorts == 2
