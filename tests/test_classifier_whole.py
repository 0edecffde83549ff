"""Whole clips in pieces: the answer of `classify` within 1e-5, whatever the pieces, and no memory for hours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speech import SMALL_STAGES, noise, silence, talk, tiny_model

from streamcab.classifier import Classifier
from streamcab.errors import AudioError
from streamcab.inference import window
from streamcab.nn.checkpoint import Checkpoint

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


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=6), st.integers(0, len(SOUND)), st.booleans())
def test_pieces_change_nothing(cuts: list[int], length: int, gate: bool) -> None:
    if length < 400:
        return
    same(classifier(), SOUND[:length], cuts, gate)


@pytest.mark.parametrize(
    "how", [{}, {"summary": 5, "lags": (0, 1, 4)}, {"summary": 5, "phones": 4, "reach": 2, "phone_hidden": 6}]
)
def test_what_is_folded_is_not_forgotten(monkeypatch: pytest.MonkeyPatch, how: dict[str, object]) -> None:
    monkeypatch.setattr(window.WholeWindow, "SECONDS", 2)
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
