"""The programme of a rehearsal: the same in every period, within it, and known again by the names of its streams."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from streamcab.errors import ConfigError
from streamcab.soak.programme import (
    LONGEST_S,
    PAUSE_S,
    SHORTEST_S,
    TAPE_RATE,
    TAPE_S,
    TICK_S,
    PlannedCalls,
    Tape,
    identity,
    plan,
)


@pytest.mark.parametrize("period_s", [240.0, 3600.0])
def test_in_each_place_calls_follow_one_another_and_none_outlasts_the_period(period_s):
    calls = plan(4, period_s)
    for place in range(4):
        own = [call for call in calls if call.place == place]
        assert [call.number for call in own] == list(range(len(own)))
        for before, after in pairwise(own):
            assert after.first >= before.first + before.ticks + round(PAUSE_S / TICK_S) - 1
        assert own[-1].first + own[-1].ticks < period_s / TICK_S
        assert all(SHORTEST_S - TICK_S <= call.ticks * TICK_S <= LONGEST_S + TICK_S for call in own)


def test_a_plan_is_the_same_each_time():
    assert plan(3, 600.0) == plan(3, 600.0)


def test_a_period_that_cuts_the_tape_is_refused():
    with pytest.raises(ConfigError, match="multiple of 120"):
        PlannedCalls(1, 200.0)


def test_calls_come_under_names_that_tell_place_and_number_in_every_period():
    period_s, heard = 120.0, []
    calls = PlannedCalls(2, period_s)
    for tick in range(2 * round(period_s / TICK_S)):
        calls.tick(tick, tick * TICK_S)
        for line in calls.streams():
            heard.append((tick * TICK_S // period_s, line.name, identity(line.name)))
            calls.release(line)
    planned = sorted((call.place, call.number) for call in plan(2, period_s))
    for period in (0, 1):
        assert sorted(who for p, _, who in heard if p == period) == planned
    assert max(Counter(name for _, name, _ in heard).values()) == 1
    assert calls.begun == len(heard) == 2 * len(planned)


def test_some_packets_of_a_call_are_lost_and_some_change_places():
    calls = PlannedCalls(1, 120.0)
    for tick in range(600):
        calls.tick(tick, tick * TICK_S)
    counters = calls.counters()
    assert counters["lost_packets"] > 0
    assert counters["received"] == counters["accepted"]
    sent = sum(call.ticks for call in plan(1, 120.0))
    assert counters["received"] < sent
    assert calls.heard_s(1) == pytest.approx(sent * TICK_S)


def test_other_streams_have_no_place():
    assert identity("microphone") is None


def test_the_tape_goes_round_to_the_sample():
    tape, n = Tape(), round(TICK_S * TAPE_RATE)
    ticks = round(TAPE_S / TICK_S)
    bank, row = tape.line.bank, np.zeros(1, np.intp)
    heard = []
    for tick in (3, 3 + ticks):
        tape.tick(tick, tick * TICK_S)
        heard.append(bank.read(row, bank.written[row] - n, n)[0])
    assert np.array_equal(*heard)
    assert heard[0].any()
    assert tape.streams() == [tape.line]
    assert tape.streams() == []


def test_the_tape_has_talk_silence_tones_music_and_noise():
    tape = Tape()._tape
    power = (tape.reshape(-1, TAPE_RATE) ** 2).mean(1)
    silent = np.flatnonzero(power == 0)
    assert len(silent) > 10
    assert silent[-1] == TAPE_S - 35
    busy, music = (
        np.abs(np.fft.rfft(tape[-a * TAPE_RATE : -b * TAPE_RATE])) for a, b in ((34, 28), (28, 20))
    )
    assert {round(k / 6) for k in np.argsort(busy)[-2:]} == {480, 620}
    assert np.count_nonzero(music > 0.05 * music.max()) > 20


def test_calls_pause_without_losing_anything():
    calls, silences = PlannedCalls(1, 240.0), 0
    for tick in range(1200):
        calls.tick(tick, tick * TICK_S)
        for line in calls.streams():
            at = line.bank
        if tick > 100:
            silences = max(silences, int(at.silence_to[0] - at.silence_from[0]))
    assert silences == pytest.approx(1.6 * 8000, abs=1600)
    # Only what is left out on purpose counts as lost.
    sent = sum(call.ticks for call in plan(1, 240.0))
    assert calls.counters()["lost_packets"] <= sent / 97 + 1
