"""Rows: clips of one corpus and class end to end, each class as often as another, strangers without a class."""

from collections import Counter
from pathlib import Path

import numpy as np
from streamcab_train.copies import Copy
from streamcab_train.rows import Rows, shake
from streamcab_train.voices import NO_CLASS, Parts, Voice

CLIPS = [("a", 0)] * 30 + [("b", 0)] * 4 + [("a", 1)] * 6 + [("b", NO_CLASS)] * 8
LENGTH = 60
INTERVAL_S, FRAMES_PER_S = 0.025, 40.0


def rows(taught: np.ndarray | None = None, *, told: np.ndarray | None = None, shaken: bool = False) -> Rows:
    """Of each clip x, frames and opinion tell its number, so that what was drawn can be read off."""
    n = len(CLIPS)
    voices = [
        Voice(Path(f"{i}.wav"), corpus, f"{corpus}:{i // 2}", "", label)
        for i, (corpus, label) in enumerate(CLIPS)
    ]
    labels = np.array([label for _, label in CLIPS])
    teaches = np.ones(n, bool) if taught is None else taught
    parts = Parts(teaches, ~teaches, labels == NO_CLASS, np.zeros(n, bool))
    x = np.repeat(np.arange(n), LENGTH)[:, None].astype(np.float16)
    start = np.arange(n, dtype=np.int64) * LENGTH
    copy = Copy(x, np.ones(n * LENGTH, bool), start, np.full(n, LENGTH), np.ones(n))
    frames = [np.full((LENGTH, 2), i, np.float32) for i in range(n)]
    told = np.full((n, 3), 1 / 3, np.float32) if told is None else told
    return Rows(voices, parts, [copy], frames, FRAMES_PER_S, told, INTERVAL_S, shaken=shaken)


def test_a_row_of_a_class_holds_that_class_of_one_corpus_alone() -> None:
    some, drawn = rows(), Counter()
    for seed in range(400):
        row = some.of_class(np.random.default_rng(seed), 150)
        assert row.x.shape == (150, 1)
        assert row.label is not None
        clips = {int(i) for i in row.x[:, 0]}
        (kind,) = {CLIPS[i] for i in clips}
        drawn[kind[1]] += 1
        want = [0.5, 0.5] if kind[1] == NO_CLASS else np.eye(2)[kind[1]]
        np.testing.assert_array_equal(row.label, want)
        np.testing.assert_allclose(row.opinion, [0.5, 0.5])
        np.testing.assert_array_equal(row.frames[:, 0], row.x[:, 0])
    assert abs(drawn[0] - drawn[1]) < 80
    assert 40 < drawn[NO_CLASS] < 130


def test_who_judges_is_in_no_row() -> None:
    taught = np.arange(len(CLIPS)) % 2 == 0
    some = rows(taught)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        for row in (some.of_class(rng, 100), some.of_speech(rng, 100)):
            assert taught[row.x[:, 0].astype(int)].all()


def test_a_row_of_speech_has_an_opinion_and_no_label() -> None:
    row = rows().of_speech(np.random.default_rng(0), 90)
    assert row.label is None
    np.testing.assert_allclose(row.opinion, [0.5, 0.5])
    assert len(row.votes) == 90


def test_speech_of_every_opinion_is_drawn_as_often() -> None:
    told = np.zeros((len(CLIPS), 3), np.float32)
    told[:4, 0], told[4:14, 1], told[14:, 2] = 1, 1, 1
    some, drawn = rows(told=told), Counter()
    for seed in range(600):
        row = some.of_speech(np.random.default_rng(seed), LENGTH)
        drawn[int(told[int(row.x[0, 0])].argmax())] += 1
    assert min(drawn[k] for k in range(3)) > 150


def test_a_shaken_row_has_its_length_its_level_and_its_frames_in_their_places() -> None:
    rng = np.random.default_rng(5)
    samples = np.sin(np.arange(347 * 200) / 9).astype(np.float32).reshape(347, 200)
    frames = np.arange(347, dtype=np.float32)[:, None]
    quiet = 0
    for _ in range(12):
        x, between, votes = shake(samples, frames, np.arange(347) >= 100, rng, 320)
        assert (x.shape, between.shape, votes.shape) == ((320, 200), (320, 1), (320,))
        assert samples.std() - 0.01 < x.std() < 1.1
        quiet += bool(x.std() < samples.std() + 0.0001)
        np.testing.assert_allclose(np.diff(between[:, 0]), 347 / 320, atol=1e-3)
        assert abs(int((~votes).sum()) - 100 * 320 / 347) <= 1
    assert 0 < quiet < 12


def test_no_two_shaken_rows_are_the_same() -> None:
    one, other = (rows(shaken=True).of_class(np.random.default_rng(seed), 150) for seed in (1, 2))
    assert one.x.shape == other.x.shape == (150, 1)
    assert not np.array_equal(one.x, other.x)
    again = rows(shaken=True).of_class(np.random.default_rng(1), 150)
    np.testing.assert_array_equal(one.x, again.x)
