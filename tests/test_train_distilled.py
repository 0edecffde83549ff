"""A frozen distiller's a_t, made once: what the net would have made, kept, and left as it was taught by training."""

import numpy as np
import pytest
import soundfile
import torch
from speech import talk
from streamcab_train.dataset import gather
from streamcab_train.distilled import distilled
from streamcab_train.evaluate import evaluate
from streamcab_train.manifest import read_manifest
from streamcab_train.recipe import read_recipe
from streamcab_train.run import train
from streamcab_train.split import DISJOINT

from streamcab.classifier import Classifier
from streamcab.errors import CorpusError
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import Checkpoint, load, save

RECIPE = """
[corpus]
label = "accent"
[split]
train = 0.4
validation = 0.2
test = 0.4
[model]
pooled_rate = 8000
stages = "wide"
summary = 3
lags = [0, 4]
classifiers = 2
[training]
start = "{start}"
frozen = true
epochs = 2
batch = 2
seconds = 0.5
crop = "random"
"""


@pytest.fixture
def corpus(tmp_path):
    rows = ["path,accent,speaker"]
    for i in range(10):
        soundfile.write(tmp_path / f"{i}.wav", talk(2, 8000, i), 8000)
        rows.append(f"{i}.wav,{'us' if i % 2 else 'uk'},s{i}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(start=tmp_path / "pretrained.safetensors"))
    torch.manual_seed(0)
    model = CabCnn(read_recipe(tmp_path / "recipe.toml").architecture(("uk", "us")))
    model.distiller.norm.running_var.fill_(0.3)
    save(Checkpoint(model), tmp_path / "pretrained.safetensors")
    return tmp_path


def test_it_is_what_the_net_makes_and_kept(corpus) -> None:
    recipe = read_recipe(corpus / "recipe.toml")
    dataset = gather(read_manifest(corpus / "manifest.csv", recipe.corpus), recipe, corpus / "cache")
    words = dataset.features, dataset.architecture, corpus / "pretrained.safetensors", corpus / "cache"
    made = distilled(*words)
    model = load(corpus / "pretrained.safetensors").model
    for i in range(10):
        x, kind = dataset.features.clip(i)
        a, same = made.clip(i)
        with torch.inference_mode():
            want = model.distiller(torch.from_numpy(x[None].copy()))[0].numpy()
        np.testing.assert_array_equal(a, want)
        np.testing.assert_array_equal(same, kind)
    (file,) = (corpus / "cache").glob("*.npy")
    stamp = file.stat().st_mtime_ns
    distilled(*words)
    assert file.stat().st_mtime_ns == stamp
    damaged = file.read_bytes()[:-1]
    file.unlink()
    file.write_bytes(damaged)
    np.testing.assert_array_equal(distilled(*words).x, made.x)


def test_training_leaves_it_as_it_was_taught_and_the_model_answers_as_it_was_judged(corpus) -> None:
    trained = train(
        corpus / "manifest.csv", corpus / "recipe.toml", corpus / "out", cache=corpus / "cache", threads=1
    )
    taught, model = load(corpus / "pretrained.safetensors").model, trained.model
    for name, value in taught.distiller.state_dict().items():
        assert torch.equal(model.distiller.state_dict()[name], value), name
    assert model.evidence.weight.abs().max() > 0
    # Validation chose the temperature, and then taught the evidence.
    assert trained.card["calibration"]["clips"] == 2
    assert len(trained.card["training_speakers"]) == 6
    with pytest.raises(CorpusError, match="2 of 2 speakers"):
        evaluate(
            corpus / "manifest.csv",
            corpus / "out" / "model.safetensors",
            corpus / "cache",
            fit=corpus / "fit",
        )
    report = evaluate(
        corpus / "manifest.csv", corpus / "out" / "model.safetensors", corpus / "cache", draws=50
    )
    assert report["data"]["protocol"] == DISJOINT
    head, *rows = (corpus / "out" / "test.csv").read_text(encoding="utf-8").splitlines()
    labels = head.split(",")[4:]
    for row in rows:
        path, *_, first, second = row.split(",")
        said = Classifier(trained).classify(soundfile.read(corpus / path, dtype="float32")[0], 8000)
        assert [said.probs[label] for label in labels] == pytest.approx(
            [float(first), float(second)], abs=2e-5
        )
