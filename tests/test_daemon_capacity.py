"""Capacity: what a stream costs, and how many there is time for."""

from math import inf

import pytest

from streamcab.daemon.capacity import FEW, SHARE, Capacity

STRETCH = 0.25


def run(capacity: Capacity, seconds: float, streams: int, cost: float, *, start: float = 0.0) -> float:
    """Hear streams that cost so much for some time, falling behind where there is not time for all; the time after."""
    now, waiting = start, 0.0
    for _ in range(round(seconds / STRETCH)):
        now += STRETCH
        waiting += streams * STRETCH
        heard = min(waiting, STRETCH / cost)
        waiting -= heard
        capacity.note(heard * cost, heard, 0.0, 0.0)
        capacity.measure(now, streams, waiting)
    return now


def test_nothing_measured_is_no_limit() -> None:
    assert Capacity().streams == inf


def test_what_was_expected_holds_until_streams_were_heard() -> None:
    capacity = Capacity()
    capacity.expect(0.008)
    capacity.measure(1.0, 0, 0.0)
    assert capacity.streams == pytest.approx(SHARE / 0.008)
    run(capacity, 1.0, 10, 0.002, start=1.0)
    assert capacity.streams == pytest.approx(SHARE / 0.002, rel=1e-3)


@pytest.mark.parametrize("streams", [10, 300, 500, 1500])
def test_the_same_whether_the_streams_have_time_or_fall_behind(streams: int) -> None:
    capacity = Capacity()
    run(capacity, 20, streams, 0.002)
    assert capacity.streams == pytest.approx(SHARE / 0.002, rel=0.02)


def test_audio_that_is_held_back_at_the_start_of_streams_says_nothing_of_their_cost() -> None:
    capacity = Capacity()
    capacity.expect(0.002)
    for k in range(1, 5):  # of the first second little goes through the net
        capacity.note(200 * STRETCH * 0.0005, 200 * STRETCH * 0.02, 0.0, 0.0)
        capacity.measure(k * STRETCH, 200, 0.0, 200 * k * STRETCH * 0.98)
        assert capacity.streams == pytest.approx(SHARE / 0.002)
    capacity.note(200 * 0.98 * 0.0015 + 200 * STRETCH * 0.002, 200 * (0.98 + STRETCH), 0.0, 0.0)
    capacity.measure(5 * STRETCH, 200, 0.0)
    assert capacity.streams == pytest.approx(SHARE / 0.002, rel=0.1)


def test_few_streams_are_let_in_whatever_one_of_them_costs() -> None:
    capacity = Capacity()
    run(capacity, 5, 2, 0.4)
    assert capacity.streams == FEW


def test_it_follows_a_machine_that_slows_down() -> None:
    capacity = Capacity()
    now = run(capacity, 10, 100, 0.002)
    run(capacity, 10, 100, 0.006, start=now)
    assert capacity.streams == pytest.approx(SHARE / 0.006, rel=0.1)


def test_streams_that_catch_up_cost_no_more_than_others() -> None:
    capacity = Capacity()
    for k in range(1, 5):  # 50 streams that waited: each has two seconds for every one
        capacity.note(2 * 50 * STRETCH * 0.002, 2 * 50 * STRETCH, 0.0, 0.0)
        capacity.measure(k * STRETCH, 50, 0.0)
    assert capacity.streams == pytest.approx(SHARE / 0.002, rel=1e-3)


def test_streams_that_are_silent_for_half_of_the_time_cost_half() -> None:
    capacity = Capacity()
    for k in range(1, 40):
        capacity.note(100 * 0.125 * 0.002, 100 * 0.125, 0.0, 0.0)
        capacity.measure(k * STRETCH, 100, 0.0)
    assert capacity.streams == pytest.approx(SHARE / 0.001, rel=1e-3)


def test_audio_that_was_given_up_counts_as_work_to_do() -> None:
    capacity = Capacity()
    for k in range(1, 40):
        capacity.note(STRETCH, 500 * STRETCH, 0.0, 500 * STRETCH)
        capacity.measure(k * STRETCH, 1000, 0.0)
    assert capacity.streams == pytest.approx(SHARE * 500, rel=1e-3)


def test_streams_without_a_pace_are_not_taken_for_the_cost_of_the_others() -> None:
    capacity = Capacity()
    for k in range(1, 40):  # always busy: a file takes what the ten streams leave
        unpaced = STRETCH / 0.002 - 10 * STRETCH
        capacity.note(STRETCH, 10 * STRETCH + unpaced, unpaced, 0.0)
        capacity.measure(k * STRETCH, 10, 0.0)
    assert capacity.streams == pytest.approx(SHARE / 0.002, rel=1e-3)
