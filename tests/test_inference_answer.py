"""From window and counters to a Prediction: what is named, in which state, and what is left out where nobody spoke."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcab.inference.answer import WARM_S, PredictionBuilder, Standing, Standings
from streamcab.inference.window import Window
from streamcab.nn.cabcnn import Architecture
from streamcab.nn.confidence import Confidence

ARCH = Architecture(("au", "uk", "us"), classifiers=2)
WARM = round(WARM_S / ARCH.interval_s)
"""Voiced intervals after which an answer is live."""
C = (0.2, 0.7, 0.1)


def standing(name="mic", **fields):
    given = {"time": 12.5, "sample": 8000, "rate": 8000, "power": 0.01}
    given |= {"lag_ms": 70.04, "lost_ms": 1.26, "overflows": 3}
    return Standing(name, **given | fields)


def window(*streams, length=100):
    """A window of one slot for each: how many intervals it has heard, and whether they voted."""
    found = Window(len(streams), len(ARCH.labels), ARCH.classifiers, length, 40)
    for slot, (n, voted) in enumerate(streams):
        if n:
            c = np.tile(np.float32(C), (1, n, 1))
            alpha = np.tile(np.float32((0.25, 0.75)), (1, n, 1))
            found.add(np.array([slot]), np.zeros(1, np.int64), c, alpha, np.full((1, n), voted))
    return found


def answers(of, standings, attention=True, confidence=None, slots=None):
    made = PredictionBuilder(ARCH, "5f0c", *([confidence] if confidence else []))
    slots = np.arange(len(standings)) if slots is None else np.array(slots)
    return list(made.of(of.read(slots, attention=attention), standings))


def test_an_answer_names_what_the_window_means():
    (p,) = answers(window((WARM, True)), [standing()])
    assert p.labels == ["au", "uk", "us"]
    assert p.probs == pytest.approx(dict(zip(p.labels, C, strict=True)))
    assert p.now == pytest.approx(p.probs)
    assert (p.top, p.confidence) == ("uk", pytest.approx(0.7))
    assert p.attention == [0.25, 0.75]
    assert (p.window_s, p.voiced_s, p.heard_s) == (2.0, 2.0, 2.0)
    assert (p.stream, p.model, p.time, p.sample, p.rate) == ("mic", "5f0c", 12.5, 8000, 8000)
    assert (p.lag_ms, p.lost_ms, p.overflows, p.level_db) == (70.0, 1.3, 3, -20.0)


def test_where_nobody_spoke_there_is_no_answer():
    (p,) = answers(window((WARM, False)), [standing(power=0.0)], confidence=Confidence(1.0, 0.5))
    assert (p.probs, p.now, p.top, p.confidence, p.sure, p.attention) == ({}, {}, None, None, None, None)
    assert (p.window_s, p.voiced_s, p.heard_s) == (2.0, 0.0, 0.0)
    assert p.level_db is None


@pytest.mark.parametrize(
    ("intervals", "voted", "state"),
    [(0, True, "warming"), (WARM - 1, True, "warming"), (WARM, True, "live"), (WARM, False, "silent")],
)
@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("ended", [False, True])
def test_a_state_is_that_of_the_window_unless_the_source_is_gone_or_all_is_over(
    intervals, voted, state, lost, ended
):
    (p,) = answers(window((intervals, voted)), [standing(lost=lost, ended=ended)])
    assert p.state == ("ended" if ended else "lost" if lost else state)


def test_a_stream_that_has_left_the_window_is_silent_and_remembers_how_much_it_said():
    of = window((WARM, True), length=40)
    nothing = np.zeros((1, 40), np.bool_)
    c, alpha = np.zeros((1, 40, 3), np.float32), np.zeros((1, 40, 2), np.float32)
    of.add(np.array([0]), np.array([WARM]), c, alpha, nothing)
    (p,) = answers(of, [standing()])
    assert (p.state, p.voiced_s, p.heard_s) == ("silent", 0.0, 2.0)


def test_attention_is_left_out_where_nobody_wants_it():
    (p,) = answers(window((WARM, True)), [standing()], attention=False)
    assert p.attention is None


@pytest.mark.parametrize(("below", "sure"), [(None, None), (0.69, True), (0.71, False)])
def test_whether_to_believe_it_is_said_only_where_a_threshold_was_chosen(below, sure):
    (p,) = answers(window((WARM, True)), [standing()], confidence=Confidence(1.0, below))
    assert p.sure is sure


def test_a_temperature_changes_confidence_and_the_newest_second_and_no_label():
    (bare,) = answers(window((WARM, True)), [standing()])
    (hot,) = answers(window((WARM, True)), [standing()], confidence=Confidence(3.0))
    assert hot.top == bare.top
    assert hot.confidence < bare.confidence
    assert hot.now["uk"] == pytest.approx(hot.confidence)


@given(st.permutations([0, 1, 2]))
def test_each_slot_is_answered_from_its_own_window_whatever_the_order(slots):
    of = window((WARM, True), (WARM, False), (0, True))
    states = ["live", "silent", "warming"]
    found = answers(of, [standing(f"call-{slot}") for slot in slots], slots=slots)
    assert [(p.stream, p.state) for p in found] == [(f"call-{slot}", states[slot]) for slot in slots]


def test_standings_one_by_one_and_as_columns_are_the_same():
    some = [standing("a"), standing("b", power=0.0, lost=True), standing("c", ended=True)]
    of = window((WARM, True), (3, True), (5, False))
    assert answers(of, some) == list(
        PredictionBuilder(ARCH, "5f0c").of(of.read(np.arange(3), attention=True), Standings.of(some))
    )
