"""Birth and death of calls: probation, goodbye, idleness, a new SSRC, a full table, a flood."""

import tracemalloc

import numpy as np
import pytest
from rtp_peer import HERE, Talker, bye, feed, heard, intake, packet, sdes, started

from streamcab.rtp.allow import AllowList
from streamcab.rtp.batch import Batch, pack_address
from streamcab.rtp.endings import GOODBYE_S
from streamcab.rtp.events import CallEnded
from streamcab.rtp.intake import REPORTS
from streamcab.rtp.rtcp import Bye, Name, reports
from streamcab.rtp.table import State


def speak(call, talkers, count, now, tick=0.02):
    """Each talker's next `count` packets, a batch per tick; returns the time after."""
    for _ in range(count):
        feed(call, [talker.say(bytes(160)) for talker in talkers], now)
        call.sweep(now)
        now += tick
    return now


def ended(call):
    return [(event.slot, event.reason) for event in call.events if isinstance(event, CallEnded)]


def test_five_packets_make_a_call():
    call = intake()
    now = speak(call, [Talker()], 4, 1.0)
    assert not started(call)
    talker = Talker(ssrc=5)
    speak(call, [talker], 5, now)
    (event,) = started(call)
    assert (event.host, event.port, event.ssrc, event.kind) == ("127.0.0.1", 4000, 5, 0)


def test_probation_runs_out():
    call = intake(slots=1)
    now = speak(call, [Talker()], 3, 1.0)
    call.sweep(now + 2.5)
    assert call.table.state[0] == State.FREE
    speak(call, [Talker(ssrc=7)], 5, now + 3)
    assert started(call)[0].ssrc == 7


@pytest.mark.parametrize("rtcp_port", [4000, 4001, 31337])
def test_goodbye_ends_a_call_when_the_last_packets_are_in(rtcp_port):
    call = intake()
    talker = Talker()
    now = speak(call, [talker], 10, 1.0)
    last = talker.say(bytes(160))
    feed(call, [(bye(talker.ssrc), ("127.0.0.1", rtcp_port)), last], now)
    call.sweep(now)
    (event,) = started(call)
    call.sweep(now + GOODBYE_S - 0.01)
    assert not event.bank.ended[event.slot]
    call.sweep(now + GOODBYE_S)
    assert event.bank.ended[event.slot]
    assert len(heard(event.bank, event.slot)) == 11 * 160
    assert ended(call) == [(event.slot, "the sender said goodbye")]


def test_a_flood_of_reports_costs_a_few_looks_a_batch_and_all_are_counted():
    call = intake()
    flood = [(sdes(k, b"caller"), ("127.0.0.1", 4001)) for k in range(10 * REPORTS)]
    for now in (1.0, 2.0):
        feed(call, flood, now)
    assert sum(isinstance(event, Name) for event in call.events) == 2 * REPORTS
    assert call.counters()["rtcp"] == 20 * REPORTS


def test_goodbye_from_elsewhere_or_of_another_changes_nothing():
    call = intake()
    talker = Talker()
    now = speak(call, [talker], 10, 1.0)
    feed(call, [(bye(talker.ssrc), ("127.0.0.9", 4001)), (bye(999), ("127.0.0.1", 4001))], now)
    call.sweep(now + 1)
    assert not ended(call)


def test_goodbye_ends_one_of_many_calls_with_the_same_ssrc():
    """sipp plays one capture file in every call: the same SSRC from one port each."""
    call = intake()
    talkers = [Talker(source=("127.0.0.1", 4000 + 2 * k)) for k in range(3)]
    now = speak(call, talkers, 10, 1.0)
    feed(
        call, [(bye(talkers[0].ssrc), ("127.0.0.1", 4003)), (bye(talkers[0].ssrc), ("127.0.0.1", 9999))], now
    )
    call.sweep(now + GOODBYE_S)
    assert len(ended(call)) == 1
    (gone,) = [event for event in started(call) if event.slot == ended(call)[0][0]]
    assert gone.port == 4002


