"""The load: who calls when, what is lost, and that what is sent is RTP of the clips' speech, each packet once."""

import socket

import numpy as np
import pytest

from streamcab.bench.sender import Packets, Schedule
from streamcab.bench.speech import at_rate, babble, bundled_clips, encode
from streamcab.bench.traffic import Losses, Plan, Traffic
from streamcab.errors import ConfigError
from streamcab.rtp.batch import Batch
from streamcab.rtp.codec import TABLES, decode_g711
from streamcab.rtp.packet import parse


def sent(traffic, tick=0.0047):
    """Everything a schedule gives out, as (serial, packet) in order, and who said goodbye."""
    plan = Plan(traffic)
    schedule = Schedule(plan, traffic)
    pairs, over, now = [], [], 0.0
    while not schedule.over:
        serials, packets, ended = schedule.due(now)
        pairs += zip(serials.tolist(), packets.tolist(), strict=True)
        over += ended.tolist()
        now += tick
    return plan, schedule, pairs, over


def test_each_call_sends_each_packet_once_and_in_order():
    plan, _, pairs, over = sent(Traffic(30, 2.0))
    assert plan.calls == 30
    for serial in range(plan.calls):
        numbers = [p for s, p in pairs if s == serial]
        assert numbers == list(range(plan.last[serial] - plan.first[serial]))
    assert sorted(over) == list(range(30))


def test_the_calls_are_spread_evenly_over_a_packet_and_begin_one_after_the_other():
    plan = Plan(Traffic(500, 5.0))
    due = np.sort(plan.due(np.arange(500), np.full(500, 200) - plan.first))
    assert np.diff(due) == pytest.approx(0.02 / 500)
    assert np.all(np.diff(plan.first) >= 0)
    assert plan.first[-1] * 0.02 == pytest.approx(500 / 250, abs=0.05)
    assert plan.steady > plan.first.max()


def test_calls_come_and_go_without_ever_being_more():
    plan, _, pairs, over = sent(Traffic(20, 5.0, churn=8.0))
    assert 30 < plan.calls <= 60
    assert len(set(plan.ssrc.tolist())) == plan.calls
    for frame in range(plan.frames):
        on = (plan.first <= frame) & (frame < plan.last)
        places = plan.place[on]
        assert len(set(places.tolist())) == len(places)
    assert sorted(over) == list(range(plan.calls))
    assert len(pairs) == (plan.last - plan.first).sum()


def test_what_is_late_or_out_of_order_is_sent_all_the_same():
    plan, _, pairs, _ = sent(Traffic(10, 3.0, reorder=0.2, jitter_ms=15.0))
    assert len(pairs) == len(set(pairs)) == (plan.last - plan.first).sum()
    one = [p for s, p in pairs if s == 3]
    assert one != sorted(one)


def test_what_is_lost_is_counted():
    plan, schedule, pairs, _ = sent(Traffic(20, 10.0, loss=0.1))
    due = int((plan.last - plan.first).sum())
    assert schedule.withheld + len(pairs) == due
    assert schedule.withheld / due == pytest.approx(0.1, abs=0.02)
    firsts = [min(p for s, p in pairs if s == serial) for serial in range(20)]
    assert schedule.heard_from.tolist() == firsts


@pytest.mark.parametrize("burst", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_losses_have_the_share_that_was_asked_for_and_their_bursts_the_length(share, burst):
    losses, calls = Losses(400, share, burst, seed=1), np.arange(400)
    lost = np.array([losses.next(calls) for _ in range(2000)])
    assert lost.mean() == pytest.approx(share, rel=0.1)
    lengths = lost.sum() / np.maximum((lost[1:] & ~lost[:-1]).sum() + lost[0].sum(), 1)
    assert lengths == pytest.approx(Losses.BURST if burst else 1 / (1 - share), rel=0.1)


@pytest.mark.parametrize("codec", ["pcmu", "pcma"])
def test_g711_is_encoded_to_the_nearest_value(codec):
    name = codec.upper()
    codes = encode(codec, TABLES[name].astype(np.float32) / 32768)
    assert np.array_equal(TABLES[name][codes], TABLES[name])
    x = np.random.default_rng(0).uniform(-0.9, 0.9, 5000).astype(np.float32)
    near = np.abs(TABLES[name][None].astype(float) - np.round(x * 32768)[:, None]).min(1)
    assert np.abs(TABLES[name][encode(codec, x)] - np.round(x * 32768)).max() <= near.max()


def test_resampling_whole_clips_keeps_their_length_and_pitch():
    t = np.arange(16000) / 16000
    there = at_rate(np.sin(2 * np.pi * 500 * t).astype(np.float32), 16000, 8000)
    assert len(there) == 8000
    assert np.abs(there[100:-100] - np.sin(2 * np.pi * 500 * t[::2])[100:-100]).max() < 1e-3


def test_the_packets_on_the_wire_are_the_speech():
    traffic = Traffic(3, 1.0, seed=5)
    plan = Plan(traffic)
    speech = encode("pcmu", babble(bundled_clips()[:1], 8000))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(20)
        sock.connect(listener.getsockname())
        packets = Packets(sock, plan, traffic, speech)
        packets.send(np.array([0, 1, 2, 0]), np.array([0, 0, 0, 1]))
        packets.goodbye(np.array([1]))
        heard = [listener.recv(2048) for _ in range(5)]
    assert packets.sent == 4
    batch = Batch.of([(data, ("127.0.0.1", 1)) for data in heard[:4]])
    headers = parse(batch.data, batch.length, batch.truncated)
    assert headers.ssrc.tolist() == plan.ssrc[[0, 1, 2, 0]].tolist()
    assert (int(headers.sequence[3]) - int(headers.sequence[0])) % 65536 == 1
    assert (int(headers.time[3]) - int(headers.time[0])) % 2**32 == 160
    assert headers.size.tolist() == [160] * 4
    twice = np.concatenate((speech, speech)).tobytes()
    assert heard[0][12:] + heard[3][12:] in twice
    assert heard[4][1] == 201
    assert heard[4][9] == 203
    assert decode_g711("PCMU", np.frombuffer(heard[0][12:], np.uint8)).any()


@pytest.mark.parametrize(
    "wrong", [{"streams": 0}, {"codec": "mp3"}, {"loss": 1.0}, {"streams": 2, "churn": 50.0}]
)
def test_traffic_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError):
        Traffic(**{"streams": 10, **wrong})


def test_calls_by_levels_begin_and_end_with_them():
    plan, _, pairs, over = sent(Traffic(30, 4.0, levels=(10, 30, 20, 5, 8)))
    length = plan.frames // 5
    for level, wanted in enumerate((10, 30, 20, 5, 8)):
        frame = (level + 1) * length - 1
        assert np.count_nonzero((plan.first <= frame) & (frame < plan.last)) == wanted
    assert plan.calls == 30 + 3  # places 5 to 7 are taken twice
    assert sorted(over) == list(range(plan.calls))
    assert len(pairs) == (plan.last - plan.first).sum()


def test_levels_of_other_numbers_are_refused():
    with pytest.raises(ConfigError, match="the most of them"):
        Traffic(30, levels=(10, 20))
