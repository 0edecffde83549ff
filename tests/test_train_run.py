"""A whole run: from a manifest to a checkpoint that can be served; killed, resumed, refused."""

import io
import json
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from corpus import make_corpus, write_manifest
from patience import PATIENCE_S
from rich.console import Console
from streamcab_train.run import train
from streamcab_train.state import save_state

from streamcab.errors import CheckpointError, ConfigError, CorpusError, StreamcabError
from streamcab.inference.offline import intervals
from streamcab.nn import checkpoint
from streamcab.nn.checkpoint import Checkpoint
from streamcab.source.file import read_audio

ROOT = Path(__file__).parent.parent
SMOKE = ROOT / "configs" / "smoke.toml"
COLUMNS = "file,label,voice"
"""As the manifest of the clips that ship, which the smoke recipe is for, has them."""
FULL = {"training.epochs": 5, "training.patience": 5, "corpus.licence": "CC0-1.0"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus; its features are cached for all tests of this file."""
    home = tmp_path_factory.mktemp("run")
    make_corpus(home / "corpus", speakers=5, columns=COLUMNS)
    return home


def go(home: Path, out: Path, **keys: Any) -> tuple[Checkpoint, str]:
    """A run on the corpus, and what it printed."""
    text = io.StringIO()
    given = {
        "threads": 1,
        "device": "cpu",
        "cache": home / "cache",
        "console": Console(file=text, width=100),
    }
    made = train(home / "corpus" / "manifest.csv", SMOKE, out, **(given | {"overrides": FULL} | keys))
    return made, text.getvalue()


@pytest.fixture(scope="module")
def finished(home: Path) -> tuple[Path, Checkpoint, str]:
    """An uninterrupted run: folder, checkpoint, output."""
    torch.set_num_threads(1)
    made, text = go(home, home / "whole")
    return home / "whole", made, text


def test_what_is_left_is_a_checkpoint_that_serves(home: Path, finished: tuple[Path, Checkpoint, str]) -> None:
    out, made, _ = finished
    loaded = checkpoint.load(out / "model.safetensors")
    assert loaded.hash == made.hash
    assert loaded.architecture.labels == ("high", "low")
    answered, heard = intervals(loaded.model, *read_audio(home / "corpus" / "low0_0.wav"))
    c = answered.c
    assert c.shape == (100, 2)
    assert heard.kind.any()
    assert {p.name for p in out.iterdir()} == {
        "run.json",
        "state.safetensors",
        "history.jsonl",
        "test.csv",
        "model.safetensors",
    }


def test_the_card_says_where_it_comes_from_and_how_it_was_judged(
    finished: tuple[Path, Checkpoint, str],
) -> None:
    out, made, _ = finished
    card = made.card
    assert card["protocol"] == "speaker-disjoint"
    assert card["name"] == "CAB-CNN high/low"
    assert card["licence"] == "CC0-1.0"
    assert card["speakers"] == {label: {"train": 3, "validation": 1, "test": 1} for label in ("high", "low")}
    assert re.fullmatch("[0-9a-f]{12}", card["corpus_hash"])
    assert card["recipe"]["training"]["seed"] == 0
    assert card["epochs"] == 5
    test = card["scores"]["test"]
    assert (test["clips"], test["speakers"], test["protocol"]) == (2, 2, "speaker-disjoint")
    answers = (out / "test.csv").read_text(encoding="utf-8").splitlines()
    assert answers[0] == "path,speaker,label,top,high,low"
    right = sum(row.split(",")[2] == row.split(",")[3] for row in answers[1:])
    assert test["accuracy"] == right / 2


def test_what_is_printed_without_a_terminal(finished: tuple[Path, Checkpoint, str]) -> None:
    _, _, text = finished
    assert "\x1b" not in text
    assert "speaker-disjoint" in text
    assert len(re.findall(r"^epoch +\d+  loss \d\.\d{4}  .*val UAR .* s/s .* left", text, re.MULTILINE)) == 5
    assert re.search(r"^test: accuracy .*UAR .*2 clips of 2 speakers, speaker-disjoint$", text, re.MULTILINE)


def test_on_a_terminal_nothing_but_lines_is_left_behind(home: Path, tmp_path: Path) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100, color_system=None, _environ={})
    go(home, tmp_path / "x", console=console, overrides={"training.epochs": 1})
    # Each bar is wiped, and the cursor comes back.
    assert text.getvalue().count("\x1b[?25h") == text.getvalue().count("\x1b[?25l") > 0


SCRIPT = """
import sys
from pathlib import Path
from rich.console import Console
from streamcab_train.run import train
from streamcab_train.state import save_state
home, out, smoke = map(Path, sys.argv[1:])
train(home / "corpus" / "manifest.csv", smoke, out, threads=1,
      cache=home / "cache", console=Console(width=100),
      overrides={"training.epochs": 5, "training.patience": 5, "corpus.licence": "CC0-1.0"})
"""


def begin(home: Path, out: Path) -> "subprocess.Popen[str]":
    """A run in a process of its own."""
    command = [sys.executable, "-c", SCRIPT, str(home), str(out), str(SMOKE)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(process: "subprocess.Popen[str]", start: str) -> None:
    """Read its lines up to one that starts so."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            return
    raise AssertionError(f"ended without {start!r}: {process.stderr.read() if process.stderr else ''}")


def test_killed_and_resumed_is_uninterrupted_to_the_last_bit(
    home: Path, finished: tuple[Path, Checkpoint, str], tmp_path: Path
) -> None:
    whole, made, _ = finished
    out = tmp_path / "killed"
    with begin(home, out) as process:
        until(process, "epoch   2")
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    epochs = len((out / "history.jsonl").read_text(encoding="utf-8").splitlines())
    assert 2 <= epochs <= 5
    assert not (out / "model.safetensors").exists()
    resumed, text = go(home, out, resume=True)
    assert text.count("left unless better") == 5 - epochs
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (out / "history.jsonl").read_bytes() == (whole / "history.jsonl").read_bytes()
    assert resumed.hash == made.hash


def test_ctrl_c_says_how_to_go_on(home: Path, tmp_path: Path) -> None:
    with begin(home, tmp_path / "out") as process:
        until(process, "epoch   1")
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=PATIENCE_S)
    assert "the same command with --resume" in text
    assert process.returncode != 0
    assert (tmp_path / "out" / "state.safetensors").exists()


