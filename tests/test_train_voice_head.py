"""What tells voices apart, given to a model: the rest of it stays, and the threshold is kept by voices not heard."""

from pathlib import Path

import numpy as np
import pytest
from speech import SMALL_STAGES, SMALL_TRUNK, talk, tiny_model
from streamcab_train.voice_head import CLIPS, EVERY_S, NUMBERS, attach, changed, hear, some_of_each, taught
from streamcab_train.voices import Voice

from streamcab.classifier import Classifier
from streamcab.nn import checkpoint
from streamcab.nn.checkpoint import Checkpoint
from streamcab.source.file import read_audio

INTERVAL_S, FEATURES = 0.025, 30


def voices_and_numbers(rng: np.random.Generator) -> tuple[list[Voice], list[np.ndarray]]:
    """Thirty speakers of two clips, and what a trunk would say of them."""
    voices, heard = [], []
    for who in range(30):
        mean = rng.normal(0, 1, FEATURES)
        for clip in range(2):
            voices.append(Voice(Path(f"{who}-{clip}.wav"), "c", f"c:{who}", "", -1, known=True))
            heard.append((mean + rng.normal(0, 3, (400, FEATURES))).astype(np.float32))
    return voices, heard


def test_the_threshold_is_one_that_other_voices_keep() -> None:
    voices, heard = voices_and_numbers(np.random.default_rng(0))
    fitted, odds = taught(voices, heard, INTERVAL_S, seed=0)
    assert fitted.weight.shape == (NUMBERS, FEATURES)
    numbers = [(h @ fitted.weight.T + fitted.bias).astype(np.float32) for h in heard]
    false = sum(changed(fitted, v, odds) for v in numbers)
    assert false <= 2 * sum(map(len, heard)) * INTERVAL_S / EVERY_S
    pairs = [np.concatenate((numbers[i], numbers[i + 2])) for i in range(0, 50, 2)]
    assert sum(changed(fitted, v, odds) == 1 for v in pairs) > 20


def test_a_model_that_has_it_answers_as_before(tmp_path: Path) -> None:
    voices, heard = voices_and_numbers(np.random.default_rng(1))
    before = Checkpoint(tiny_model(4, stages=SMALL_STAGES, classifiers=8, **SMALL_TRUNK), {"name": "tiny"})
    width = before.architecture.stages[-1].filters
    fitted, odds = taught(voices, [h[:, :width] for h in heard], INTERVAL_S, seed=0)
    path = tmp_path / "m.safetensors"
    checkpoint.save(attach(before, fitted, odds, {"threshold": odds}), path)
    after = checkpoint.load(path)
    assert after.architecture.voice == len(fitted.bias)
    assert after.card["parameters"] == sum(p.numel() for p in after.model.parameters())
    x = talk(4, 8000)
    a, b = (Classifier(one, backend="torch").classify(x, 8000) for one in (before, after))
    assert a.probs == b.probs
    # Anew: what it had of that before is replaced.
    again = attach(after, fitted, odds + 1, {})
    assert again.weights.arrays.keys() == after.weights.arrays.keys()


def test_of_each_voice_a_few_clips_are_heard() -> None:
    voices = [Voice(Path(str(i)), "c", f"g{i % 2}", "", -1) for i in range(40)]
    some = some_of_each(voices, 0)
    assert sorted(v.group for v in some) == ["g0"] * CLIPS + ["g1"] * CLIPS


def test_what_is_heard_are_the_intervals_that_vote(tmp_path: Path) -> None:
    from signals import write_wav

    model = Checkpoint(tiny_model(4, stages=SMALL_STAGES, classifiers=8, **SMALL_TRUNK))
    path = write_wav(tmp_path / "a.wav", talk(3, 8000), 8000)
    (h,) = hear([Voice(path, "c", "g", "", -1)], model, print)
    answer = Classifier(model, backend="torch").classify(*read_audio(path))
    assert len(h) * INTERVAL_S == pytest.approx(answer.voiced_s)
    assert h.shape[1] == model.architecture.stages[-1].filters
