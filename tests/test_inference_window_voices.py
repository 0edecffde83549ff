"""Windows of several voices: each is the mean of its own c_t, however the stream is cut."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from searches import examples
from voices import METRIC, speaking

from streamcab.dsp.gate import VOICED
from streamcab.inference.acoustics import Quality
from streamcab.inference.reading import Reading
from streamcab.inference.voices import BLOCK, Voices
from streamcab.inference.window import Window
from streamcab.nn.voice import Metric

ONE = np.zeros(1, np.intp)
SECOND = 40
LABELS, CLASSIFIERS = 3, 4


class Line:
    """n intervals of a stream: voices in turn, everything else at random."""

    def __init__(self, turns: list[tuple[int, int]], seed: int, voiced: float = 0.8) -> None:
        rng = np.random.default_rng(seed)
        self.u = np.concatenate([speaking(who, n, rng) for who, n in turns])
        n = len(self.u)
        self.c, self.alpha = rng.random((n, LABELS + 1), np.float32), rng.random((n, CLASSIFIERS), np.float32)
        self.kind = np.where(rng.random(n) < voiced, VOICED, 0).astype(np.uint8)
        self.power, self.wide = rng.random(n), rng.random(n) < 0.5

    def add(self, window: Window, slot: NDArray[np.intp], first: int, start: int, stop: int) -> None:
        """Intervals start .. stop - 1, which the stream calls first ..."""
        part = (slice(None), slice(start, stop))
        c, alpha, u = (a[None][part] for a in (self.c, self.alpha, self.u))
        heard = self.kind[None][part], self.power[None][part], self.wide[None][part]
        window.add(slot, np.array([first]), c, alpha, heard[0] == VOICED, u, heard)


def windows(slots: int, length: int, most: int = 3, metric: Metric = METRIC) -> Window:
    return Window(slots, LABELS, CLASSIFIERS, length, SECOND, voices=Voices(slots, most, metric), other=True)


def check_alike(one: Reading, other: Reading) -> None:
    for field in fields(Reading):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, Quality):
            np.testing.assert_allclose(a.snr_db, b.snr_db, atol=1e-9)
            np.testing.assert_array_equal(a.voiced_s, b.voiced_s)
        elif field.name != "slots":
            np.testing.assert_allclose(a, b, atol=1e-9, err_msg=field.name)


@examples(10, 30)
@given(
    length=st.sampled_from([5, 60, 100, 150, 400, 1200]),
    turns=st.lists(st.tuples(st.integers(0, 3), st.integers(30, 200)), min_size=2, max_size=5),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    gaps=st.dictionaries(st.integers(0, 9), st.sampled_from([1, 30, 90, 500, 1300]), max_size=3),
    seed=st.integers(0, 999),
)
def test_any_cut_says_the_same_through_changes_and_gaps(
    length: int, turns: list[tuple[int, int]], sizes: list[int], gaps: dict[int, int], seed: int
) -> None:
    line = Line(turns, seed)
    n, delay = len(line.u), 3
    # Two slots of three; the third is another line.
    window, alone, other = windows(3, length), windows(1, length), Line([(5, 400), (6, 400)], seed + 1)
    jumped, at, turn = 0, 0, 0
    while at < n:
        # A gap comes before an interval whose number is a multiple of 100.
        stop = min(at + sizes[turn % len(sizes)], n, (at // 100 + 1) * 100)
        if at % 100 == 0:
            jumped += gaps.get(at // 100, 0) if at else 0
        line.add(window, np.array([1]), at - delay + jumped, at, stop)
        for j in range(at, stop):
            line.add(alone, ONE, j - delay + jumped, j, j + 1)
        if at + 9 < 800:
            other.add(window, np.array([2]), at, at, at + 9)
        check_alike(window.read(np.array([1]), attention=True), alone.read(ONE, attention=True))
        at, turn = stop, turn + 1


class Kept:
    """What a window of several voices holds, kept whole: a list for each voice, of intervals or None, for a pause."""

    def __init__(self, length: int, metric: Metric, most: int = 3) -> None:
        self.length, self.voices = length, Voices(1, most, metric)
        self.blocks = -(-length // SECOND)
        self.talk: list[list[int | None]] = [[] for _ in range(most)]
        # Attention and votes by second of talk.
        self.seconds: list[dict[int, NDArray]] = [{} for _ in range(most)]

    def add(self, line: Line, k: int) -> None:
        """Add one interval, and change to another voice if it tells so."""
        place, vote = int(self.voices.place[0]), line.kind[k] == VOICED
        gained = np.append(line.alpha[k], 1.0) if vote else np.zeros(CLASSIFIERS + 1)
        self._begin(place, len(self.talk[place]) // SECOND)
        self.seconds[place][len(self.talk[place]) // SECOND] += gained
        self.talk[place].append(k)
        at, u, votes = np.array([[k]]), line.u[None, k : k + 1], np.array([[vote]])
        for change in self.voices.hear(ONE, at, u, votes):
            self._change(change.before, change.after, change.fresh, change.since, change.told)

    def _begin(self, place: int, second: int) -> None:
        seconds = self.seconds[place]
        if second not in seconds:
            seconds[second] = np.zeros(CLASSIFIERS + 1)
            seconds.pop(second - self.blocks, None)

    def _change(self, before: int, after: int, fresh: bool, since: int, told: int) -> None:
        old, old_seconds = self.talk[before], self.seconds[before]
        end, oldest = old.index(told) + 1, old.index(told) + 1 - self.length
        start = max(old.index(since), oldest)
        if fresh:
            self.talk[after], self.seconds[after] = [], {}
        new = self.talk[after]
        pause = (start - len(new)) % SECOND
        for _ in range(pause):
            self._begin(after, len(new) // SECOND)
            new.append(None)
        by = (len(new) - start) // SECOND
        new += old[start:]
        # What the window had let go when the change was told stays away.
        self.talk[before] = [k if i >= oldest else None for i, k in enumerate(old[:start])]
        for second in range(start // SECOND, -(-end // SECOND))[-self.blocks :]:
            self._begin(after, second + by)
            self.seconds[after][second + by] = self.seconds[after][second + by] + old_seconds.pop(second)
        for second in range(start // SECOND, -(-end // SECOND) + 1):
            old_seconds.pop(second - self.blocks, None)

    def check(self, window: Window, line: Line) -> None:
        """Compare with what a window says."""
        place = int(self.voices.place[0])
        reading = window.read(ONE, attention=True)
        assert reading.voice[0] == self.voices.number[0]
        for mean, votes, n in (
            (reading.mean[0], reading.votes[0], self.length),
            (reading.now[0], reading.now_votes[0], min(SECOND, self.length)),
        ):
            counted = [k for k in self.talk[place][-n:] if k is not None and line.kind[k] == VOICED]
            assert votes == len(counted)
            wanted = line.c[counted, :LABELS].astype(np.float64).mean(0) if counted else np.zeros(LABELS)
            np.testing.assert_allclose(mean, wanted, atol=1e-9)
        total = sum(self.seconds[place].values())
        assert reading.attention is not None
        np.testing.assert_allclose(reading.attention[0], total[:-1] / max(total[-1], 1), atol=1e-9)


@examples(30, 100)
@given(
    length=st.sampled_from([60, 150, 240, 400]),
    turns=st.lists(st.tuples(st.integers(0, 3), st.integers(70, 400)), min_size=4, max_size=8),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    threshold=st.sampled_from([8.0, 30.0, 60.0, 100.0]),
    seed=st.integers(0, 999),
)
def test_each_voices_window_holds_its_own_intervals_through_changes(
    length: int, turns: list[tuple[int, int]], sizes: list[int], threshold: float, seed: int
) -> None:
    metric = replace(METRIC, threshold=threshold)
    line, window, kept = Line(turns, seed), windows(1, length, metric=metric), Kept(length, metric)
    line.kind[0] = VOICED  # talk begins with a vote
    at, turn = 0, 0
    while at < len(line.u):
        stop = min(at + sizes[turn % len(sizes)], len(line.u))
        line.add(window, ONE, at, at, stop)
        for k in range(at, stop):
            kept.add(line, k)
        kept.check(window, line)
        at, turn = stop, turn + 1


def test_the_new_voices_answer_starts_from_its_own_intervals_and_the_old_ones_comes_back() -> None:
    line, window = Line([(0, 400), (1, 400), (0, 400)], 0, voiced=1.0), windows(1, 600)
    numbers = []
    for at in range(0, 1200, 8):
        line.add(window, ONE, at, at, at + 8)
        numbers.append(int(window.read(ONE, attention=False).voice[0]))
        if at + 8 == 390:
            np.testing.assert_allclose(window.mean(ONE)[0][0], line.c[:392, :LABELS].mean(0), atol=1e-6)
        if at + 8 == 800:
            mean, votes = window.mean(ONE)
            begin = 800 - int(votes[0])
            assert abs(begin - 400) <= BLOCK
            np.testing.assert_allclose(mean[0], line.c[begin:800, :LABELS].mean(0), atol=1e-6)
            assert window.filled(ONE)[0] <= 400 + BLOCK + SECOND
    assert [n for n, before in zip(numbers, [1, *numbers], strict=False) if n != before] == [2, 1]
    # The window holds 600 votes: the newest turn, and what fits of the first.
    mean, votes = window.mean(ONE)
    assert 600 - BLOCK - SECOND <= votes[0] <= 600
    own = np.concatenate((line.c[400 - (int(votes[0]) - 400) : 400], line.c[800:]))[:, :LABELS]
    assert abs(mean[0] - own.mean(0)).max() < 2 * BLOCK / 600


def test_attention_is_that_of_the_voice_to_the_second() -> None:
    line, window = Line([(0, 400), (1, 400)], 1, voiced=1.0), windows(1, 1200)
    line.alpha[:400], line.alpha[400:] = [1, 0, 0, 0], [0, 1, 0, 0]
    for at in range(0, 800, 8):
        line.add(window, ONE, at, at, at + 8)
    attention = window.attention(ONE)[0]
    assert attention.sum() == pytest.approx(1)
    assert attention[1] > 1 - (SECOND + BLOCK) / 400


def test_one_voice_is_answered_as_by_a_window_that_tells_none_apart() -> None:
    line = Line([(0, 2000)], 2)
    window, plain = windows(1, 300), Window(1, LABELS, CLASSIFIERS, 300, SECOND, other=True)
    for at in range(0, 2000, 8):
        for one in (window, plain):
            line.add(one, ONE, at, at, at + 8)
        a, b = (one.read(ONE, attention=True) for one in (window, plain))
        for field in ("mean", "other", "votes", "now", "filled", "attention", "voice"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


def test_a_long_pause_empties_the_windows_of_all_voices_and_keeps_their_numbers() -> None:
    line, window = Line([(0, 400), (1, 400), (0, 400)], 0, voiced=1.0), windows(1, 600)
    line.add(window, ONE, 0, 0, 800)
    assert window.read(ONE, attention=False).voice[0] == 2
    line.add(window, ONE, 800 + 700, 800, 1200)
    reading = window.read(ONE, attention=False)
    assert reading.voice[0] == 1
    begin = 1200 - int(reading.votes[0])
    assert abs(begin - 800) <= BLOCK
    np.testing.assert_allclose(reading.mean[0], line.c[begin:, :LABELS].mean(0), atol=1e-6)
    np.testing.assert_allclose(reading.other, line.c[begin:, LABELS].mean(), atol=1e-6)


def test_a_slot_is_as_new_after_a_reset() -> None:
    line, used, fresh = Line([(0, 400), (1, 400)], 3), windows(2, 300), windows(2, 300)
    Line([(2, 500), (3, 500), (2, 100)], 4).add(used, ONE, 0, 0, 1100)
    used.reset(ONE)
    for window in (used, fresh):
        line.add(window, ONE, 0, 0, 800)
    check_alike(used.read(ONE, attention=True), fresh.read(ONE, attention=True))
