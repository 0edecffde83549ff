"""The model with evidence by phone, which ships beside the default: on the archive it does what its card says."""

import os
from pathlib import Path

import pytest
from streamcab_train.batches import whole_clips
from streamcab_train.dataset import gather
from streamcab_train.loop import judge
from streamcab_train.manifest import PARTS, read_manifest
from streamcab_train.recipe import read_recipe
from streamcab_train.selection import model_recipe
from streamcab_train.split import DISJOINT

from streamcab.nn import checkpoint
from streamcab.nn.checkpoint import Checkpoint

RECIPE = Path(__file__).parent.parent / "configs" / "phones.toml"
README = checkpoint.bundled("phones").with_suffix(".md")


@pytest.fixture(scope="module")
def bundled() -> Checkpoint:
    return checkpoint.load(checkpoint.bundled("phones"))


def test_it_can_be_streamed_and_has_evidence(bundled: Checkpoint) -> None:
    arch = bundled.architecture
    assert (arch.normaliser, arch.gate, arch.labels) == ("running", True, ("us", "uk", "australia"))
    assert (arch.summary, arch.lags, arch.phones, arch.reach, arch.pooled_rate) == (13, (), 35, 2, 8000)
    assert sum(p.numel() for p in bundled.model.parameters()) == bundled.card["parameters"] == 160_737


def test_its_card_is_whole_and_its_readme_says_the_same(bundled: Checkpoint) -> None:
    card = bundled.card
    test = card["scores"]["test"]
    made, recipe = model_recipe(bundled).to_dict(), read_recipe(RECIPE).to_dict()
    assert Path(made["training"].pop("start")).parts[0] == "runs"  # where the pretrained distiller was
    assert recipe["training"].pop("start")
    assert made == recipe
    assert card["licence"] == "CC BY-NC-SA"
    assert card["protocol"] == test["protocol"] == DISJOINT
    text = README.read_text(encoding="utf-8")
    low, high = test["uar_95"]
    facts = [
        card["licence"],
        card["corpus_hash"],
        bundled.hash,
        f"{test['uar']:.3f}",
        f"{low:.2f} to {high:.2f}",
    ]
    facts += [f"{test['accuracy']:.3f}", f"{test['f1']:.3f}"]
    facts += [
        f"| {label} | {' | '.join(str(n[p]) for p in PARTS)} |" for label, n in card["speakers"].items()
    ]
    assert [fact for fact in facts if fact not in text] == []


@pytest.mark.corpus
def test_it_does_on_the_archive_what_its_card_says(bundled: Checkpoint, tmp_path: Path) -> None:
    if not os.environ.get("STREAMCAB_CORPUS"):
        pytest.skip("STREAMCAB_CORPUS is not set to the folder of saa8k")
    recipe = read_recipe(RECIPE)
    manifest = read_manifest(Path(os.environ["STREAMCAB_CORPUS"]) / "manifest.csv", recipe.corpus)
    dataset = gather(manifest, recipe, tmp_path)
    assert dataset.hash == bundled.card["corpus_hash"]
    judged = judge(bundled.model, whole_clips(dataset.select("test"), recipe.training, 0.025))
    printed = bundled.card["scores"]["test"]
    assert judged.scores.confusion.tolist() == printed["confusion"]
    assert round(judged.scores.uar, 4) == printed["uar"]
