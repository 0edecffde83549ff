"""The course of a call: what a point holds, coarser points for what is old, and a bound."""

import pytest

from streamcab.web.course import FULL, LEVELS, Course


def test_a_point_holds_the_newest_answer_of_its_second() -> None:
    course = Course(2)
    course.put(0.2, [0.5, 0.5], "silence", -40.2, [])
    course.put(0.9, [0.25, 0.75], "speech", -60.0, ["noisy"])
    course.put(1.1, [], "sound", None, [])
    points = course.points()
    assert points["t"] == [0.0, 1.0]
    assert points["probs"] == [[FULL // 4, 3 * FULL // 4], []]
    assert points["hears"] == [0, 1]
    assert points["db"] == [-40, None]
    assert points["flaws"] == [1, 0]
    assert course.flaws == ["noisy"]


def test_what_is_old_is_coarser_and_nothing_is_missing_or_there_twice() -> None:
    course = Course(1)
    for second in range(5_000):
        course.put(second + 0.5, [second / 5_000], "speech", -20.0)
    points = course.points()
    ends = [t + step for t, step in zip(points["t"], points["step"], strict=True)]
    assert points["t"][0] == 0.0
    assert ends[:-1] == points["t"][1:]
    assert ends[-1] == 5_000
    assert set(points["step"]) >= {1.0, 10.0, 60.0}
    assert points["step"] == sorted(points["step"], reverse=True) or max(points["step"]) == 60.0
    assert points["probs"][-1] == [round(4_999 / 5_000 * FULL)]


def test_it_is_bounded() -> None:
    course = Course(3)
    for minute in range(4_000):
        course.put(minute * 60.0, [0.1, 0.2, 0.7], "speech", -20.0)
    assert len(course.points()["t"]) <= sum(most for _, most in LEVELS)


def test_what_came_before_it_was_watched_is_not_made_up() -> None:
    course = Course(1)
    course.put(32.4, [1.0], "speech", None)
    assert course.points()["t"] == [32.0]
    for second in range(33, 400):
        course.put(second, [1.0], "speech", None)
    assert course.points()["t"][0] == 32.0


def test_an_old_answer_that_comes_late_changes_nothing() -> None:
    course = Course(1)
    course.put(5.0, [1.0], "speech", None)
    course.put(3.0, [0.5], "speech", None)
    assert course.points()["t"] == [5.0]


def test_a_point_has_the_newest_voice_of_its_time() -> None:
    course = Course(1)
    for second in range(400):
        course.put(second, [1.0], "speech", None, voice=1 + second // 95 % 2)
    points = course.points()
    changed = [
        t for t, a, b in zip(points["t"][1:], points["voice"], points["voice"][1:], strict=False) if a != b
    ]
    assert changed == [90.0, 190.0, 285.0, 380.0], "what is older than 5 minutes by 10 s"
    course.put(401, [1.0], "speech", None, voice=1_000)
    assert course.points()["voice"][-1] == 255


@pytest.mark.parametrize("probs", [[2.0, -1.0], [0.5, 0.5, 0.5]])
def test_probabilities_that_cannot_be_are_bounded(probs: list[float]) -> None:
    course = Course(2)
    course.put(0.0, probs, "speech", 900.0)
    assert all(0 <= p <= FULL for p in course.points()["probs"][0])  # type: ignore[union-attr]
    assert len(course.points()["probs"][0]) == 2  # type: ignore[arg-type]
