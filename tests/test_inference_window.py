"""The window: at any moment the mean of what was voiced, after hours and over gaps."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from speech import SMALL_STAGES, tiny_model
from streamed import talk_of

from streamcab.inference.window import Window, window_of

ONE = np.zeros(1, np.intp)


class Listed:
    """The same as a list of every interval of the stream, voted or not: (c, alpha, vote)."""

    def __init__(self, length: int, second: int) -> None:
        self.length, self.second, self.all = length, second, []

    @property
    def seen(self) -> int:
        return len(self.all)

    @property
    def voiced(self) -> int:
        return sum(vote for _, _, vote in self.all)

    def add(self, first: int, c: NDArray, alpha: NDArray, votes: NDArray) -> None:
        # What was passed over is a pause.
        self.all += [(c[0], alpha[0], False)] * (first - self.seen)
        self.all += [(c[j], alpha[j], bool(votes[j])) for j in range(len(c)) if first + j >= 0]

    def talk(self) -> list[tuple[NDArray, NDArray, bool]]:
        return [self.all[k] for k in talk_of([vote for _, _, vote in self.all], self.length, self.second)]

    def mean(self, back: int) -> tuple[NDArray | None, int]:
        some = [c for c, _, vote in self.talk()[-back:] if vote]
        return (np.mean(some, 0, dtype=np.float64) if some else None), len(some)

    def attention(self) -> NDArray | None:
        """Over the last whole blocks, with the one that is being filled."""
        talk, blocks = self.talk(), -(-self.length // self.second)
        oldest = max((len(talk) - 1) // self.second - blocks + 1, 0) * self.second
        some = [a for _, a, vote in talk[oldest:] if vote]
        return np.mean(some, 0, dtype=np.float64) if some else None


def random(rng: np.random.Generator, h: int, classifiers: int = 4) -> tuple[NDArray, NDArray, NDArray]:
    return (
        rng.random((1, h, 3), np.float32),
        rng.random((1, h, classifiers), np.float32),
        rng.random((1, h)) < 0.6,
    )


@example(length=100, second=40, steps=[(9, 0)] * 20 + [(9, 5)] * 20, delay=3, seed=0)
@example(length=41, second=40, steps=[(7, 0)] * 20, delay=0, seed=1)
@example(length=100, second=80, steps=[(9, 0)] * 20 + [(9, 5)] * 20, delay=3, seed=0)
@example(length=50, second=20, steps=[(7, 0)] * 20, delay=2, seed=1)
@settings(deadline=None, max_examples=40)
@given(
    length=st.sampled_from([1, 2, 7, 39, 40, 41, 100, 200]),
    second=st.sampled_from([20, 40, 80]),
    steps=st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0, 0, 0, 1, 5, 41, 300])), max_size=60),
    delay=st.integers(0, 3),
    seed=st.integers(0, 2**20),
)
def test_is_the_mean_of_a_list(
    length: int, second: int, steps: list[tuple[int, int]], delay: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # A slot on each side, busy with other streams.
    window, listed = Window(3, 3, 4, length, second), Listed(length, second)
    slot, at = np.array([1]), -delay
    for h, gap in steps:
        at += gap if at > 0 else 0
        c, alpha, votes = random(rng, h)
        window.add(slot, np.array([at]), c, alpha, votes)
        noise = random(rng, h)
        window.add(np.array([2]), np.array([at]), *noise)
        listed.add(at, c[0], alpha[0], votes[0])
        at += h
        for got, back in ((window.mean(slot), length), (window.now(slot), min(second, length))):
            expected, n = listed.mean(back)
            assert got[1][0] == n
            np.testing.assert_allclose(got[0][0], np.zeros(3) if expected is None else expected, atol=1e-6)
        expected = listed.attention()
        np.testing.assert_allclose(
            window.attention(slot)[0], np.zeros(4) if expected is None else expected, atol=1e-6
        )
        assert window.filled(slot)[0] == min(listed.seen, length)
        assert window.seen[1] == listed.seen
    assert window.voiced[1] == listed.voiced


def test_streams_at_different_places_share_a_call() -> None:
    rng = np.random.default_rng(0)
    together, alone = Window(2, 3, 4, 50, 40), [Window(1, 3, 4, 50, 40) for _ in range(2)]
    first = np.array([-3, 117])
    for _ in range(30):
        parts = [random(rng, 5) for _ in range(2)]
        both = [np.concatenate(p) for p in zip(*parts, strict=True)]
        together.add(np.arange(2), first, *both)
        for i in range(2):
            alone[i].add(ONE, first[i : i + 1], *parts[i])
        first = first + 5
    for i in range(2):
        np.testing.assert_array_equal(together.mean(np.array([i]))[0], alone[i].mean(ONE)[0])
        np.testing.assert_array_equal(together.attention(np.array([i])), alone[i].attention(ONE))


def test_a_gap_is_a_pause_and_takes_up_no_more_room_than_one() -> None:
    window = Window(1, 2, 2, 100, 40)
    yes, half = np.ones((1, 60), bool), np.full((1, 60, 2), 0.5, np.float32)
    window.add(ONE, np.array([0]), half / 2, half, yes)
    window.add(ONE, np.array([120]), half[:, :20] * 2, half[:, :20], yes[:, :20])
    # 40 of the 60 that were passed over are talk: 40 of the first are left, and 20 new ones.
    mean, n = window.mean(ONE)
    assert n[0] == 60
    np.testing.assert_allclose(mean[0], (40 * 0.25 + 20 * 1.0) / 60)
    assert window.voiced[0] == 80


def silent(window: Window, first: int, h: int) -> None:
    """h intervals in which nobody speaks, though the net says something of each."""
    c, alpha, votes = random(np.random.default_rng(first), h)
    window.add(ONE, np.array([first]), c, alpha, np.zeros_like(votes))


def talking(h: int, value: float) -> tuple[NDArray, NDArray, NDArray]:
    return np.full((1, h, 3), value, np.float32), np.zeros((1, h, 4), np.float32), np.ones((1, h), np.bool_)


def test_in_silence_the_answer_stands_still_until_the_window_is_empty_at_once() -> None:
    window = Window(1, 3, 4, 200, 40)
    window.add(ONE, np.array([0]), *talking(100, 0.1))
    window.add(ONE, np.array([100]), *talking(70, 0.5))
    spoken = window.mean(ONE)[0]
    for k in range(199):
        silent(window, 170 + k, 1)
        mean, n = window.mean(ONE)
        # The pause itself takes up a second of a window that is full, and no more.
        assert n[0] == min(170, 199 - min(k, 39))
        assert np.abs(mean - spoken).max() < 0.05
        assert (window.now(ONE)[1][0] > 0) == (k < 39)
    silent(window, 369, 1)
    assert window.mean(ONE)[1][0] == 0
    assert window.voiced[0] == 170


def test_what_leaves_gives_way_to_new_speech_one_for_one() -> None:
    window = Window(1, 3, 4, 100, 40)
    window.add(ONE, np.array([0]), *talking(100, 0.25))
    silent(window, 100, 90)
    before = window.mean(ONE)[1][0]
    assert before == 60
    for k in range(10):
        window.add(ONE, np.array([190 + k]), *talking(1, 1.0))
        mean, n = window.mean(ONE)
        assert n[0] == 60
        np.testing.assert_allclose(mean[0], (0.25 * (59 - k) + (k + 1)) / 60)


def test_nothing_voiced_is_zeros_and_no_votes() -> None:
    window = Window(1, 3, 4, 40, 40)
    for mean, n in (window.mean(ONE), window.now(ONE)):
        assert not mean.any()
        assert n[0] == 0
    c, alpha, votes = random(np.random.default_rng(0), 8)
    window.add(ONE, np.array([0]), c, alpha, np.zeros_like(votes))
    assert window.mean(ONE)[1][0] == 0
    assert not window.attention(ONE).any()


def test_a_reset_slot_is_fresh() -> None:
    rng = np.random.default_rng(1)
    used, fresh = Window(2, 3, 4, 30, 40), Window(2, 3, 4, 30, 40)
    used.add(ONE, np.array([70]), *random(rng, 25))
    used.add(ONE + 1, np.array([0]), *random(rng, 25))
    used.reset(ONE)
    some = random(rng, 9)
    for window in (used, fresh):
        window.add(ONE, np.array([0]), *some)
    np.testing.assert_array_equal(used.mean(ONE)[0], fresh.mean(ONE)[0])
    np.testing.assert_array_equal(used.attention(ONE), fresh.attention(ONE))
    assert used.voiced[0] == fresh.voiced[0]
    assert used.mean(ONE + 1)[1][0] > 0, "and its neighbour keeps what it has"


@pytest.mark.parametrize("every", [50, pytest.param(1, marks=pytest.mark.slow)])
def test_after_ten_hours_the_mean_is_a_fresh_sum_and_memory_is_that_of_a_minute(every: int) -> None:
    """Of all seconds but the first and the last, one in `every` comes as intervals, the others as gaps."""
    rng = np.random.default_rng(2)
    step, window = 40, Window(1, 3, 40, 1200, 40)
    # Large numbers and tiny ones: what a running sum loses would show.
    pool = [
        (c * np.float32(10.0 ** rng.uniform(-6, 0)), alpha, votes)
        for c, alpha, votes in (random(rng, step, 40) for _ in range(97))
    ]
    seconds, fed, after_a_minute = 10 * 3600, 0, 0
    recent: list[tuple[int, NDArray, NDArray]] = []
    tracemalloc.start()
    try:
        for second in range(seconds):
            if second == 60:
                after_a_minute = tracemalloc.get_traced_memory()[0]
            if second % every and 60 < second < seconds - 30:
                continue
            c, alpha, votes = pool[second % len(pool)]
            window.add(ONE, np.array([second * step]), c, alpha, votes)
            recent = [*recent[-29:], (second, c, votes)]
            fed += step
        grown = tracemalloc.get_traced_memory()[0] - after_a_minute
    finally:
        tracemalloc.stop()
    assert window.seen[0] == 1_440_000
    assert fed >= 1_440_000 // every
    assert grown < 50_000
    members = np.concatenate([c[0][v[0]] for at, c, v in recent if at >= seconds - 30]).astype(np.float64)
    mean, n = window.mean(ONE)
    assert n[0] == len(members) > 600
    np.testing.assert_allclose(mean[0], members.mean(0), rtol=1e-6)


def test_a_stream_of_years_still_counts_right() -> None:
    window = Window(1, 3, 4, 1200, 40)
    rng = np.random.default_rng(3)
    late = 3 * 10**9
    some = random(rng, 16)
    window.add(ONE, np.array([late]), *some)
    mean, n = window.mean(ONE)
    assert n[0] == some[2].sum()
    np.testing.assert_allclose(mean[0], some[0][some[2]].mean(0), atol=1e-6)


@pytest.mark.parametrize(("pooled_rate", "second"), [(8000, 80), (4000, 40), (2000, 20)])
def test_now_is_the_newest_second_for_intervals_of_any_length(pooled_rate: int, second: int) -> None:
    model = tiny_model(0, stages=SMALL_STAGES, classifiers=4, pooled_rate=pooled_rate)
    window = window_of(model, 1, model.architecture.intervals(5.0))
    c, alpha, _ = random(np.random.default_rng(4), 4 * second)
    window.add(ONE, np.array([0]), c, alpha, np.ones(c.shape[:2], np.bool_))
    now, n = window.now(ONE)
    assert n[0] == second
    np.testing.assert_allclose(now[0], c[0, -second:].mean(0, dtype=np.float64), atol=1e-6)
    assert window.length == 5 * second


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Window(1, 3, 4, 0, 40)
