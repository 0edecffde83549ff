"""Pauses and changes: numbers count what is sent, timestamps count time, and each event is what it is called."""

import socket

import numpy as np
import pytest

from streamcab.bench.habits import CODEC, GOODBYE, HOLD, RESTART, Habits, other_format
from streamcab.bench.sender import Packets, Schedule
from streamcab.bench.speech import babble, bundled_clips, encode
from streamcab.bench.traffic import Plan, Traffic
from streamcab.errors import ConfigError
from streamcab.rtp.codec import Encoding
from streamcab.rtp.decoder import Decoders
from streamcab.rtp.events import CallEnded, CallStarted, CodecChanged
from streamcab.rtp.intake import Intake
from streamcab.rtp.payload import PayloadTypes
from streamcab.rtp.receive import BatchReceiver

RATES = {"pcmu": 8000, "l16": 16000}


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


def test_hundreds_of_calls_with_pauses_and_changes_lose_nothing_and_each_change_is_told() -> None:
    """The load generator's own packets into the intake, in simulated time: what `bench calls --dtx --mixed` sends."""
    traffic = Traffic(150, 14.0, churn=6.0, dtx=True, mixed=True)
    plan = Plan(traffic)
    habits, schedule = Habits(plan, traffic), Schedule(plan, traffic)
    speech, other = (encode(name, babble(bundled_clips()[:1], rate)) for name, rate in RATES.items())
    types = PayloadTypes({0: Encoding("PCMU", 8000), 97: Encoding("L16", 16000)}, {})
    decoders = Decoders(plan.calls)
    intake = Intake(types, plan.calls, decoders=decoders, ring_s=8.0)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth,
    ):
        ear.bind(("127.0.0.1", 0))
        ear.setblocking(False)
        mouth.connect(ear.getsockname())
        packets, receiver, now = Packets(mouth, plan, traffic, speech, other), BatchReceiver([ear]), 0.0
        while not schedule.over or now < plan.frames * plan.frame_s + 2:
            serials, numbers, over = schedule.due(now) if not schedule.over else (np.zeros(0, np.int64),) * 3
            packets.send(serials, numbers)
            packets.goodbye(over)
            while (batch := receiver.receive()) is not None:
                intake.feed(batch, 100 + now)
            intake.sweep(100 + now)
            now += 0.005
    decoders.close(30.0)
    counts, events = intake.counters(), list(intake.events)
    started = {e.ssrc: e for e in events if isinstance(e, CallStarted)}
    assert len(started) == plan.calls > 200
    assert {e.reason for e in events if isinstance(e, CallEnded)} == {"the sender said goodbye"}
    assert counts["accepted"] + counts["comfort_noise"] == packets.sent
    for name in ("lost_packets", "late", "duplicate", "jumped", "malformed", "unknown_type", "overrun"):
        assert counts[name] == 0, (name, counts)
    told = habits.counted()
    assert counts["restarts"] >= told["restart"] + told["hold"]
    assert sum(isinstance(e, CodecChanged) for e in events) >= told["codec"]
    assert min(told.values()) > 20
    for serial in range(plan.calls):
        call = started[int(plan.ssrc[serial])]
        assert call.bank.skipped[call.slot] == 0
        packet = np.arange(plan.last[serial] - plan.first[serial])
        one = np.full(len(packet), serial)
        packet = packet[habits.sent(one, packet) & ~habits.comfort(one, packet)]
        # A hold is as long as the wall clock says, and a resampler has its edges.
        near = {HOLD: 400, CODEC: 100}.get(int(habits.event[serial]), 0)
        assert abs(call.bank.written[call.slot] - (packet[-1] + 1) * 160) <= near
