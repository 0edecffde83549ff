"""Folds: who is tested where, what is pooled, and that a kill in the middle of one changes nothing."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import make_corpus
from patience import until
from rich.console import Console
from streamcab_train.fold_answers import FoldAnswers, read_answers
from streamcab_train.folds import train_folds
from streamcab_train.manifest import PARTS, Clip
from streamcab_train.recipe_keys import SplitKeys
from streamcab_train.split import fold_clips
from streamcab_train.summary import render, summarise

from streamcab.errors import ConfigError, CorpusError
from streamcab.nn import checkpoint

ROOT = Path(__file__).parent.parent
RECIPE = """
[corpus]
name = "hums"

[training]
batch = 4
seconds = 1.0
crop = "random"
balanced = true
epochs = 3
patience = 3
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    make_corpus(folder / "corpus", speakers=5, clips=2, seconds=1.2)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def whole(home: Path) -> tuple[Path, dict[str, Any], str]:
    out = home / "whole"
    made, text = go(home, out)
    return out, made, text


def go(home: Path, out: Path, folds: int = 2, **keys: Any) -> tuple[dict[str, Any], str]:
    text = io.StringIO()
    console = Console(file=text, width=110)
    data = home / "corpus" / "manifest.csv"
    made = train_folds(data, home / "recipe.toml", out, folds, cache=home / "cache", console=console, **keys)
    return made, text.getvalue()


def clips_of(counts: dict[str, int]) -> list[Clip]:
    return [
        Clip(f"{label}{speaker}_{n}", label, f"{label}{speaker}", "", 0)
        for label, speakers in counts.items()
        for speaker in range(speakers)
        for n in range(1 + speaker % 3)
    ]


@pytest.mark.parametrize(("folds", "repeat"), [(2, 0), (3, 1), (5, 7)])
def test_every_voice_is_tested_once_and_every_class_is_in_every_part(folds: int, repeat: int) -> None:
    clips = clips_of({"a": 23, "b": 8})
    found = fold_clips(clips, SplitKeys(), folds, repeat)
    tested = [{c.speaker for c, p in zip(clips, parts, strict=True) if p == "test"} for parts in found]
    assert sum(len(voices) for voices in tested) == len(set.union(*tested)) == 31
    for parts in found:
        sides = {
            part: {(c.label, c.speaker) for c, p in zip(clips, parts, strict=True) if p == part}
            for part in PARTS
        }
        assert not sides["train"] & sides["test"]
        assert not sides["train"] & sides["validation"]
        assert all({label for label, _ in side} == {"a", "b"} for side in sides.values())
    assert max(map(len, tested)) - min(map(len, tested)) <= 4


def test_repeats_deal_anew_and_the_seed_decides() -> None:
    clips = clips_of({"a": 9, "b": 9})
    first = fold_clips(clips, SplitKeys(), 3, 0)
    assert first == fold_clips(clips, SplitKeys(), 3, 0)
    assert first != fold_clips(clips, SplitKeys(), 3, 1)
    assert first != fold_clips(clips, SplitKeys(seed=1), 3, 0)


@pytest.mark.parametrize(("counts", "folds"), [({"a": 9, "b": 4}, 5), ({"a": 9, "b": 3}, 2)])
def test_too_few_voices_for_the_folds_are_refused(counts: dict[str, int], folds: int) -> None:
    with pytest.raises(CorpusError, match=f"class 'b' has {counts['b']} speakers: too few for {folds} folds"):
        fold_clips(clips_of(counts), SplitKeys(), folds, 0)


def test_what_is_printed_and_written(whole: tuple[Path, dict[str, Any], str]) -> None:
    out, made, text = whole
    assert json.loads((out / "summary.json").read_text(encoding="utf-8")) == json.loads(json.dumps(made))
    assert made["speakers"] == {"high": 5, "low": 5}
    assert [e["speakers"]["low"] for e in made["each"]] in ([3, 2], [2, 3])
    assert "train / validation / test, speaker-disjoint" in text
    assert (out / "summary.md").read_text(encoding="utf-8") in text
    for fold in "01":
        model = checkpoint.load(out / "0" / fold / "model.safetensors")
        assert model.card["protocol"] == "speaker-disjoint"


