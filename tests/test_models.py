"""Every model that ships: whole, of a card with licence and limits, and streamed as offline on real clips."""

from pathlib import Path

import pytest

import streamcab
from streamcab.nn import checkpoint
from streamcab.source.file import read_audio
from streamcab.verify import verify

MODELS = sorted(checkpoint.bundled().parent.glob("*.safetensors"))
CLIPS = sorted((checkpoint.bundled().parent.parent / "clips").glob("*.ogg"))


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_streamed_it_equals_offline(path: Path) -> None:
    samples, rate = read_audio(CLIPS[0])
    found = verify(streamcab.load(path), samples, rate, seed=1)
    assert found.equal, found


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_its_card_names_licence_parameters_and_temperature(path: Path) -> None:
    found = checkpoint.load(path)
    assert found.card["licence"]
    assert found.card["parameters"] == sum(p.numel() for p in found.model.parameters())
    assert found.confidence.temperature != 1


@pytest.mark.parametrize("name", ["default", "saa"])
def test_models_with_context_hear_seconds_tell_speech_and_can_be_unsure(name: str) -> None:
    found = checkpoint.load(checkpoint.bundled(name))
    arch = found.architecture
    assert arch.trunk
    assert arch.detector
    assert sum(block.delay for block in arch.trunk) * arch.interval_s <= 0.5
    assert found.confidence.abstain_below == 0.65


def test_the_default_is_for_anybody_and_its_page_has_its_figures() -> None:
    found = checkpoint.load(checkpoint.bundled())
    assert found.card["licence"] == "CC BY-SA 4.0"
    assert "saa8k" not in found.card["corpus"]
    text = checkpoint.bundled().with_name("README.md").read_text(encoding="utf-8")
    judged = found.card["judged"]
    for figure in (judged["cv1"]["uar"], judged["cv1"]["auc"]["us/uk"], judged["saa8k"]["uar"]):
        assert f"{figure:.3f}" in text
    assert found.hash in text


def test_the_page_of_the_other_has_its_hash() -> None:
    text = checkpoint.bundled().with_name("saa.md").read_text(encoding="utf-8")
    assert checkpoint.load(checkpoint.bundled("saa")).hash in text


def test_a_bare_name_means_a_model_that_ships_a_path_the_file_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkpoint.find(None) == checkpoint.bundled()
    assert checkpoint.find("phones") == checkpoint.bundled("phones")
    assert checkpoint.find("unknown") == Path("unknown")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phones").touch()
    assert checkpoint.find("phones") == Path("phones")
    assert checkpoint.find(tmp_path / "mine.safetensors") == tmp_path / "mine.safetensors"