def test_an_ended_call_keeps_its_row_until_it_is_released():
    call = intake(slots=1)
    talker = Talker()
    now = speak(call, [talker], 10, 1.0)
    call.sweep(now + 10)
    (event,) = started(call)
    assert event.bank.ended[event.slot]
    assert ended(call) == [(event.slot, "no packet for 10 s")]
    now = speak(call, [Talker(ssrc=2)], 10, now + 10)
    assert call.counters()["refused_full"] == 10
    assert len(heard(event.bank, event.slot)) == 1600
    call.release(event.slot, event.generation)
    now = speak(call, [Talker(ssrc=3)], 10, now)
    call.release(event.slot, event.generation)  # twice, and too late: it is another's now
    _, second = started(call)
    assert second.ssrc == 3
    assert second.generation != event.generation
    assert not second.bank.ended[second.slot]
    assert second.bank.skipped[second.slot] == 0
    call.sweep(now + 0.1)
    assert len(heard(second.bank, second.slot)) == 1600
    assert call.table.state[0] == State.LIVE
    call.sweep(now + 10)
    call.release(event.slot, event.generation)  # again, while the other waits for its reader
    assert call.table.state[0] == State.ENDED
    call.release(second.slot, second.generation)
    assert call.table.state[0] == State.FREE


@pytest.mark.parametrize("rtcp_port", [4000, 4001, 31337])
@pytest.mark.parametrize("gap", [0.0, 0.3, 0.9])
def test_a_goodbye_while_packets_go_on_changes_nothing(rtcp_port, gap):
    """A hold, a replaced track, or a goodbye of another leg of the same host."""
    call, talker = intake(), Talker()
    now = speak(call, [talker], 10, 1.0)
    feed(call, [(bye(talker.ssrc), ("127.0.0.1", rtcp_port))], now)
    talker.time += int(8000 * gap)
    now = speak(call, [talker], 120, now + gap)
    call.sweep(now + 3.0)  # a pause, long after the goodbye
    assert not ended(call)
    assert len(started(call)) == 1


@pytest.mark.parametrize("seconds", [0.5, 2.6, 9.0])
def test_an_announcement_under_another_ssrc_ends_nothing(seconds):
    call, talker, other = intake(), Talker(), Talker(ssrc=0xABCD, sequence=7, time=5)
    now = speak(call, [talker], 50, 1.0)
    now = speak(call, [other], int(seconds * 50), now)
    talker.time += int(seconds * 50) * 160
    now = speak(call, [talker], 50, now)
    first, second = started(call)
    assert not ended(call)
    assert first.bank.skipped[first.slot] == 0
    call.sweep(now + 0.1)
    voiced = ~np.isnan(heard(first.bank, first.slot))
    assert voiced[-50 * 160 :].all()
    assert len(voiced) == (100 + int(seconds * 50)) * 160
    call.sweep(now + 10 - 1.0)
    assert [slot for slot, _ in ended(call)] == ([second.slot] if seconds > 0 else [])


def test_many_calls_from_one_port_do_not_end_each_other():
    """sipp sends all calls from one port, told apart by their SSRC."""
    call = intake(slots=50)
    talkers = [Talker(ssrc=k) for k in range(50)]
    speak(call, talkers, 300, 1.0)
    assert len(started(call)) == 50
    assert not ended(call)


def test_the_same_ssrc_from_two_ports_is_two_calls():
    call = intake()
    speak(call, [Talker(), Talker(source=("127.0.0.1", 4002)), Talker(source=("127.0.0.2", 4000))], 10, 1.0)
    assert len(started(call)) == 3


def test_when_full_newcomers_are_refused_and_counted():
    call = intake(slots=2)
    talkers = [Talker(ssrc=k) for k in range(2)]
    now = speak(call, talkers, 10, 1.0)
    now = speak(call, [*talkers, Talker(ssrc=99)], 10, now)
    assert len(started(call)) == 2
    assert call.counters()["refused_full"] == 10
    assert call.counters()["accepted"] == 40


def test_newcomers_on_probation_make_room():
    call = intake(slots=2)
    now = speak(call, [Talker(ssrc=k) for k in range(2)], 1, 1.0)
    talkers = [Talker(ssrc=10 + k) for k in range(2)]
    speak(call, talkers, 10, now + 0.1)
    assert [event.ssrc for event in started(call)] == [10, 11]
    assert call.counters()["evicted"] == 2