def test_the_pool_is_the_answers_of_all_folds(whole: tuple[Path, dict[str, Any], str]) -> None:
    out, made, _ = whole
    right = total = 0
    for fold in "01":
        answered = read_answers(out / "0" / fold / "test.csv")
        right += int((answered.answers == answered.truth).sum())
        total += len(answered.truth)
    assert total == 20
    assert made["pooled"]["accuracy"] == right / total


def test_more_repeats_go_on_and_what_differs_is_refused(
    home: Path, whole: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole[0], out)
    made, text = go(home, out, repeats=2, jobs=2, resume=True)
    assert "2 of 4 folds are there already" in text
    assert (made["repeats"], len(made["each"])) == (2, 4)
    with pytest.raises(ConfigError, match="folds was 2 and is 3"):
        go(home, out, folds=3, resume=True)
    with pytest.raises(ConfigError, match="is not empty"):
        go(home, out)


def test_a_failure_in_a_fold_is_raised_here(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the loss is .*lower training\.learning_rate"):
        go(home, tmp_path / "out", overrides={"training.learning_rate": 1e30})


def test_killed_inside_a_fold_and_resumed_is_uninterrupted(
    home: Path, whole: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    words = [sys.executable, "-m", "streamcab", "train", "--folds", "2", "--threads", "1", "--resume"]
    words += ["--data", str(home / "corpus" / "manifest.csv"), "--config", str(home / "recipe.toml")]
    words += ["--out", str(out), "--compute", "cpu"]
    env = os.environ | {"XDG_CACHE_HOME": str(home / "xdg")}
    process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    second = out / "0" / "1"
    until(
        lambda: (
            (second / "history.jsonl").exists()
            and (second / "history.jsonl").read_text(encoding="utf-8") != ""
        )
    )
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (out / "summary.json").exists()
    # The fold's own process goes with it: its folder is free.
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("summary.json", "0/0/model.safetensors", "0/1/test.csv", "0/1/history.jsonl"):
        assert (out / name).read_bytes() == (whole[0] / name).read_bytes(), name
    mine, theirs = (checkpoint.load(o / "0" / "1" / "model.safetensors") for o in (out, whole[0]))
    assert mine.hash == theirs.hash


def answered(truth: list[int], said: list[int], names: str) -> FoldAnswers:
    p = np.eye(2)[said] * 0.8 + 0.1
    return FoldAnswers(("a", "b"), tuple(names), tuple(names), np.array(truth), p)


def test_best_mean_and_pool_by_hand() -> None:
    one = answered([0, 0, 1], [0, 0, 0], "uvw")
    two = answered([0, 1, 1], [0, 1, 1], "xyz")
    found = summarise([[one, two]], "hums")
    assert found["best"] == {"accuracy": 1.0, "uar": 1.0, "f1": 1.0}
    assert found["mean"]["uar"] == pytest.approx((0.5 + 1) / 2)
    assert found["pooled"]["uar"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["pooled"]["confusion"] == [[3, 0], [1, 2]]
    low, high = found["pooled"]["interval_95"]["uar"]
    assert low < found["pooled"]["uar"] <= high
    assert "| uar".upper() in render(found)


def test_a_voice_that_is_heard_in_every_repeat_is_one_voice() -> None:
    folds = [answered([0, 0, 1, 1], [0, 1, 1, 0], "uvwx")]
    once, often = (summarise([folds] * n, "hums")["pooled"]["interval_95"]["uar"] for n in (1, 20))
    assert once == pytest.approx(often), "twenty repeats do not make the voices more"
