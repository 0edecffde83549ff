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


def test_the_default_hears_seconds_tells_speech_and_can_be_unsure() -> None:
    found = checkpoint.load(checkpoint.bundled())
    arch = found.architecture
    assert arch.trunk
    assert arch.detector
    assert sum(block.delay for block in arch.trunk) * arch.interval_s <= 0.5
    assert found.confidence.abstain_below == 0.65
    assert arch.other
    assert 0.4 < found.confidence.abstain_other < 0.7
    judged = found.card["judged"]
    text = checkpoint.bundled().with_name("README.md").read_text(encoding="utf-8")
    for figure in (judged["cv1"]["uar"], judged["cv1"]["us_uk"], judged["saa8k"]["uar"]):
        assert f"{figure:.3f}" in text
    assert found.hash in text


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
