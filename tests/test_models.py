"""Every model that ships: whole, of a card with licence and limits, and streamed as offline on real clips."""

from pathlib import Path

import pytest

import streamcab
from streamcab.nn import checkpoint
from streamcab.source.file import read_audio
from streamcab.verify import verify

MODELS = sorted(checkpoint.bundled().parent.glob("*.safetensors"))
CLIPS = sorted((checkpoint.bundled().parent.parent / "clips").glob("*.ogg"))
CONTEXT = checkpoint.bundled().with_name("context.safetensors")


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


def test_the_one_with_context_hears_seconds_costs_no_more_and_can_be_unsure() -> None:
    found = checkpoint.load(CONTEXT)
    arch = found.architecture
    assert arch.trunk
    assert sum(block.delay for block in arch.trunk) * arch.interval_s <= 0.5
    assert found.confidence.abstain_below == 0.65
    judged = found.card["judged"]
    text = CONTEXT.with_suffix(".md").read_text(encoding="utf-8")
    for figure in (judged["cv1"]["uar"], judged["cv1"]["us_uk"], judged["saa8k"]["uar"]):
        assert f"{figure:.3f}" in text
    assert found.hash in text
