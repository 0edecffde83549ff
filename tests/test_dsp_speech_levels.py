"""Levels of speech: intervals that are judged together are judged as one by one, by what came before each."""

import numpy as np
import pytest

from streamcab.dsp.gate import threshold
from streamcab.dsp.speech_levels import SpeechLevels

FLOOR, BLOCK, BLOCKS, STREAMS, LENGTH = 6, 4, 3, 3, 60


def course(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels, some of them missing; which are speech; statistics of samples with these powers."""
    rng = np.random.default_rng(seed)
    level = 10 ** rng.uniform(-6, -2, (STREAMS, LENGTH))
    level[rng.random(level.shape) < 0.1] = np.inf
    power = np.where(np.isfinite(level), level, 0)
    stats = np.stack((np.full(power.shape, 200.0), 0.01 * power, 200 * power), 2)
    return level, rng.random(level.shape) < 0.8, stats


def judged(sizes: list[int], detected: bool, seed: int = 0) -> list[np.ndarray]:
    level, said, stats = course(seed)
    levels, slots, at, parts = (
        SpeechLevels(5, FLOOR, BLOCK, BLOCKS, detected),
        np.array([4, 0, 2]),
        np.array([0, 1, 7]),
        [],
    )
    done, turn = 0, 0
    while done < LENGTH:
        h = min(sizes[turn % len(sizes)], LENGTH - done)
        here = slice(done, done + h)
        k = at[:, None] + np.arange(done, done + h)
        parts.append(levels.judge(slots, k, level[:, here], said[:, here], stats[:, here]))
        done, turn = done + h, turn + 1
    return [np.concatenate(part, 1) for part in zip(*parts, strict=True)]


@pytest.mark.parametrize("detected", [True, False])
@pytest.mark.parametrize("sizes", [[6], [1, 5], [4, 2, 3]])
def test_together_is_one_by_one(sizes: list[int], detected: bool) -> None:
    for got, wanted in zip(judged(sizes, detected), judged([1], detected), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_an_interval_is_measured_by_the_floor_and_the_speech_before_it() -> None:
    level, said, stats = course(0)
    voiced, speech, totals = judged([6], True)
    # The second stream begins at interval 1, so its blocks end after 3, 7, ... of its intervals.
    b, first = 1, 1
    for j in range(LENGTH):
        block = (first + j) // BLOCK
        counted = [i for i in range(j) if voiced[b, i] and block - (first + i) // BLOCK < BLOCKS]
        count, total, square = stats[b, counted].sum(0)
        assert speech[b, j] == pytest.approx(square / max(count, 1) - (total / max(count, 1)) ** 2)
        floor = level[b, max(j - FLOOR + 1, 0) : j + 1].min()
        above = level[b, j] > threshold(np.array(floor), np.array(speech[b, j]), True)
        assert voiced[b, j] == (above and np.isfinite(level[b, j]) and said[b, j])
        after = [*counted, j] if voiced[b, j] else counted
        np.testing.assert_allclose(totals[b, j], stats[b, after].sum(0))


def test_a_gap_is_as_missing_intervals() -> None:
    level, said, stats = course(1)
    level[:, 8:13], stats[:, 8:13] = np.inf, 0
    results = []
    for skipped in (True, False):
        levels, slot, last = SpeechLevels(1, FLOOR, BLOCK, BLOCKS, True), np.zeros(1, np.intp), None
        for start, stop in ((0, 4), (4, 8), (8, 13), (13, 17)):
            some, here = (slice(0, 1), slice(start, stop)), np.arange(start, stop)[None]
            if skipped and start == 8:
                levels.skip(slot, np.array([start]), np.array([stop - start]))
            else:
                last = levels.judge(slot, here, level[some], said[some], stats[some])
        results.append(last)
    for got, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(got, wanted)