def test_a_flood_of_a_hundred_thousand_sources_leaves_calls_alone_and_memory_flat():
    call = intake(slots=200)
    talkers = [Talker(ssrc=k, source=("127.0.0.1", 6000 + k)) for k in range(50)]
    now = speak(call, talkers, 10, 1.0)
    flood = iter(range(10**6, 10**6 + 100_000))
    late = Talker(ssrc=77, source=("127.0.0.1", 7000))
    peak = []
    tracemalloc.start()
    for k in range(100):
        bad = [(packet(1, 1, bytes(160), ssrc=next(flood)), HERE) for _ in range(1000)]
        feed(call, [talker.say(bytes(160)) for talker in [*talkers, late]] + bad, now)
        call.sweep(now)
        now += 0.02
        if k in (20, 99):
            peak.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert peak[1] < peak[0] + 200_000
    assert len(started(call)) == 51  # a real call gets in during the flood
    call.sweep(now + 0.06)
    for event in started(call)[:50]:
        got = heard(event.bank, event.slot)
        assert len(got) == 110 * 160
        assert not np.isnan(got).any()
        assert event.bank.skipped[event.slot] == 0
    counts = call.counters()
    assert counts["refused_full"] > 50_000
    assert counts["received"] == 100_000 + 50 * 110 + 100


def test_many_rtcp_packets_cost_little_and_tell_nothing_wrong():
    call = intake()
    now = speak(call, [Talker()], 10, 1.0)
    feed(call, [(bye(5), HERE)] * 1000, now)
    assert call.counters()["rtcp"] == 1000
    assert not ended(call)


def test_the_rtcp_socket_makes_no_calls():
    call = intake(rtcp_from=1)
    talker = Talker()
    feed(call, [talker.say(bytes(160)) for _ in range(10)], 1.0, port=1)
    assert not started(call)
    assert call.counters()["malformed"] == 10


def test_allow_list():
    call = intake(allow=AllowList(["10.0.0.0/8", "2001:db8::/32"]))
    talkers = [Talker(ssrc=k, source=(host, 5000)) for k, host in enumerate(["10.1.2.3", "11.1.2.3"])]
    talkers += [
        Talker(ssrc=9 + k, source=(host, 5000)) for k, host in enumerate(["2001:db8:7::1", "2001:db9::1"])
    ]
    speak(call, talkers, 10, 1.0)
    assert {event.host for event in started(call)} == {"10.1.2.3", "2001:db8:7::1"}
    assert call.counters()["not_allowed"] == 20


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("0.0.0.0/0", "255.1.2.3", "::1"),
        ("::/0", "ff::1", "1.2.3.4"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
        ("2001:db8::/72", "2001:db8::00ff:0:0:1", "2001:db8:0:0:100::"),
    ],
)
def test_networks(network, inside, outside):
    name = np.frombuffer(pack_address(inside, 1) + pack_address(outside, 1), np.uint64).reshape(2, 4)
    assert AllowList([network]).match(name).tolist() == [True, False]


def test_names_and_goodbyes_are_read_and_damage_is_not():
    compound = sdes(7, b"alice@pbx") + bye(7, 8)
    assert list(reports(compound, "h")) == [Name("h", 7, "alice@pbx"), Bye("h", 7), Bye("h", 8)]
    for cut in range(len(compound)):
        assert len(list(reports(compound[:cut], "h"))) <= 2
    rng = np.random.default_rng(3)
    for _ in range(3000):
        damaged = bytearray(compound)
        for at in rng.integers(0, len(compound), 3):
            damaged[at] = int(rng.integers(256))
        assert len(list(reports(bytes(damaged), "h"))) <= 60


def test_a_batch_of_both_families():
    call = intake()
    talkers = [Talker(source=("127.0.0.1", 4000)), Talker(source=("::1", 4000)), Talker(source=("::2", 4000))]
    batch = Batch.of([talker.say(bytes(160)) for talker in talkers for _ in range(6)])
    assert batch.wide
    call.feed(batch, 1.0)
    assert sorted(event.host for event in started(call)) == ["127.0.0.1", "::1", "::2"]


@pytest.mark.parametrize("kept", [2500, 100])
def test_after_a_suspension_a_call_goes_on_where_the_clock_says(kept):
    """50 s of packets waited in the socket, all of them or as many as it holds, and come all at once."""
    call = intake(idle_s=5.0)
    talker = Talker()
    now = speak(call, [talker], 100, 1.0)
    (event,) = started(call)
    waited = [talker.say(bytes(160)) for _ in range(2500)]
    now += 50
    for k in range(0, kept, 1000):
        feed(call, waited[k : min(k + 1000, kept)], now)
    call.sweep(now)
    now = speak(call, [talker], 50, now)
    call.sweep(now + 0.1)
    assert not ended(call)
    counts = call.counters()
    assert (counts["jumped"], counts["restarts"], counts["late"]) == (0, 0, 0)
    assert event.bank.written[event.slot] == (100 + 2500 + 50) * 160
    assert event.bank.skipped[event.slot] == (2500 - kept) * 160
    assert counts["lost_packets"] == 2500 - kept
