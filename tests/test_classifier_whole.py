"""Whole clips in pieces: the answer of `classify` within 1e-5, whatever the pieces, and no memory for hours."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searches import examples
from speech import SMALL_STAGES, noise, silence, talk, tiny_model

from streamcab.classifier import Classifier, Recording
from streamcab.dsp.gate import VOICED
from streamcab.errors import AudioError, ConfigError
from streamcab.inference import offline, whole
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.weights import detector_of

RATE = 11025
SOUND = np.concatenate([talk(9, RATE), silence(3, RATE), noise(2, RATE), talk(12, RATE, seed=3)])
FIELDS = ("voiced_s", "heard_s", "window_s", "sample", "state", "top")


def classifier(**how: object) -> Classifier:
    return Classifier(Checkpoint(tiny_model(1, stages=SMALL_STAGES, **how), {}))


def same(clf: Classifier, x: np.ndarray, cuts: list[int], gate: bool | None = None) -> None:
    whole = clf.classify(x, RATE, gate=gate)
    pieces = np.split(x, sorted(c % (len(x) + 1) for c in cuts))
    got = clf.classify_pieces(pieces, RATE, gate=gate)
    assert [getattr(got, f) for f in FIELDS] == [getattr(whole, f) for f in FIELDS]
    assert got.probs == pytest.approx(whole.probs, abs=1e-5)
    assert got.now == pytest.approx(whole.now, abs=1e-5)
    assert got.attention == pytest.approx(whole.attention, abs=2e-4)
    assert got.level_db == pytest.approx(whole.level_db, abs=0.2)


@examples(6, 12)
@given(st.lists(st.integers(0, 10**6), max_size=6), st.integers(0, len(SOUND)), st.booleans())
def test_pieces_change_nothing(cuts: list[int], length: int, gate: bool) -> None:
    if length < 400:
        return
    same(classifier(), SOUND[:length], cuts, gate)


@pytest.mark.parametrize(
    "how", [{}, {"summary": 5, "lags": (0, 1, 4)}, {"summary": 5, "phones": 4, "reach": 2, "phone_hidden": 6}]
)
def test_what_is_folded_is_not_forgotten(monkeypatch: pytest.MonkeyPatch, how: dict[str, object]) -> None:
    monkeypatch.setattr(whole, "FOLD_S", 2)
    for end in (len(SOUND), 4 * RATE + 900, 6 * RATE):
        same(classifier(**how), SOUND[:end], [7, 40_000, 40_001])


def test_a_clip_without_an_interval_is_refused() -> None:
    with pytest.raises(AudioError, match="at least 25 ms are needed"):
        classifier().classify_pieces([np.zeros(100, np.float32)], RATE, name="short")
    with pytest.raises(AudioError, match="0 ms of audio"):
        classifier().classify_pieces([], RATE)


def test_a_model_of_whole_clips_gets_the_whole_clip() -> None:
    clf = classifier(normaliser="clip")
    assert clf.classify_pieces(np.array_split(SOUND, 5), RATE).probs == clf.classify(SOUND, RATE).probs


def recordings(clips: list[np.ndarray]) -> list[Recording]:
    return [Recording(f"{i}", RATE, np.array_split(x, 3), i) for i, x in enumerate(clips)]


@pytest.mark.parametrize("at_once", [1, 3, 8])
@pytest.mark.parametrize("how", [{}, {"summary": 5, "phones": 4, "reach": 2, "phone_hidden": 6}])
def test_clips_that_are_heard_together_do_not_hear_each_other(at_once: int, how: dict[str, object]) -> None:
    clf = classifier(**how)
    clips = [SOUND[a:b] for a, b in ((0, 400), (0, len(SOUND)), (5000, 90_000), (7, 3 * RATE), (0, 9 * RATE))]
    found = {one.recording.of: one.answer() for one in clf.classify_many(recordings(clips), at_once=at_once)}
    assert sorted(found) == list(range(len(clips)))
    for i, x in enumerate(clips):
        whole = clf.classify(x, RATE, name=f"{i}")
        assert found[i].probs == pytest.approx(whole.probs, abs=1e-5)
        assert (found[i].snr_db, found[i].flaws) == (whole.snr_db, whole.flaws)
        assert [getattr(found[i], f) for f in FIELDS] == [getattr(whole, f) for f in FIELDS]


def test_a_clip_that_breaks_off_is_an_error_among_answers() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield SOUND[:20_000]
        raise AudioError("torn")

    some = [Recording("a", RATE, [SOUND]), Recording("b", RATE, broken()), Recording("c", RATE, [])]
    found = {one.recording.name: one for one in classifier().classify_many(some, at_once=2)}
    assert found["a"].error is None
    assert [str(found[name].error) for name in "bc"] == [
        "torn",
        "c: 0 ms of audio; at least 25 ms are needed",
    ]


def test_segments_are_answered_from_their_own_intervals() -> None:
    clf = classifier()
    every, heard = offline.intervals(clf.runtime, SOUND, RATE, detector_of(clf.checkpoint.weights))
    found = list(clf.classify_many([Recording("long", RATE, [SOUND])], segment_s=5))
    assert [one.last for one in found] == [False] * 5 + [True]
    ends = [5.0, 10.0, 15.0, 20.0, 25.0, 26.0]
    assert [(one.start_s, one.end_s) for one in found] == list(zip([0.0, *ends], ends, strict=False))
    for i, one in enumerate(found):
        some = slice(200 * i, 200 * (i + 1))
        votes = heard.kind[0, some] == VOICED
        want = every.c[some][votes].mean(0) if votes.any() else []
        assert list(one.answer().probs.values()) == pytest.approx(list(want), abs=1e-5)
        assert one.answer().voiced_s == pytest.approx(votes.sum() * 0.025)


def test_segments_that_end_with_the_clip_leave_no_empty_one() -> None:
    found = list(classifier().classify_many([Recording("a", RATE, [SOUND[: 6 * RATE]])], segment_s=3))
    told = [(one.start_s, one.end_s, one.prediction is not None, one.last) for one in found]
    assert told == [(0, 3, True, False), (3, 6, True, False), (6, 6, False, True)]
    with pytest.raises(ConfigError, match="no segments"):
        next(classifier(normaliser="clip").classify_many([], segment_s=3))
