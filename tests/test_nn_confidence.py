"""Temperature and threshold: what they do to an answer, where they come from, and that all who answer use them."""

import numpy as np
import pytest
from scipy.special import softmax
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.classifier import Classifier
from streamcab.errors import CheckpointError
from streamcab.nn import checkpoint
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.confidence import Confidence, tempered

CARD = {"calibration": {"temperature": 0.5}, "abstain": {"below": 0.6}}


def test_a_temperature_divides_the_logarithms() -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    for t in (0.3, 1.0, 4.0):
        assert Confidence(t)(p) == pytest.approx(softmax(np.log(p) / t, axis=1), abs=1e-12)
        assert tempered(p, t).argmax(1).tolist() == [0, 2]


def test_without_one_answers_stay_to_the_bit() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    assert Confidence()(p) is p
    assert Confidence.of({}) == Confidence(1.0, None)


def test_rows_that_say_nothing_stay_zero() -> None:
    served = Confidence(0.5)(np.array([[0.0, 0.0], [0.8, 0.2]]))
    assert served[0].tolist() == [0.0, 0.0]
    assert served[1] == pytest.approx([0.64 / 0.68, 0.04 / 0.68])


def test_the_threshold_itself_is_sure() -> None:
    some = Confidence(1.0, 0.6)
    assert [some.sure(x) for x in (0.59, 0.6, 0.9)] == [False, True, True]
    assert Confidence().sure(0.1) is None


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"calibration": {"temperature": 0.0}}, "temperature is 0.0"),
        ({"calibration": {"temperature": "warm"}}, "'warm'"),
        ({"calibration": {"temperature": True}}, "True"),
        ({"calibration": {"temperature": float("nan")}}, "nan"),
        ({"abstain": {"below": 1.5}}, "below 1.5"),
    ],
)
def test_a_card_that_cannot_be_is_refused_when_it_is_loaded(tmp_path, card, words) -> None:
    path = tmp_path / "m.safetensors"
    checkpoint.save(Checkpoint(tiny_model(stages=SMALL_STAGES), card), path)
    with pytest.raises(CheckpointError, match=words):
        checkpoint.load(path)


def test_clip_and_stream_serve_the_same_tempered_answer(tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    checkpoint.save(Checkpoint(tiny_model(3, stages=SMALL_STAGES), CARD), path)
    loaded = checkpoint.load(path)
    bare = Classifier(Checkpoint(loaded.model))
    warm = Classifier(loaded)
    x = talk(6)
    plain, whole = bare.classify(x, 8000), warm.classify(x, 8000)
    p = np.array([list(plain.probs.values())])
    assert list(whole.probs.values()) == pytest.approx(tempered(p, 0.5)[0], abs=1e-12)
    assert list(whole.probs.values()) != pytest.approx(p[0], abs=1e-4)
    assert whole.top == plain.top
    assert whole.confidence == max(whole.probs.values())
    assert whole.sure is (whole.confidence >= 0.6)
    assert plain.sure is None
    stream = warm.stream(8000)
    said = [*stream.push(x), *stream.finish()]
    assert list(said[-1].probs.values()) == pytest.approx(list(whole.probs.values()), abs=1e-6)
    assert said[-1].sure is whole.sure
    before = bare.stream(8000)
    recent = [q.now for q in [*before.push(x), *before.finish()]]
    for tempered_, plain_ in zip(said, recent, strict=True):
        if plain_:
            want = tempered(np.array([list(plain_.values())]), 0.5)[0]
            assert list(tempered_.now.values()) == pytest.approx(want, abs=1e-9)
