"""One's own accents from a trained model, on generated talk: what stays, what is learnt, and that it streams."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from corpus import make_corpus
from speech import talk
from streamcab_train.dataset import gather
from streamcab_train.distilled import as_read
from streamcab_train.evaluate import evaluate
from streamcab_train.head import HeadKeys
from streamcab_train.manifest import read_manifest
from streamcab_train.own import KEPT, believed, columns_of, from_scratch, speakers_a_class, train_own
from streamcab_train.recipe import Recipe
from streamcab_train.recipe_keys import CorpusKeys

from streamcab.classifier import Classifier
from streamcab.cli import main
from streamcab.dsp.gate import VOICED
from streamcab.errors import ConfigError, CorpusError
from streamcab.inference.offline import features
from streamcab.nn import checkpoint
from streamcab.nn.weights import detector_of
from streamcab.verify import verify

KEYS = HeadKeys(steps=40, every=20, batch=8, heard=8)
SPEAKERS = 6


def write_talk(folder: Path, columns: str = "path,accent,group") -> Path:
    """Two accents of six voices, which differ in how fast they talk."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [columns]
    for k, accent in enumerate(("quick", "slow")):
        for voice in range(SPEAKERS):
            name = f"{accent}{voice}.wav"
            rate = 8000 if k else 6400  # the same kind of voice, played a quarter faster
            soundfile.write(folder / name, talk(3, rate, 20 * k + voice), 8000)
            rows.append(f"{name},{accent},{accent}{voice}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, and the run of it in `run`, by the command."""
    folder = tmp_path_factory.mktemp("own")
    write_talk(folder)
    return folder


@pytest.fixture(scope="module")
def made(home: Path) -> checkpoint.Checkpoint:
    return train_own(
        home / "manifest.csv", checkpoint.bundled(), home / "run", keys=KEYS, cache=home / "cache", threads=1
    )


def test_all_but_the_acb_is_the_bundled_models(made: checkpoint.Checkpoint) -> None:
    base = checkpoint.load(checkpoint.bundled())
    assert made.architecture.labels == ("quick", "slow")
    assert made.architecture.trunk == base.architecture.trunk
    # It was fitted for the labels of the bundled model.
    assert base.architecture.other
    assert not made.architecture.other
    assert made.confidence.abstain_other is None
    for name, array in base.weights.arrays.items():
        if name.startswith(KEPT):
            np.testing.assert_array_equal(made.weights.arrays[name], array)


def test_streamed_equals_offline(made: checkpoint.Checkpoint) -> None:
    verdict = verify(Classifier(made), talk(8, 16000, 99), 16000)
    assert verdict.voiced > 40
    assert verdict.equal, verdict


def test_what_the_acb_reads_is_what_is_served(made: checkpoint.Checkpoint, home: Path) -> None:
    """From the cache, through the new ACB: the c_t of the checkpoint, for the same intervals that vote."""
    import torch

    data = home / "manifest.csv"
    corpus = CorpusKeys(label="accent", speaker="group")
    dataset = gather(read_manifest(data, corpus), Recipe(corpus=corpus), home / "cache", net=made.net)
    read = as_read(dataset.features, made.model, home / "other")
    samples, rate = soundfile.read(data.parent / dataset.clips[0].path, dtype="float32")
    x, kind = read.clip(0)
    heard = features(samples, rate, made.architecture, detector_of(made.net))
    np.testing.assert_array_equal(kind, heard.kind[0])
    assert (kind == VOICED).any()
    with torch.inference_mode():
        c, _ = made.model.acb(torch.from_numpy(np.array(x)))
    want = made.model.clip(heard.x[0])[:, :2]
    np.testing.assert_allclose(c.numpy(), want, atol=1e-5)


def test_a_clip_in_blocks_reads_as_the_whole(
    made: checkpoint.Checkpoint, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = CorpusKeys(label="accent", speaker="group")
    manifest = read_manifest(home / "manifest.csv", corpus)
    dataset = gather(manifest, Recipe(corpus=corpus), home / "cache", net=made.net)
    whole = as_read(dataset.features, made.model, home / "whole")
    monkeypatch.setattr("streamcab_train.distilled.BLOCK_S", 0.7)
    parts = as_read(dataset.features, made.model, home / "parts")
    np.testing.assert_allclose(parts.x, whole.x, atol=1e-4)


def test_the_card_says_what_it_is_of(made: checkpoint.Checkpoint, home: Path) -> None:
    card = made.card
    assert card["start"]["hash"] == checkpoint.load(checkpoint.bundled()).hash
    assert card["protocol"] == "speaker-disjoint"
    assert card["speakers"]["quick"]["test"] == 1
    assert card["speakers"]["quick"]["train"] > 1
    assert card["calibration"]["fitted_on"] == "validation"
    assert made.confidence.temperature >= 0.25
    assert 0 < card["abstain"]["below"] <= 1
    assert made.confidence.abstain_below == card["abstain"]["below"]
    assert "CC BY-NC-SA" in card["licence"]
    with (home / "run" / "test.csv").open() as text:
        tested = {row["speaker"] for row in csv.DictReader(text)}
    assert len(tested) == 2


def test_evaluate_judges_the_same_split(made: checkpoint.Checkpoint, home: Path) -> None:
    report = evaluate(
        home / "manifest.csv", home / "run" / "model.safetensors", home / "cache", draws=10, threads=1
    )
    assert report["data"]["clips"] == 2
    assert report["scores"]["uar"] == pytest.approx(made.card["scores"]["test"]["uar"], abs=1e-3)


def test_the_same_seed_gives_the_same_weights(made: checkpoint.Checkpoint, home: Path) -> None:
    again = train_own(
        home / "manifest.csv",
        checkpoint.bundled(),
        home / "again",
        keys=KEYS,
        cache=home / "cache",
        threads=1,
    )
    for name, array in made.weights.arrays.items():
        np.testing.assert_array_equal(again.weights.arrays[name], array)


def test_the_command_needs_two_words_and_warns_of_few_speakers(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamcab_train.own.HeadKeys", lambda: KEYS)
    words = ["train", "--data", str(home / "manifest.csv"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, [*words, "--cache", str(home / "cache"), "--threads", "1"])
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "few speakers (quick" in said
    assert str(home / "cache") in said
    assert "GB for an hour" in said
    assert checkpoint.load(tmp_path / "run" / "model.safetensors").architecture.labels == ("quick", "slow")


def test_it_learns_what_can_be_learnt(tmp_path: Path) -> None:
    data = make_corpus(tmp_path, speakers=8, seconds=4)
    keys = HeadKeys(steps=120, every=30, batch=16, heard=16)
    found = train_own(
        data, checkpoint.find("phones"), tmp_path / "run", keys=keys, cache=tmp_path / "cache", threads=1
    )
    assert found.card["scores"]["test"]["uar"] == 1
    assert found.architecture.phones == 0


def test_what_a_figure_is_worth(made: checkpoint.Checkpoint, home: Path) -> None:
    corpus = CorpusKeys(label="accent", speaker="group")
    manifest = read_manifest(home / "manifest.csv", corpus)
    dataset = gather(manifest, Recipe(corpus=corpus), home / "cache", net=made.net)
    (line,) = believed(dataset, {"uar": 0.7, "uar_95": (0.6, 0.8)})
    # Half as wide takes four times as many.
    fewest = min(speakers_a_class(dataset).values())
    assert f"about {-(-4 * fewest // 10) * 10} speakers a class" in line
    assert "above chance, 0.50" in line
    (line,) = believed(dataset, {"uar": 0.6, "uar_95": (0.4, 0.8)})
    assert "not surely above chance" in line
    (line,) = believed(dataset, {"uar": 0.6, "uar_95": None})
    assert "single held-out speaker" in line


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_text("path,accent,group\n")
    assert (columns_of(file).label, columns_of(file).speaker) == ("accent", "group")
    file.write_text("path,group,label,accent,speaker,l1\n")
    assert (columns_of(file).label, columns_of(file).speaker) == ("label", "speaker")
    assert columns_of(file, "l1").label == "l1"
    assert from_scratch(file, "l1")["corpus.labels"] == {}
    file.write_text("file,word\n")
    with pytest.raises(CorpusError, match="LABEL/SPEAKER/FILE"):
        columns_of(file)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--config", "r.toml", "--from", "bundled"], "--config trains all layers"),
        (["--folds", "3"], "need --config"),
        (["--from", "no-such-model"], "no-such-model"),
    ],
)
def test_options_that_do_not_go_together(home: Path, tmp_path: Path, more: list[str], words: str) -> None:
    base = ["train", "--data", str(home / "manifest.csv"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, [*base, *more])
    assert result.exit_code != 0
    assert words in result.output


def test_another_run_is_not_resumed_as_this(made: checkpoint.Checkpoint, home: Path) -> None:
    other = HeadKeys(steps=41, every=20, batch=8, heard=8)
    with pytest.raises(ConfigError, match=r"head\.steps"):
        train_own(
            home / "manifest.csv",
            checkpoint.bundled(),
            home / "run",
            keys=other,
            resume=True,
            cache=home / "cache",
        )
