"""The paper's tables on a tiny corpus: all rows, both protocols, killed and resumed; nothing shrunk in silence."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from corpus import make_corpus
from patience import PATIENCE_S
from rich.console import Console
from streamcab_train import baseline_run, paper
from streamcab_train.baseline_run import BaselineKeys, train_rival
from streamcab_train.manifest import read_manifest
from streamcab_train.protocols import disjoint, limited, shared
from streamcab_train.recipe import read_recipe
from streamcab_train.recipe_keys import CorpusKeys, SplitKeys
from streamcab_train.reproduce import Shrunk, reproduce

from streamcab.errors import CheckpointError, ConfigError

ROOT = Path(__file__).parent.parent
SMALL = Shrunk(repeats=1, epochs=2, batch=8, image=64, pieces=2)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reproduce")
    make_corpus(folder / "corpus", speakers=4, seconds=3.0)
    (folder / "recipe.toml").write_text('[corpus]\nname = "hums"\n')
    return folder


def go(home: Path, out: Path, shrunk: Shrunk = SMALL, **keys: Any) -> tuple[dict[str, Any], str]:
    text = io.StringIO()
    made = reproduce(
        home / "corpus" / "manifest.csv",
        home / "recipe.toml",
        out,
        home / "cache",
        shrunk,
        console=Console(file=text, width=100),
        **keys,
    )
    return made, text.getvalue()


def test_the_papers_recipe_is_the_one_in_configs() -> None:
    recipe = read_recipe(ROOT / "configs" / "paper.toml")
    assert recipe.model == paper.MODEL
    assert recipe.training == paper.TRAINING


def test_the_rivals_are_trained_as_the_paper_says() -> None:
    keys = BaselineKeys()
    assert (keys.learning_rate, keys.weight_decay, keys.momentum) == (0.001, 1e-8, 0.9)
    assert (keys.batch, keys.patience) == (48, 15)


def test_rows_of_both_protocols_and_what_was_made_smaller(home: Path, tmp_path: Path) -> None:
    rows = ["CAB-CNN-5s", "CAB-CNN-60s", "ResNet18", "AttentionCNN"]
    made, text = go(home, tmp_path / "out", models=rows)
    assert [p["name"] for p in made["protocols"]] == ["speaker-disjoint", "speakers shared"]
    for p in made["protocols"]:
        assert [r["model"] for r in p["rows"]] == rows
        # Three seconds are heard whole by all.
        assert [r["same_run_as"] for r in p["rows"]] == ["", "CAB-CNN-5s", "", ""]
        assert p["rows"][0]["mean"] == p["rows"][1]["mean"]
        assert p["rows"][0]["paper_best"] == paper.BEST["CAB-CNN-5s"]
    assert made["protocols"][0]["counts"]["low"]["test"] == {"clips": 1, "speakers": 1}
    for words in ("1 of 8 repeats", "at most 2 epochs", "batches of 8", "pictures of 64 x 64"):
        assert f"not as in the paper: {words}" in text
        assert (tmp_path / "out" / "reproduce.md").read_text(encoding="utf-8").count(words) == 2
    assert "cut into 2 pieces" in text
    # Again: nothing is left to do, and the table is the same.
    again, text = go(home, tmp_path / "out", models=rows)
    assert again == made
    assert "6 of 6 runs are there already" in text
    half, _ = go(home, tmp_path / "out", models=rows, only="speakers shared")
    assert half["protocols"] == made["protocols"][1:]
    with pytest.raises(ConfigError, match="another image"):
        go(home, tmp_path / "out", Shrunk(1, 2, 8, 128, None, 2), models=rows)


def test_every_row_of_the_paper_is_there_unless_asked_otherwise(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such row: 'VGG16'"):
        go(home, tmp_path, models=["VGG16"])
    assert set(baseline_run.BASELINES) | {f"CAB-CNN-{t}s" for t in paper.SECONDS} == set(paper.BEST)


def test_where_each_voice_has_one_file_it_must_be_cut_to_be_shared(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none can be shared: --pieces 3"):
        go(home, tmp_path, Shrunk())


def test_both_protocols_have_the_voices_that_their_names_say(home: Path, tmp_path: Path) -> None:
    manifest = read_manifest(home / "corpus" / "manifest.csv", CorpusKeys())
    apart = disjoint(manifest, manifest.clips, SplitKeys(), tmp_path)
    mixed = shared(manifest, manifest.clips, SplitKeys(), tmp_path, 4)

    def voices(clips: Any, part: str) -> set[str]:
        return {clip.speaker for clip in clips if clip.part == part}

    assert not voices(apart.clips, "train") & voices(apart.clips, "test")
    assert voices(mixed.clips, "train") & voices(mixed.clips, "test")
    assert sum(mixed.seconds) == pytest.approx(sum(apart.seconds))
    assert len(mixed.clips) == 4 * len(apart.clips)
    assert all(Path(clip.path).is_file() for clip in mixed.clips)


def test_a_limit_takes_whole_voices_of_each_class(home: Path) -> None:
    manifest = read_manifest(home / "corpus" / "manifest.csv", CorpusKeys())
    few = limited(manifest, 3, 0)
    assert sorted(clip.label for clip in few) == ["high"] * 3 + ["low"] * 3
    assert few == limited(manifest, 3, 0) != limited(manifest, 3, 1)
    assert limited(manifest, None, 0) == manifest.clips


@pytest.fixture(scope="module")
def split(home: Path) -> tuple[Path, CorpusKeys]:
    manifest = read_manifest(home / "corpus" / "manifest.csv", CorpusKeys())
    (home / "split").mkdir()
    protocol = shared(manifest, manifest.clips, SplitKeys(), home / "split", 3)
    return protocol.manifest, protocol.corpus


def baseline(split: tuple[Path, CorpusKeys], out: Path, **keys: Any) -> bytes:
    train_rival("AttentionCNN", *split, out, BaselineKeys(batch=4, size=64, **keys), "cpu", 1)
    return (out / "test.csv").read_bytes()


def test_the_same_seed_gives_the_same_answers_and_another_gives_others(
    split: tuple[Path, CorpusKeys], tmp_path: Path
) -> None:
    one = baseline(split, tmp_path / "a", epochs=2)
    assert one == baseline(split, tmp_path / "b", epochs=2)
    assert one != baseline(split, tmp_path / "c", epochs=2, seed=1)
    assert not (tmp_path / "a" / "state.safetensors").exists()


def test_a_rival_learns(split: tuple[Path, CorpusKeys], tmp_path: Path) -> None:
    baseline(split, tmp_path, epochs=15, learning_rate=0.01)
    history = [
        json.loads(line) for line in (tmp_path / "history.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert history[-1]["loss"] < history[0]["loss"] * 0.8


SCRIPT = """
import os
import signal
import sys
from pathlib import Path
from streamcab_train import baseline_run
from streamcab_train.recipe_keys import CorpusKeys
baseline_run.SAVE_S = 0.0
keys = baseline_run.BaselineKeys(batch=4, size=64, epochs=8)
corpus = CorpusKeys(split="split", labels={"high": "high", "low": "low"})
epoch = baseline_run._epoch
def killed(*arguments):
    if arguments[-1] == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return epoch(*arguments)
baseline_run._epoch = killed
baseline_run.train_rival("AttentionCNN", Path(sys.argv[1]), corpus, Path(sys.argv[2]), keys, "cpu", 1)
"""


def test_a_rival_killed_and_resumed_is_uninterrupted(split: tuple[Path, CorpusKeys], tmp_path: Path) -> None:
    whole = baseline(split, tmp_path / "whole", epochs=8)
    out = tmp_path / "killed"
    words = [sys.executable, "-c", SCRIPT, str(split[0]), str(out)]
    process = subprocess.run(
        words, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=PATIENCE_S, check=False
    )
    assert process.returncode == -signal.SIGKILL
    assert len((out / "history.jsonl").read_text(encoding="utf-8").splitlines()) == 3
    assert not (out / "test.csv").exists()
    assert baseline(split, out, epochs=8) == whole


def test_a_damaged_state_of_a_rival_is_refused_in_one_line(
    split: tuple[Path, CorpusKeys], tmp_path: Path
) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"noise")
    with pytest.raises(CheckpointError, match=r"is damaged .*: remove it and run again"):
        baseline(split, tmp_path, epochs=1)
