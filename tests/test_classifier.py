"""The Python interface, as the README tells it: load, classify, stream, push, finish."""

from pathlib import Path

import numpy as np
import pytest
import sounds
from hypothesis import given
from hypothesis import strategies as st
from searches import examples
from speech import SMALL_STAGES, naive_intervals, noise, silence, talk, tiny_model

import streamcab
from streamcab.classifier import Classifier
from streamcab.errors import AudioError, CheckpointError, ConfigError
from streamcab.nn import checkpoint
from streamcab.nn.checkpoint import Checkpoint

LABELS = ["au", "uk", "us"]


@pytest.fixture(scope="module")
def clf(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    checkpoint.save(Checkpoint(tiny_model(0, stages=SMALL_STAGES, classifiers=8), {"name": "tiny"}), path)
    return streamcab.load(path, compute="cpu")


@pytest.fixture(scope="module")
def paper() -> Classifier:
    return Classifier(Checkpoint(tiny_model(0)))


def test_load_takes_text_and_paths(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    checkpoint.save(Checkpoint(tiny_model(0, stages=SMALL_STAGES)), path)
    a, b = streamcab.load(path), streamcab.load(str(path))
    assert a.labels == b.labels == LABELS
    assert a.checkpoint.hash == b.checkpoint.hash


@pytest.mark.skipif(not checkpoint.bundled().exists(), reason="no model is bundled yet")
def test_the_bundled_model_loads_and_answers() -> None:
    answer = streamcab.load().classify(sounds.speech("us-2"), sounds.RATE)
    assert sum(answer.probs.values()) == pytest.approx(1, abs=1e-5)


def test_load_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="none"):
        streamcab.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("compute", ["gpu", "cuda:x", "cuda:", "cpu:0", "", "CPU"])
def test_a_device_that_cannot_be_is_a_configuration_error(tmp_path: Path, compute: str) -> None:
    path = tmp_path / "m.safetensors"
    checkpoint.save(Checkpoint(tiny_model(0, stages=SMALL_STAGES)), path)
    with pytest.raises(ConfigError, match="compute is"):
        streamcab.load(path, compute=compute)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_classify_is_the_mean_of_the_voiced_intervals(paper: Classifier, rate: int) -> None:
    x = np.concatenate([noise(1, rate, rms=1e-3), talk(6, rate, seed=1), silence(1, rate)])
    c, alpha, kind = naive_intervals(paper.checkpoint.model, x, rate)
    voiced = kind == 1
    answer = paper.classify(x, rate)
    expected = c[voiced].mean(0)
    assert list(answer.probs) == answer.labels == LABELS
    np.testing.assert_allclose(list(answer.probs.values()), expected, atol=1e-5)
    assert answer.top == LABELS[int(expected.argmax())]
    assert answer.confidence == max(answer.probs.values())
    assert answer.voiced_s == answer.heard_s == pytest.approx(voiced.sum() * 0.025)
    assert answer.window_s == pytest.approx(8)
    assert (answer.sample, answer.rate, answer.state) == (len(x), rate, "ended")
    np.testing.assert_allclose(answer.attention, alpha[voiced].mean(0), atol=2e-4)


def test_without_a_gate_every_interval_votes(paper: Classifier) -> None:
    x = np.concatenate([silence(2), talk(3, seed=2)])
    c, _, _ = naive_intervals(paper.checkpoint.model, x, 8000)
    answer = paper.classify(x, 8000, gate=False)
    np.testing.assert_allclose(list(answer.probs.values()), c.mean(0), atol=1e-5)
    assert answer.voiced_s == pytest.approx(5)
    assert paper.classify(x, 8000, gate=True).voiced_s < 3


def test_silence_has_no_answer(clf: Classifier) -> None:
    answer = clf.classify(silence(5), 8000)
    assert answer.probs == {}
    assert answer.now == {}
    assert (answer.top, answer.confidence, answer.voiced_s, answer.level_db) == (None, None, 0, None)


def test_a_model_of_whole_clips_classifies_and_does_not_stream() -> None:
    clip = Classifier(Checkpoint(tiny_model(0, stages=SMALL_STAGES, normaliser="clip")))
    x = talk(3, seed=3)
    quiet, loud = clip.classify(x, 8000), clip.classify(3 * x, 8000)
    np.testing.assert_allclose(list(quiet.probs.values()), list(loud.probs.values()), atol=1e-4)
    with pytest.raises(ConfigError, match=r"configs/live\.toml"):
        clip.stream(8000)


def test_integers_floats_and_channels_are_the_same_sound(clf: Classifier) -> None:
    x = (talk(3, 16000, seed=4) * 32768).clip(-32768, 32767).astype(np.int16)
    mono = x / 32768
    ways = {
        "int16": x,
        "int32": x.astype(np.int32) * 65536,
        "float32": mono.astype(np.float32),
        "float64": mono,
        "list": mono.tolist(),
        "one channel": mono[:, None],
        "stereo": np.stack((mono, mono), 1),
        "int16 stereo": np.stack((x, x), 1),
        "left and silence, twice as loud": np.stack((2 * mono, 0 * mono), 1),
        "every second of a longer array": np.repeat(mono, 2)[::2],
        "one channel first": mono[None],
        "one channel first, int16": x[None],
    }
    expected = list(clf.classify(mono, 16000).probs.values())
    for way, samples in ways.items():
        got = list(clf.classify(samples, 16000).probs.values())
        np.testing.assert_allclose(got, expected, atol=1e-5, err_msg=way)


def test_arguments_are_left_as_they_were(clf: Classifier) -> None:
    x = np.stack((talk(2, seed=5), noise(2)), 1)
    before = x.copy()
    clf.classify(x, 8000)
    clf.stream(8000).push(x)
    np.testing.assert_array_equal(x, before)


BAD = {
    "NaN": (np.array([0.0, np.nan, 0.1]), "number 1"),
    "infinity": (np.array([0.0, 0.1, -np.inf], np.float32), "number 2"),
    "a number beyond float32": (np.array([1e300, 0.0]), "number 0"),
    "garbage read as floats": (np.array([0.0, 1e30], np.float32), "number 1"),
    "NaN in one channel": (np.array([[0.0, 0.0], [0.1, np.nan]]), "number 1"),
    "opposite infinities": (np.array([[np.inf, -np.inf]]), "number 0"),
    "a scalar": (np.float64(0.5), "shape"),
    "three dimensions": (np.zeros((2, 3, 4)), "shape"),
    "no channels": (np.zeros((100, 0)), "shape"),
    "channels first": (np.zeros((2, 16000)), r"samples\.T"),
    "a path": ("talk.wav", "read the file first"),
    "a path that is one": (Path("talk.wav"), "read the file first"),
    "text": (np.array(["a", "b"]), "type"),
    "complex": (np.zeros(9, complex), "type"),
    "unsigned": (np.zeros(9, np.uint16), "type"),
    "objects": (np.array([None, 1.0]), "type"),
    "rows of different lengths": ([[0.0], [0.0, 1.0]], "lengths"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_heard_is_an_audio_error(clf: Classifier, what: str) -> None:
    samples, word = BAD[what]
    with pytest.raises(AudioError, match=word):
        clf.classify(samples, 8000)
    stream = clf.stream(8000)
    with pytest.raises(AudioError, match=word):
        stream.push(samples)


@pytest.mark.parametrize(
    "rate", [0, -8000, 1999, 10**6, float("nan"), float("inf"), 8000.5, "8000", None, True]
)
def test_a_rate_that_is_no_audio_is_an_audio_error(clf: Classifier, rate: object) -> None:
    with pytest.raises(AudioError, match="rate"):
        clf.classify(silence(1), rate)
    with pytest.raises(AudioError, match="rate"):
        clf.stream(rate)


def test_rates_may_be_numpys_or_whole_floats(clf: Classifier) -> None:
    x = talk(2, seed=6)
    assert (
        clf.classify(x, np.int64(8000)).probs == clf.classify(x, 8000.0).probs == clf.classify(x, 8000).probs
    )


@pytest.mark.parametrize("n", [0, 1, 199])
def test_a_clip_of_less_than_an_interval_is_an_audio_error(clf: Classifier, n: int) -> None:
    with pytest.raises(AudioError, match="at least 25 ms"):
        clf.classify(np.zeros(n), 8000)
    clf.classify(np.zeros(200), 8000)


@pytest.mark.parametrize("rate", [8000, 11025, 48000])
def test_a_stream_ends_with_the_answer_of_the_clip(clf: Classifier, rate: int) -> None:
    x = np.concatenate([silence(0.3, rate), talk(6, rate, seed=7)])
    stream, at, predictions = clf.stream(rate), 0, []
    rng = np.random.default_rng(0)
    while at < len(x):
        n = int(rng.integers(1, rate))
        predictions += stream.push(x[at : at + n])
        at += n
    last = stream.finish()[-1]
    whole = clf.classify(x, rate)
    np.testing.assert_allclose(list(last.probs.values()), list(whole.probs.values()), atol=1e-5)
    assert (last.top, last.state, last.sample) == (whole.top, "ended", len(x))
    assert last.voiced_s == pytest.approx(whole.voiced_s)
    assert last.heard_s == pytest.approx(whole.heard_s)
    assert last.window_s == pytest.approx(whole.window_s)


@examples(5, 10)
@given(sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_chunks_change_when_an_answer_comes_and_never_what_it_is(
    clf: Classifier, sizes: list[int], seed: int
) -> None:
    x = np.stack((talk(4, 16000, seed), noise(4, 16000, seed)), 1)
    said = []
    for cut in (sizes, [320]):
        stream, at, turn, predictions = clf.stream(16000), 0, 0, []
        while at < len(x):
            n = max(cut[turn % len(cut)], len(x) // 200)
            predictions += stream.push(x[at : at + n])
            at, turn = at + n, turn + 1
        said.append(predictions + stream.finish())
    assert len(said[0]) == len(said[1]) == 41
    for a, b in zip(*said, strict=True):
        assert (a.sample, a.voiced_s, a.heard_s, a.window_s, a.state, a.seq) == (
            b.sample,
            b.voiced_s,
            b.heard_s,
            b.window_s,
            b.state,
            b.seq,
        )
        for p, q in ((a.probs, b.probs), (a.now, b.now)):
            np.testing.assert_allclose(list(p.values()), list(q.values()), atol=1e-5)


def test_predictions_come_every_tenth_of_a_second_of_audio(clf: Classifier) -> None:
    x = talk(5, seed=8)
    for every_s, n in ((0.1, 50), (0.025, 200), (1.0, 5)):
        stream = clf.stream(8000, every_s=every_s)
        said = stream.push(x) + stream.finish()[:-1]
        assert len(said) == n
        np.testing.assert_allclose(np.diff([p.window_s for p in said]), every_s)
        assert [p.seq for p in said] == list(range(1, n + 1))
        samples = [p.sample for p in said]
        assert samples == sorted(samples)
        assert samples[-1] <= len(x)
        # The newest sample used is the look-ahead's last.
        assert samples[0] == every_s * 8000 + 600


@pytest.mark.parametrize("pooled_rate", [8000, 2000])
def test_now_is_the_newest_second_whatever_the_interval(pooled_rate: int) -> None:
    model = tiny_model(0, stages=SMALL_STAGES, classifiers=8, pooled_rate=pooled_rate)
    clf, x, second = Classifier(Checkpoint(model)), talk(4, seed=3), model.architecture.intervals(1.0)
    assert second in (20, 80)
    said = clf.stream(8000, gate=False)
    last = [*said.push(x), *said.finish()][-1]
    stream = clf.stream(8000)
    every = [e.c[0] for chunk in (x, None) for e in stream.push_intervals(chunk)]
    newest = np.concatenate(every)[-second:].mean(0, dtype=np.float64)
    assert [last.now[label] for label in LABELS] == pytest.approx(newest, abs=1e-5)


def test_probabilities_are_a_mapping_that_sums_to_one(clf: Classifier) -> None:
    said = clf.stream(8000).push(talk(5, seed=9))
    assert len(said) > 30
    for p in said:
        for probs in (p.probs, p.now):
            assert list(probs) == LABELS or probs == {}
            assert not probs or sum(probs.values()) == pytest.approx(1, abs=1e-5)
        assert (p.top is None) == (p.probs == {}) == (p.voiced_s == 0)


def test_states_are_warming_live_silent_and_ended(clf: Classifier) -> None:
    stream = clf.stream(8000, window_s=5)
    states = {}
    for second, x in enumerate([silence(1), *np.split(talk(8, seed=1), 8), *[silence(1)] * 10]):
        states[second] = [p.state for p in stream.push(x)]
    assert set(states[0]) == {"silent"}
    assert set(states[2]) == {"warming"}
    assert set(states[7]) == {"live"}
    assert set(states[18]) == {"silent"}
    assert stream.finish()[-1].state == "ended"


def test_the_window_forgets_and_the_count_of_what_was_heard_does_not(clf: Classifier) -> None:
    stream = clf.stream(8000, window_s=2)
    said = stream.push(np.concatenate([talk(6, seed=2), silence(4)]))
    assert max(p.window_s for p in said) == 2
    assert said[-1].voiced_s == 0
    assert said[-1].heard_s > 3


def test_a_finished_stream_hears_no_more(clf: Classifier) -> None:
    stream = clf.stream(8000)
    stream.push(talk(1))
    assert stream.finish()[-1].state == "ended"
    assert stream.finish() == []
    with pytest.raises(AudioError, match="finished"):
        stream.push(talk(1))


def test_nothing_pushed_is_nothing_said(clf: Classifier) -> None:
    stream = clf.stream(8000)
    assert stream.push([]) == []
    assert stream.push(np.zeros((0, 2), np.int16)) == []
    (only,) = stream.finish()
    assert (only.state, only.probs, only.top, only.sample) == ("ended", {}, None, 0)


@pytest.mark.parametrize(
    "wrong",
    [{"window_s": 0}, {"every_s": 0}, {"window_s": -1}, {"window_s": float("nan")}, {"every_s": 1e400}],
)
def test_a_window_that_cannot_be_is_a_configuration_error(clf: Classifier, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="at least"):
        clf.stream(8000, **wrong)


def test_streams_of_one_classifier_do_not_touch(clf: Classifier) -> None:
    x, y = talk(3, seed=3), talk(3, 44100, seed=4)
    a, b, alone = clf.stream(8000), clf.stream(44100), clf.stream(8000)
    for i in range(10):
        a.push(x[i * 2400 : (i + 1) * 2400])
        b.push(y[i * 13230 : (i + 1) * 13230])
    alone.push(x)
    np.testing.assert_allclose(
        list(a.finish()[-1].probs.values()), list(alone.finish()[-1].probs.values()), atol=1e-5
    )


def test_predictions_are_messages_of_the_feed(clf: Classifier) -> None:
    from streamcab.message import decode, encode

    for p in clf.stream(8000, name="mic").push(talk(2, seed=5)):
        assert p.stream == "mic"
        assert p.model == clf.checkpoint.hash
        assert decode(encode(p)) == p
