"""What told: the course of an answer, and stretches of talk left out of the mean of c_t, by hand and in numbers."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from speech import SMALL_STAGES, silence, talk, tiny_model

from streamcab.classifier import Classifier
from streamcab.dsp.gate import SILENT, SOUND, VOICED
from streamcab.explain.explained import Explained, explained
from streamcab.inference.explanation import Course, explain, log_odds, runs, without
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.confidence import tempered

INTERVAL_S = 0.025
STRETCH = 20
CARD = {"calibration": {"temperature": 0.5}}


def course(voiced: str, seed: int = 0) -> Course:
    """Intervals of which those marked `v` vote, with c_t at random: half a second for each letter."""
    votes = np.repeat([letter == "v" for letter in voiced], STRETCH)
    c = np.random.default_rng(seed).dirichlet((1, 1, 1), len(votes)).astype(np.float32)
    kind = np.where(votes, VOICED, SILENT).astype(np.uint8)
    return Course(INTERVAL_S, c, c[:, :2], votes, kind, np.where(votes, 0.1, 0.0), np.ones(len(c), np.int64))


@cache
def talked() -> Explained:
    """A model that nobody trained on generated talk between pauses."""
    parts = [silence(0.7), talk(9, seed=3), silence(1.3), talk(10, seed=4)]
    classifier = Classifier(Checkpoint(tiny_model(4, stages=SMALL_STAGES), CARD))
    return explained(classifier, np.concatenate(parts), 8000, gate=None, name="talk")


def test_what_a_stretch_moved_is_the_answer_without_it() -> None:
    one = course("vvvv", 1)
    told = explain(one, 2, temperature=0.5)
    assert [(s.start, s.stop, s.votes) for s in told.stretches] == [
        (0, 20, 20),
        (20, 40, 20),
        (40, 60, 20),
        (60, 80, 20),
    ]
    whole = tempered(one.c.mean(0)[None], 0.5)[0, 2]
    for i, s in enumerate(told.stretches):
        left = tempered(np.delete(one.c, slice(20 * i, 20 * i + 20), 0).mean(0)[None], 0.5)[0, 2]
        by_hand = np.log(whole / (1 - whole)) - np.log(left / (1 - left))
        assert s.moved == pytest.approx(by_hand, abs=1e-5)
    assert told.log_odds == pytest.approx(np.log(whole / (1 - whole)), abs=1e-5)


def test_half_seconds_of_talk_end_with_it() -> None:
    told = explain(course("v--vv-"), 0)
    assert [(s.start, s.stop) for s in told.stretches] == [(0, 20), (60, 80), (80, 100)]
    one = course("vvv")
    one.votes[[3, 4, 30]] = False
    assert [(s.start, s.stop, s.votes) for s in explain(one, 0).stretches] == [
        (0, 22, 20),
        (22, 43, 20),
        (43, 60, 17),
    ]


def test_those_that_spoke_loudest_are_named_by_their_sign() -> None:
    one = course("v" * 20, 2)
    one.c[60:80] = 0.98, 0.01, 0.01
    one.c[100:120] = 0.9, 0.05, 0.05
    one.c[200:240] = 0.01, 0.01, 0.98
    told = explain(one, 0)
    assert (told.pro, told.contra) == ((3, 5), (10, 11))
    assert told.without_pro < told.log_odds < told.without_contra


def test_the_named_tenth_moves_the_answer_more_than_any_random_tenth() -> None:
    one, told = course("v" * 40, 5), explain(course("v" * 40, 5), 1)
    assert len(told.pro) == len(told.contra) == 4
    rng = np.random.default_rng(0)
    for _ in range(200):
        some = tuple(rng.choice(40, 4, replace=False).tolist())
        left = log_odds(one.c, without(one.votes, told.stretches, some), 1)
        assert told.without_pro <= left <= told.without_contra


def test_so_it_does_on_talk() -> None:
    from streamcab.inference.offline import intervals

    parts = [silence(0.7), talk(9, seed=3), silence(1.3), talk(10, seed=4)]
    net = tiny_model(4, stages=SMALL_STAGES)
    c = intervals(Classifier(Checkpoint(net)).runtime, np.concatenate(parts), 8000)[0].c
    told, answer = talked().explanation, talked().answer
    label = answer.labels.index(str(answer.top))
    named = [sum(told.stretches[i].votes for i in some) for some in (told.pro, told.contra)]
    assert all(0.05 < n / told.votes.sum() < 0.15 for n in named)
    least = min(told.log_odds - told.without_pro, told.without_contra - told.log_odds)
    rng, voting = np.random.default_rng(1), np.flatnonzero(told.votes)
    size = len(voting) // 10
    moved = []
    for _ in range(100):
        left = told.votes.copy()
        left[rng.choice(voting, size, replace=False)] = False
        moved.append(log_odds(c, left, label, 0.5) - told.log_odds)
        some = tuple(rng.choice(len(told.stretches), len(told.pro), replace=False).tolist())
        moved.append(log_odds(c, without(told.votes, told.stretches, some), label, 0.5) - told.log_odds)
    assert np.abs(moved).max() < least
    assert np.abs(moved).max() > 0


def test_the_course_ends_at_the_answer() -> None:
    one = talked()
    told, answer = one.explanation, one.answer
    np.testing.assert_allclose(told.running[-1], list(answer.probs.values()), atol=1e-5)
    assert answer.confidence is not None
    odds = np.log(answer.confidence / (1 - answer.confidence))
    assert told.log_odds == pytest.approx(odds, abs=1e-4)
    assert told.votes.sum() * INTERVAL_S == pytest.approx(answer.voiced_s)
    assert not one.evidence


def test_a_second_is_the_mean_of_the_votes_around() -> None:
    one = course("vv--vv")
    told = explain(one, 0)
    np.testing.assert_allclose(told.second[30], one.c[10:40].mean(0), atol=1e-6)
    np.testing.assert_allclose(told.second[0], one.c[:20].mean(0), atol=1e-6)
    assert np.isnan(told.second[60]).all()
    np.testing.assert_allclose(told.attention, [one.alpha[:40].mean(0), [np.nan] * 2, one.alpha[80:].mean(0)])
    np.testing.assert_allclose(told.running[59], one.c[:40].mean(0), atol=1e-6)


def test_nothing_is_known_before_the_first_vote() -> None:
    told = explain(course("-v"), 0)
    assert np.isnan(told.running[:20]).all()
    assert np.isfinite(told.running[20:]).all()


def test_what_is_heard_has_a_word() -> None:
    one = replace(course("v--"), power=np.repeat([0.1, 0.0, 0.1], STRETCH))
    one.kind[50:] = SOUND
    told = explain(one, 0)
    assert [(a, b, told.hears[a]) for a, b in runs(told.hears)] == [
        (0, 20, "speech"),
        (20, 40, "silence"),
        (40, 60, "sound"),
    ]


@pytest.mark.parametrize(("voiced", "label"), [("---", None), ("v", 0)])
def test_where_nothing_can_be_left_out_nothing_is_named(voiced: str, label: int | None) -> None:
    told = explain(course(voiced), label)
    assert told.stretches == told.pro == told.contra == ()
    assert np.isnan(told.log_odds) == (label is None)


def test_an_answer_beyond_doubt_can_still_be_moved() -> None:
    one = course("vvvv")
    one.c[:] = 1.0, 0.0, 0.0
    one.c[:20] = 0.999, 0.001, 0.0
    told = explain(one, 0, temperature=0.2)
    assert told.stretches[0].moved < 0 < told.stretches[1].moved
