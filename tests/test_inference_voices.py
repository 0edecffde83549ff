"""Changes of voice: found soon, and not where there are none; the same for any cut, in any company."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from voices import METRIC, NUMBERS, speaking

from streamcab.inference.voices import BLOCK, LEAST, NEWEST, Change, Voices

ONE = np.zeros(1, np.intp)
SOON = (NEWEST + 1) * BLOCK
"""Votes after which a change that can be told is told."""


def line(turns: list[tuple[int, int]], seed: int = 0) -> NDArray[np.float32]:
    """The numbers of voices one after the other: (who, intervals) each."""
    rng = np.random.default_rng(seed)
    return np.concatenate([speaking(who, n, rng) for who, n in turns])


def heard(
    voices: Voices,
    v: NDArray[np.float32],
    votes: NDArray[np.bool_] | None = None,
    sizes: tuple[int, ...] = (BLOCK,),
) -> list[tuple[int, Change]]:
    """All of a line in pieces of these sizes; each change with the interval after which it was told."""
    votes = np.ones(len(v), np.bool_) if votes is None else votes
    found, at, turn = [], 0, 0
    while at < len(v):
        end = min(at + sizes[turn % len(sizes)], len(v))
        turn += 1
        names = np.arange(at, end)[None]
        found += [(end, c) for c in voices.hear(ONE, names, v[None, at:end], votes[None, at:end])]
        at = end
    return found


def test_a_change_is_told_soon_with_the_interval_at_which_it_began() -> None:
    for second in range(1, 20):
        voices = Voices(1, 2, METRIC)
        told = heard(voices, line([(0, 400), (second, 200)], second))
        assert [c.number for _, c in told] == [2]
        end, change = told[0]
        assert 400 < end <= 400 + SOON
        assert abs(change.since - 400) <= BLOCK
        assert (change.before, change.after, change.fresh) == (0, 1, True)


def test_one_voice_does_not_change() -> None:
    for who in range(10):
        assert not heard(Voices(1, 4, METRIC), line([(who, 8000)], who))


def test_a_voice_that_comes_back_has_its_number_again() -> None:
    voices = Voices(1, 4, METRIC)
    told = heard(voices, line([(0, 300), (1, 300), (0, 300), (2, 300), (1, 300)]))
    assert [c.number for _, c in told] == [2, 1, 3, 2]
    assert [c.fresh for _, c in told] == [True, False, True, False]
    assert voices.number[0] == 2


def test_of_too_many_voices_the_one_that_was_heard_longest_ago_is_forgotten() -> None:
    voices = Voices(1, 2, METRIC)
    told = heard(voices, line([(0, 300), (1, 300), (2, 300), (1, 300), (0, 300)]))
    assert [c.number for _, c in told] == [2, 3, 2, 4]
    assert {c.after for _, c in told} <= {0, 1}


def test_a_few_words_of_another_are_no_change() -> None:
    told = heard(Voices(1, 2, METRIC), line([(0, 320), (1, (LEAST - 1) * BLOCK // 2), (0, 320)]))
    assert not told


def test_what_has_no_vote_or_no_numbers_does_not_count() -> None:
    rng = np.random.default_rng(3)
    v, other = line([(0, 400)]), line([(1, 400)])
    mixed = np.empty((800, NUMBERS), np.float32)
    votes = np.zeros(800, np.bool_)
    votes[rng.permutation(800)[:400]] = True
    mixed[votes], mixed[~votes] = v, other
    assert not heard(Voices(1, 2, METRIC), mixed, votes)
    mixed[~votes] = np.nan
    assert not heard(Voices(1, 2, METRIC), mixed)


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(1, BLOCK), min_size=1, max_size=8),
    turns=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 250)), min_size=2, max_size=6),
    seed=st.integers(0, 999),
)
def test_any_cut_among_any_streams_tells_the_same(
    sizes: list[int], turns: list[tuple[int, int]], seed: int
) -> None:
    v, rng = line(turns, seed), np.random.default_rng(seed)
    votes = rng.random(len(v)) < 0.8
    alone = [c for _, c in heard(Voices(1, 3, METRIC), v, votes, (1,))]
    voices, found, at, turn = Voices(5, 3, METRIC), [], 0, 0
    while at < len(v):
        h = min(sizes[turn % len(sizes)], len(v) - at)
        others = rng.choice([0, 1, 3, 4], int(rng.integers(0, 4)), replace=False)
        slots, n = np.append(others, 2), len(others) + 1
        names = np.broadcast_to(np.arange(at, at + h), (n, h))
        numbers = np.concatenate(
            (rng.normal(0, 3, (n - 1, h, NUMBERS)).astype(np.float32), v[None, at : at + h])
        )
        counts = np.concatenate((rng.random((n - 1, h)) < 0.9, votes[None, at : at + h]))
        found += [c for c in voices.hear(slots, names, numbers, counts) if c.slot == 2]
        at, turn = at + h, turn + 1
    assert [(c.since, c.before, c.after, c.number, c.fresh) for c in found] == [
        (c.since, c.before, c.after, c.number, c.fresh) for c in alone
    ]


def test_a_slot_is_as_new_after_a_reset() -> None:
    v = line([(0, 300), (1, 300)])
    used = Voices(1, 2, METRIC)
    heard(used, line([(2, 333), (3, 333)]))
    used.reset(ONE)
    assert used.number[0] == 1
    assert heard(used, v) == heard(Voices(1, 2, METRIC), v)


def test_one_voice_is_nothing_to_tell_apart() -> None:
    with pytest.raises(ValueError, match="two on, not 1"):
        Voices(1, 1, METRIC)