def test_a_folder_with_something_in_it_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigError, match="is not empty; add --resume"):
        go(home, tmp_path)
    with pytest.raises(ConfigError, match="contains no run to resume"):
        go(home, tmp_path, resume=True)
    with pytest.raises(ConfigError, match="cannot use"):
        go(home, tmp_path / "mine.txt")


def test_resume_begins_where_there_is_nothing_yet(home: Path, tmp_path: Path) -> None:
    _, text = go(home, tmp_path / "new", resume=True, overrides={"training.epochs": 1})
    assert "epoch 1 of 1" in text


def test_another_recipe_or_corpus_is_not_resumed(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    go(home, out, overrides={"training.epochs": 1})
    with pytest.raises(ConfigError, match=r"recipe.training.seed was 0 and is 1; take another --out"):
        go(home, out, resume=True, overrides={"training.epochs": 1, "training.seed": 1})
    with pytest.raises(ConfigError, match="shared_speakers was False and is True"):
        go(home, out, resume=True, overrides={"training.epochs": 1}, allow_shared_speakers=True)
    other = home / "corpus" / "other.csv"
    rows = (
        (home / "corpus" / "manifest.csv")
        .read_text(encoding="utf-8")
        .replace("low0,", "low9,")
        .splitlines()[1:-1]
    )
    write_manifest(other, [row.split(",") for row in rows], COLUMNS)
    console = Console(file=io.StringIO())
    with pytest.raises(ConfigError, match=r"cannot resume .*: corpus was"):
        train(
            other,
            SMOKE,
            out,
            resume=True,
            overrides={"training.epochs": 1},
            cache=home / "cache",
            console=console,
        )
    (out / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"run\.json is damaged"):
        go(home, out, resume=True, overrides={"training.epochs": 1})


def test_shared_speakers_are_said_wherever_a_score_is(home: Path, tmp_path: Path) -> None:
    make_corpus(tmp_path / "corpus", speakers=2, clips=6, seconds=1.0, columns=COLUMNS)
    keys = {"overrides": {"training.epochs": 1}, "cache": tmp_path / "cache"}
    with pytest.raises(CorpusError, match="class 'low' has no speaker in validation; it has 2 speakers"):
        go(tmp_path, tmp_path / "a", **keys)
    made, text = go(tmp_path, tmp_path / "b", allow_shared_speakers=True, **keys)
    assert made.card["protocol"] == made.card["scores"]["test"]["protocol"] == "speakers shared"
    lines = [line for line in text.splitlines() if line.startswith(("validation:", "test:", "corpus"))]
    assert sum(line.strip().endswith("speakers shared") for line in lines) == 3


def test_short_and_silent_clips_are_dropped_and_counted(tmp_path: Path) -> None:
    manifest = make_corpus(tmp_path / "corpus", speakers=4, seconds=1.5, columns=COLUMNS)
    extra = [["silent.wav", "low", "s"], ["short.wav", "high", "t"]]
    soundfile.write(tmp_path / "corpus" / "silent.wav", np.zeros(12000, np.float32), 8000)
    soundfile.write(tmp_path / "corpus" / "short.wav", np.zeros(2000, np.float32), 8000)
    with manifest.open("a") as file:
        file.writelines(",".join(row) + "\n" for row in extra)
    made, text = go(tmp_path, tmp_path / "out", overrides={"training.epochs": 1})
    assert "dropped 2 clips: nothing voiced 1, shorter than 0.5 s 1" in text
    assert sum(sum(parts.values()) for parts in made.card["clips"].values()) == 8


def test_a_wrong_number_of_threads(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="threads is 0"):
        go(home, tmp_path, threads=0)


def test_the_papers_recipe_trains_too(home: Path, tmp_path: Path) -> None:
    paper = SMOKE.with_name("paper.toml")
    text = paper.read_text(encoding="utf-8")
    mine = tmp_path / "paper.toml"
    mine.write_text(re.sub(r"\[corpus.labels\].*?\[split\]", "[split]", text, flags=re.DOTALL))
    made = train(
        home / "corpus" / "manifest.csv",
        mine,
        tmp_path / "out",
        overrides={"training.epochs": 2, "corpus.path": "file", "corpus.speaker": "voice"},
        threads=1,
        cache=home / "cache",
        console=Console(file=io.StringIO()),
    )
    assert made.architecture.normaliser == "clip"
    assert not made.architecture.gate
    assert (
        json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["recipe"]["training"]["batch"]
        == 128
    )


def test_a_newcomer_can_train_on_the_clips_that_ship(tmp_path: Path) -> None:
    manifest = ROOT / "streamcab" / "clips" / "clips.csv"
    console = Console(file=io.StringIO())
    keys = {"training.epochs": 1}
    made = train(
        manifest,
        SMOKE,
        tmp_path / "out",
        overrides=keys,
        threads=1,
        cache=tmp_path / "cache",
        console=console,
    )
    assert made.architecture.labels == ("uk", "us")
    assert "synthetic" in made.card["corpus"]


def test_a_full_disk_stops_the_run_in_one_line_and_it_goes_on_with_room(
    home: Path, finished: tuple[Path, Checkpoint, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, saved = home / "full", []

    def save(path: Path, *what: Any) -> None:
        """As ever, but the third state finds a file no room."""
        saved.append(path)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if len(saved) == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            save_state(path, *what)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr("streamcab_train.loop.save_state", save)
    with pytest.raises(StreamcabError, match=r"cannot write .*: File too large; .*free some space.*--resume"):
        go(home, out)
    assert len((out / "history.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    assert not [path for path in out.iterdir() if path.name.endswith(".part")]
    made, _ = go(home, out, resume=True)
    assert made.hash == finished[1].hash
