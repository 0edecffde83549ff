"""What told in a call: seconds left out of the mean, answers that moved, and bounds."""

from math import log

import pytest

from streamcab.web.told import KEPT, Said, moved


def said(*seconds: tuple[float, ...], temperature: float = 1.0) -> Said:
    one = Said(2)
    for second, now in enumerate(seconds):
        one.put(second + 1.2, now, temperature)
    return one


def test_a_second_moves_the_answer_by_what_is_lost_without_it() -> None:
    found = said((0.8, 0.2), (0.5, 0.5), (0.2, 0.8)).told(0, 30.0, 1.0)
    assert found is not None
    assert found["t"] == [0.0, 1.0, 2.0]
    # The mean of all is even; without the first it is 0.35 to 0.65.
    assert found["moved"] == [
        pytest.approx(-log(0.35 / 0.65), abs=1e-3),
        0.0,
        pytest.approx(log(0.35 / 0.65), abs=1e-3),
    ]


def test_the_temperature_belongs_to_the_mean() -> None:
    sharp = tuple(p**2 / (0.6**2 + 0.4**2) for p in (0.6, 0.4))  # as a model of temperature 0.5 would say it
    found = said(sharp, (0.5, 0.5), temperature=0.5).told(0, 30.0, 0.5)
    assert found is not None
    # The mean of 0.6 and 0.5 is 0.55, whose log-odds the temperature doubles.
    assert found["moved"][0] == pytest.approx(2 * log(0.55 / 0.45), abs=0.02)


def test_pauses_say_nothing_and_a_second_is_noted_once() -> None:
    one = Said(2)
    for tenth in range(10, 50):
        one.put(tenth / 10, () if 20 <= tenth < 30 else (0.9, 0.1), 1.0)
    one.put(2.5, (0.1, 0.9), 1.0)  # late
    found = one.told(0, 30.0, 1.0)
    assert found is not None
    assert found["t"] == [0.0, 2.0, 3.0]


def test_each_voice_is_told_by_what_it_has_said_itself() -> None:
    one = Said(2)
    for second, voice in enumerate((1, 1, 1, 2, 2, 1)):
        one.put(second + 1, (0.1, 0.9) if voice == 2 else (0.9, 0.1), 1.0, voice)
    first, second = one.told(0, 30.0, 1.0, 1), one.told(1, 30.0, 1.0, 2)
    assert first is not None
    assert second is not None
    assert (first["t"], second["t"]) == ([0.0, 1.0, 2.0, 5.0], [3.0, 4.0])
    assert first["moved"] == [0.0] * 4, "what the other said is no part of its answer"


def test_only_the_window_is_told_of_and_no_more_than_is_kept() -> None:
    one = said(*[(0.6, 0.4)] * 500)
    window, long = one.told(0, 30.0, 1.0), one.told(0, 900.0, 1.0)
    assert window is not None
    assert long is not None
    assert (len(window["t"]), window["t"][-1]) == (30, 499.0)
    assert len(long["t"]) == KEPT


def test_where_there_is_no_answer_nothing_told() -> None:
    assert said((0.6, 0.4), (0.6, 0.4)).told(None, 30.0, 1.0) is None
    assert said((0.6, 0.4)).told(0, 30.0, 1.0) is None
    assert moved([0.0], [10.0], [[150, 50]], 0) is None
    assert moved([0.0, 10.0], [10.0, 10.0], [[150, 50], [150, 50]], None) is None


def test_probabilities_of_zero_and_one_are_survived() -> None:
    found = said((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)).told(0, 30.0, 1.0)
    assert found is not None
    assert found["moved"][0] > 0 > found["moved"][1]


def test_an_answer_moves_from_one_stretch_to_the_next() -> None:
    found = moved([0.0, 10.0, 20.0], [10.0, 10.0, 5.0], [[100, 100], [], [150, 50]], 0)
    assert found is not None
    assert (found["t"], found["step"]) == ([0.0, 20.0], [10.0, 5.0])
    assert found["moved"] == [0.0, pytest.approx(log(3), abs=1e-3)]
