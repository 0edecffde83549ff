"""Duty: which streams rest when there is not time for all, and who never does."""

import numpy as np
import pytest
from serving import Hand

from streamcab.audio.ring import Bank
from streamcab.daemon.duty import CALM_S, LEAST, SHORTEST_S, SPARE, SPEECH_S, SPELL_S, Duty
from streamcab.daemon.streams import StreamTable
from streamcab.message import Prediction
from streamcab.nn.architecture import Architecture
from streamcab.source import Line

LABELS = ["us", "uk"]


def answer(top: str | None = "us", heard_s: float = 60.0, *, sure: bool = True) -> Prediction:
    return Prediction(
        stream="x", time=0.0, sample=1, rate=8000, labels=LABELS, probs={}, now={}, top=top, confidence=0.9,
        state="live", window_s=30.0, voiced_s=30.0, heard_s=heard_s, level_db=-20.0, lag_ms=1.0, lost_ms=0.0,
        overflows=0, model="m", sure=sure,
    )  # fmt: skip


def table(n: int) -> StreamTable:
    """n streams with a pace."""
    streams, bank = StreamTable(Architecture(tuple(LABELS)), n), Bank(8000, n, 1)
    for row in range(n):
        streams.join(Line(f"call-{row}", bank, row, "by hand"), Hand(rows=1, seconds=1), 0.0)
    return streams


class Calls:
    """Calls that all began at time 0 and have had an answer since; those of `new` have hardly spoken."""

    def __init__(self, n: int, new: int = 0, now: float = 100.0) -> None:
        self.streams = table(n)
        self.duty = Duty(self.streams)
        self.new = set(range(n - new, n))
        for at in (0.0, now):
            self.judge(at)

    def judge(self, now: float) -> None:
        for slot in self.streams.slots.tolist():
            self.duty.judge(slot, answer(heard_s=3.0 if slot in self.new else 60.0), now)

    @property
    def resting(self) -> list[int]:
        return np.flatnonzero(self.streams.resting).tolist()


def test_with_room_for_all_nobody_rests() -> None:
    calls = Calls(10)
    calls.duty.balance(10.0, 100.0)
    assert calls.resting == []
    assert calls.duty.in_words() == ""


def test_as_many_rest_as_there_is_no_room_for() -> None:
    calls = Calls(10)
    calls.duty.balance(7.5, 100.0)
    assert len(calls.resting) == 3
    assert calls.duty.hearing == 7
    assert "3 rest in turns" in calls.duty.in_words()


def test_who_has_not_spoken_for_long_never_rests() -> None:
    calls = Calls(10, new=6)
    calls.duty.balance(1.0, 100.0)
    assert calls.resting == [0, 1, 2, 3]


def test_whose_answer_has_just_changed_is_heard() -> None:
    calls = Calls(3)
    calls.duty.judge(1, answer("uk"), 100.0 - CALM_S / 2)
    calls.duty.judge(1, answer("uk"), 100.0)
    calls.duty.balance(0.0, 100.0)
    assert calls.resting == [0, 2]
    calls.duty.judge(1, answer("uk"), 100.0 + CALM_S)
    calls.duty.balance(0.0, 100.0 + CALM_S)
    assert 1 in calls.resting


def test_the_sure_rest_first() -> None:
    calls = Calls(4)
    for slot in (0, 2):
        calls.duty.judge(slot, answer(sure=False), 100.0)
    calls.duty.balance(2.0, 100.0)
    assert calls.resting == [1, 3]


def test_when_there_is_room_again_all_are_heard_after_the_shortest_rest() -> None:
    calls = Calls(9)
    calls.duty.balance(3.0, 100.0)
    calls.duty.balance(9.0, 100.0 + SHORTEST_S / 2)
    assert len(calls.resting) == 6
    calls.duty.balance(9.0, 100.0 + SHORTEST_S)
    assert calls.resting == []
    assert (calls.streams.turn[calls.streams.slots] <= 100.0 + SHORTEST_S).all()
    assert (calls.streams.duty[calls.streams.slots] < 1).any()
    calls.duty.balance(9.0, 100.0 + SHORTEST_S + SPEECH_S)
    assert (calls.streams.duty[calls.streams.slots] == 1).all()


@pytest.mark.parametrize("seed", range(8))
def test_spells_are_whole_however_much_room_there_is(seed: int) -> None:
    random = np.random.default_rng(seed)
    calls, was = Calls(30, new=seed), set[int]()
    began = dict.fromkeys(range(30), 0.0)  # of the spell or rest under way
    room = 30.0
    for tick in range(400):
        now = 100.0 + tick * 0.25
        room = float(random.uniform(0, 40)) if random.random() < 0.05 else room
        calls.duty.balance(room, now)
        after = set(calls.resting)
        assert not after & calls.new
        assert all(now - began[slot] >= SPELL_S for slot in after - was)
        if SPARE * room < 30:
            assert all(now - began[slot] >= SHORTEST_S for slot in was - after)
        began.update(dict.fromkeys(after ^ was, now))
        was = after
    assert any(began.values())


@pytest.mark.parametrize("room", [11, 12, 15, 24])
def test_all_that_can_rest_do_so_in_turns(room: int) -> None:
    calls = Calls(30)
    heard = np.zeros(30)
    for tick in range(2400):
        calls.duty.balance(room, 100.0 + tick * 0.25)
        heard += ~calls.streams.resting
    assert heard.sum() == 2400 * room
    np.testing.assert_allclose(heard / 2400, room / 30, atol=0.1)


def test_what_is_sustained_is_a_third_of_those_that_can_rest() -> None:
    calls = Calls(10, new=4)
    assert calls.duty.sustained() == pytest.approx(4 + 6 * LEAST)


def test_room_is_made_by_one_stream_or_none() -> None:
    calls = Calls(2, new=1)
    assert calls.duty.make_room(100.0)
    assert calls.resting == [0]
    assert not calls.duty.make_room(100.0)


def test_who_brings_no_audio_takes_no_room() -> None:
    calls = Calls(10)
    calls.duty.balance(6.0, 100.0)
    assert len(calls.resting) == 4
    calls.streams.flows[:4] = False
    calls.duty.balance(6.0, 100.0 + SHORTEST_S)
    assert calls.resting == []
    assert calls.duty.hearing == 6


def test_with_time_to_spare_nobody_waits_for_the_end_of_a_rest() -> None:
    calls = Calls(10)
    calls.duty.balance(6.0, 100.0)
    calls.duty.balance(10.0, 100.5)
    assert len(calls.resting) == 4  # the machine could be full again at once
    calls.duty.balance(20.0, 101.0)
    assert calls.resting == []
