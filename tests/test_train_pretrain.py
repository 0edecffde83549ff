"""Pretraining: its targets, its speakers, and that a killed run resumes to the same weights."""

import dataclasses

import numpy as np
import pytest
import soundfile
import torch
from scipy.fft import dct
from speech import noise, talk
from streamcab_train import pretrain as module
from streamcab_train.cepstra import cepstra, louder
from streamcab_train.pretrain import PRETRAINED, STATE, begin_from, pretrain, strangers
from streamcab_train.recipe import read_recipe
from streamcab_train.recipe_keys import CorpusKeys

from streamcab.errors import CheckpointError, ConfigError, CorpusError
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import load

RECIPE = """
[corpus]
label = "accent"
[corpus.labels]
us = "us"
england = "uk"
[model]
pooled_rate = 8000
stages = "wide"
summary = 13
lags = [0, 4]
classifiers = 2
[pretrain]
steps = {steps}
batch = 2
seconds = 0.5
"""


@pytest.fixture
def corpus(tmp_path):
    rows = ["path,accent,speaker"]
    for i, accent in enumerate(["us", "england", "french", "french", "dutch"]):
        soundfile.write(tmp_path / f"{i}.wav", talk(3, 8000, i), 8000)
        rows.append(f"{i}.wav,{accent},s{i}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(steps=4))
    return tmp_path


def by_hand(x: np.ndarray, k: int, rate: int = 8000, interval: int = 200) -> np.ndarray:
    """One interval's cepstra, frame by frame, bin by bin."""
    padded = np.concatenate((np.zeros(1000), x, np.zeros(1000)))
    logs = []
    for frame in range(3):
        start = 1000 + k * interval + (frame - 1) * interval // 2
        cut = padded[start : start + interval] - 0.97 * padded[start - 1 : start - 1 + interval]
        power = np.abs(np.fft.rfft(cut * np.hamming(interval), 256)) ** 2
        edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([60, 3900]) / 700)), 28) / 2595) - 1)
        bands = [
            np.interp(np.arange(129) * rate / 256, edges[b : b + 3], [0, 1, 0]) @ power for b in range(26)
        ]
        logs.append(np.log(np.array(bands) + 1e-4))
    return dct(np.mean(logs, 0), norm="ortho")[:13]


def test_the_cepstra_are_those_computed_by_hand() -> None:
    x = talk(2, 8000, 1) * 8
    said = cepstra(x.astype(np.float32), 8000, 200)
    assert said.shape == (80, 13)
    for k in (0, 7, 79):
        np.testing.assert_allclose(said[k], by_hand(x[:16000], k), rtol=1e-4, atol=1e-3)


def test_louder_is_a_shift_of_the_first() -> None:
    x = noise(1, 8000, 3, rms=1.0)
    shift = cepstra(2 * x, 8000, 200) - cepstra(x, 8000, 200)
    np.testing.assert_allclose(shift[2:-2, 0], louder(np.log(2)), atol=0.02)
    np.testing.assert_allclose(shift[2:-2, 1:], 0, atol=0.02)


def test_only_speakers_outside_the_classes_are_used(corpus) -> None:
    keys = CorpusKeys(label="accent", labels={"us": "us", "england": "uk"})
    assert [clip.speaker for clip in strangers(corpus / "manifest.csv", keys)] == ["s2", "s3", "s4"]


def test_a_speaker_of_both_kinds_is_refused(corpus) -> None:
    path = corpus / "manifest.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("dutch,s4", "dutch,s0"))
    with pytest.raises(CorpusError, match="'s0' has rows in a class and rows in none"):
        strangers(path, CorpusKeys(label="accent", labels={"us": "us", "england": "uk"}))


def test_without_such_speakers_there_is_no_pretraining(corpus) -> None:
    everyone = {name: name for name in ("us", "england", "french", "dutch")}
    with pytest.raises(CorpusError, match="none is left"):
        strangers(corpus / "manifest.csv", CorpusKeys(label="accent", labels=everyone))


def test_a_killed_run_goes_on_to_the_same_weights(corpus, monkeypatch) -> None:
    monkeypatch.setattr(module, "SAVE", 2)
    words = corpus / "manifest.csv", corpus / "recipe.toml"
    whole = pretrain(*words, corpus / "whole", cache=corpus / "cache", threads=1)

    class Killed(Exception):
        pass

    def kill_after_the_first_state(*args: object) -> None:
        save(*args)
        raise Killed

    save = module.save_state
    monkeypatch.setattr(module, "save_state", kill_after_the_first_state)
    with pytest.raises(Killed):
        pretrain(*words, corpus / "cut", cache=corpus / "cache", threads=1)
    assert not (corpus / "cut" / PRETRAINED).exists()
    assert (corpus / "cut" / STATE).exists()
    monkeypatch.setattr(module, "save_state", save)
    gone_on = pretrain(*words, corpus / "cut", cache=corpus / "cache", threads=1)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(gone_on.model.state_dict()[name], value), name
    assert len(whole.card["r2"]) == 13


def test_a_run_begins_with_a_pretrained_distiller_only_if_it_fits(corpus) -> None:
    words = corpus / "manifest.csv", corpus / "recipe.toml"
    pretrained = pretrain(*words, corpus / "out", cache=corpus / "cache", threads=1)
    recipe = read_recipe(corpus / "recipe.toml")
    model = CabCnn(recipe.architecture(("us", "uk")))
    begin_from(model, corpus / "out" / PRETRAINED)
    loaded = load(corpus / "out" / PRETRAINED).model
    assert torch.equal(model.summary.weight, loaded.summary.weight)
    assert torch.equal(model.distiller.stages[0].weight, pretrained.model.distiller.stages[0].weight)
    other = CabCnn(dataclasses.replace(recipe.architecture(("us", "uk")), rate=16000))
    with pytest.raises(CheckpointError, match="pretrained with rate 8000, and the recipe has 16000"):
        begin_from(other, corpus / "out" / PRETRAINED)


def test_a_recipe_that_cannot_be_pretrained_is_refused(corpus) -> None:
    path = corpus / "recipe.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("summary = 13", "summary = 5"))
    with pytest.raises(ConfigError, match=r"13 cepstra .* model.summary is 5"):
        pretrain(corpus / "manifest.csv", path, corpus / "out", cache=corpus / "cache")
