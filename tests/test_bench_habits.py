"""Pauses and changes: numbers count what is sent, timestamps count time, and each event is what it is called."""

import numpy as np
import pytest

from streamcab.bench.habits import CODEC, GOODBYE, HOLD, RESTART, Habits, other_format
from streamcab.bench.sender import Schedule
from streamcab.bench.traffic import Plan, Traffic
from streamcab.errors import ConfigError


def life(traffic: Traffic, serial: int) -> tuple[Habits, np.ndarray, np.ndarray, np.ndarray]:
    """Of one call: the packets that it sends, with their numbers and timestamps."""
    plan = Plan(traffic)
    habits = Habits(plan, traffic)
    packet = np.arange(plan.last[serial] - plan.first[serial])
    packet = packet[habits.sent(np.full(len(packet), serial), packet)]
    one = np.full(len(packet), serial)
    return habits, packet, habits.number(one, packet), habits.ticks(one, packet)


@pytest.mark.parametrize("serial", [0, 1])
def test_pauses_take_time_and_no_numbers(serial: int) -> None:
    habits, packet, number, ticks = life(Traffic(4, 30.0, dtx=True), serial)
    assert np.diff(number).tolist() == [1] * (len(number) - 1)
    assert ticks.tolist() == (packet * 160).tolist()
    pauses = np.diff(packet)
    assert (pauses > 1).sum() >= 3
    assert 0.5 <= (pauses.max() - 1) * 0.02 <= 4.5
    noise = packet[habits.comfort(np.full(len(packet), serial), packet)]
    # Every other call says that a pause begins.
    assert len(noise) == serial * np.count_nonzero(pauses > 1) or len(noise) == serial * (
        np.count_nonzero(pauses > 1) + 1
    )


def test_without_being_asked_every_packet_is_sent_as_it_was() -> None:
    _, packet, number, ticks = life(Traffic(4, 5.0), 2)
    assert number.tolist() == packet.tolist() == list(range(len(packet)))
    assert ticks.tolist() == (packet * 160).tolist()


@pytest.mark.parametrize("dtx", [False, True])
def test_each_event_is_one_change_in_the_midst_of_a_call(dtx: bool) -> None:
    traffic = Traffic(16, 30.0, mixed=True, dtx=dtx)
    habits = Habits(Plan(traffic), traffic)
    assert set(habits.event.tolist()) == {RESTART, HOLD, GOODBYE, CODEC}
    for serial in range(16):
        _, packet, number, ticks = life(traffic, serial)
        steps, time = np.diff(number), np.diff(ticks) - 160 * np.diff(packet)
        kind = habits.event[serial]
        assert np.count_nonzero(steps != 1) == (kind == RESTART)
        if kind == CODEC:
            changed = habits.changed(np.full(len(packet), serial), packet)
            assert changed.any()
            assert set(np.diff(ticks)[changed[1:] & changed[:-1] & (np.diff(packet) == 1)].tolist()) == {320}
        else:
            assert np.count_nonzero(time) == (kind in (RESTART, HOLD))
        byes = sum(serial in habits.byes(frame) for frame in range(Plan(traffic).frames))
        assert byes == (kind == GOODBYE)
    assert sum(habits.counted().values()) == np.count_nonzero(habits.event >= 0)


def test_the_schedule_leaves_out_what_is_silent() -> None:
    traffic = Traffic(10, 8.0, dtx=True, mixed=True)
    plan = Plan(traffic)
    schedule, sent, now = Schedule(plan, traffic), 0, 0.0
    while not schedule.over:
        serials, _, _ = schedule.due(now)
        sent, now = sent + len(serials), now + 0.0047
    assert schedule.silent > 0
    assert sent + schedule.silent == (plan.last - plan.first).sum()


def test_the_other_codec_has_another_rate() -> None:
    for codec in ("pcmu", "pcma", "l16"):
        traffic = Traffic(1, codec=codec)
        assert other_format(traffic).rate != traffic.format.rate


def test_damage_and_habits_do_not_mix() -> None:
    with pytest.raises(ConfigError, match="drop loss"):
        Traffic(10, dtx=True, loss=0.1)
