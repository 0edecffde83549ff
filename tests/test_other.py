"""`other`, the score of accents of none of the labels: streamed as offline, in the file, in answers and in `sure`."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from speech import SMALL_STAGES, SMALL_TRUNK, Samples, silence, talk, tiny_model

from streamcab.classifier import Classifier, Recording
from streamcab.errors import CheckpointError
from streamcab.inference.answer import withheld
from streamcab.inference.offline import intervals
from streamcab.inference.window import Window
from streamcab.message import Prediction, decode, encode
from streamcab.nn import checkpoint
from streamcab.nn.architecture import Architecture
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.confidence import Confidence
from streamcab.nn.weights import Weights
from streamcab.verify import verify

RATE = 8000
BACKENDS = [name for name in ("torch", "openvino") if find_spec(name) is not None]
CARD = {"calibration": {"temperature": 0.5}, "abstain": {"below": 0.2, "other": 0.5}}


def wary_model() -> CabCnn:
    """One that nobody taught, whose score moves a lot."""
    model = tiny_model(6, stages=SMALL_STAGES, classifiers=8, voice=6, other=True, **SMALL_TRUNK)
    assert model.other is not None
    assert model.voice is not None
    with torch.no_grad():
        model.other.weight.mul_(8)
        model.voice.of_interval.weight.mul_(30)
        for array, value in (
            (model.voice.between, 4.0),
            (model.voice.drift, 0.05),
            (model.voice.within, 0.5),
        ):
            array.fill_(value)
        model.voice.threshold.fill_(2.0)
    return model


MODEL = wary_model()


def without_other(model: CabCnn) -> Weights:
    weights = model.weights
    arrays = {name: a for name, a in weights.arrays.items() if not name.startswith("other.")}
    return Weights(replace(weights.architecture, other=False), arrays)


def scene(seed: int) -> Samples:
    parts = (
        talk(2.5, RATE, seed),
        silence(0.7),
        talk(3.0, RATE, seed + 1, rms=0.02),
        talk(2.0, RATE, seed + 2),
    )
    return np.concatenate(parts)


def told(classifier: Classifier, x: Samples, sizes: list[int], voices: int = 1) -> list[Prediction]:
    stream, said, at, turn = classifier.stream(RATE, every_s=0.1, voices=voices), [], 0, 0
    while at < len(x):
        said += stream.push(x[at : at + sizes[turn % len(sizes)]])
        at, turn = at + sizes[turn % len(sizes)], turn + 1
    return [*said, *stream.finish()]


@pytest.mark.parametrize("voices", [1, 3])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("sizes", "seed"), [([160], 0), ([7, 4001, 900], 1), ([12345, 40, 333], 2)])
def test_streamed_in_any_chunks_it_is_that_of_the_whole_clip(
    backend: str, sizes: list[int], seed: int, voices: int
) -> None:
    classifier, x = Classifier(Checkpoint(MODEL, CARD), backend=backend), scene(seed)
    whole, at_once = classifier.classify(x, RATE), told(classifier, x, [len(x)], voices)
    said = told(classifier, x, sizes, voices)
    assert whole.other is not None
    assert [p.other for p in said] == pytest.approx([p.other for p in at_once], abs=1e-5)
    assert [p.sure for p in said] == [p.sure for p in at_once]
    assert len({p.other for p in said}) > 10
    if voices == 1:
        assert said[-1].other == pytest.approx(whole.other, abs=1e-5)
        assert said[-1].sure is whole.sure
    (batched,) = classifier.classify_many([Recording("clip", RATE, np.array_split(x, 9))])
    assert batched.answer().other == pytest.approx(whole.other, abs=1e-5)
    assert verify(classifier, x, RATE, seed).equal


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_the_mean_of_a_linear_function_over_the_votes(backend: str) -> None:
    classifier, x = Classifier(Checkpoint(MODEL), backend=backend), scene(3)
    answered, heard = intervals(classifier.runtime, x, RATE)
    assert MODEL.other is not None
    with torch.inference_mode():
        h = MODEL.heard(torch.from_numpy(heard.x))[0].numpy()
    votes = heard.kind[0] == 1
    weight, bias = MODEL.weights.layer("other")
    score = h[votes].mean(0, dtype=np.float64) @ weight[0] + bias[0]
    assert answered.other[votes, 0].mean() == pytest.approx(score, abs=1e-4)
    assert classifier.classify(x, RATE).other == pytest.approx(1 / (1 + np.exp(-score)), abs=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_else_is_to_the_bit_what_a_net_without_it_says(backend: str) -> None:
    x = scene(4)
    for voices in (1, 3):
        with_it, bare = (
            told(Classifier(Checkpoint(net), backend=backend), x, [777], voices)
            for net in (MODEL, without_other(MODEL))
        )
        assert {p.other for p in bare} == {None}
        same = [
            [(p.probs, p.now, p.attention, p.voice, p.voiced_s) for p in said] for said in (with_it, bare)
        ]
        assert same[0] == same[1]


def test_a_checkpoint_keeps_it_and_an_older_one_has_none(tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    checkpoint.save(Checkpoint(MODEL, CARD), path)
    loaded = checkpoint.load(path)
    assert loaded.architecture.other
    assert loaded.confidence == Confidence(0.5, 0.2, 0.5)
    x = scene(5)
    assert Classifier(loaded).classify(x, RATE).other == pytest.approx(
        Classifier(Checkpoint(MODEL, CARD)).classify(x, RATE).other, abs=1e-6
    )
    checkpoint.save(Checkpoint(without_other(MODEL), CARD), path)
    assert "other" not in checkpoint.load(path).architecture.to_dict()
    older = Classifier(checkpoint.load(path)).classify(x, RATE)
    assert older.other is None
    assert older.sure is (older.confidence >= 0.2)


@pytest.mark.parametrize("limit", [-0.1, 1.5, "much"])
def test_a_limit_that_cannot_be_is_refused(tmp_path, limit) -> None:
    path = tmp_path / "m.safetensors"
    checkpoint.save(Checkpoint(MODEL, {"abstain": {"other": limit}}), path)
    with pytest.raises(CheckpointError, match=str(limit)):
        checkpoint.load(path)


def test_it_needs_a_trunk() -> None:
    with pytest.raises(ValueError, match="trunk"):
        Architecture(("a", "b"), other=True)


def test_an_answer_is_sure_within_both_limits() -> None:
    both = Confidence(1.0, 0.6, 0.7)
    assert [both.sure(p, x) for p, x in ((0.6, 0.69), (0.6, 0.7), (0.59, 0.1), (0.9, None))] == [
        True,
        False,
        False,
        True,
    ]
    assert Confidence(1.0, 0.6).sure(0.6, 1.0) is True
    assert Confidence(1.0, None, 0.7).sure(0.6, 0.1) is None


def test_without_speech_there_is_none_and_a_withheld_answer_has_none() -> None:
    classifier = Classifier(Checkpoint(MODEL, CARD))
    assert classifier.classify(silence(2.0), RATE).other is None
    answer = classifier.classify(scene(6), RATE)
    assert withheld(answer, ["encrypted?"]).other is None
    assert decode(encode(answer)) == answer
    # A feed from before there was such a field.
    assert decode(encode(answer).replace(b'"other":', b'"unknown":')).other is None


def test_a_window_of_hours_averages_it_over_its_votes() -> None:
    rng, one = np.random.default_rng(0), np.zeros(1, np.intp)
    window = Window(1, 3, 2, 400, 40, other=True)
    c, votes = rng.normal(size=(1, 5000, 4)).astype(np.float32) * 20, rng.random((1, 5000)) < 0.7
    for k in range(0, 5000, 250):
        part = slice(k, k + 250)
        window.add(one, np.array([k]), c[:, part], np.zeros((1, 250, 2), np.float32), votes[:, part])
    reading = window.read(one, attention=False)
    some = c[0, -400:][votes[0, -400:]]
    assert reading.other is not None
    assert reading.other[0] == pytest.approx(some[:, 3].mean(dtype=np.float64), abs=1e-6)
    assert reading.mean[0] == pytest.approx(some[:, :3].mean(0, dtype=np.float64), abs=1e-6)
