"""Two processes, as torchrun starts them, train what one does; one that is killed ends both, and they go on."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from corpus import make_corpus
from patience import PATIENCE_S
from ranks import run_two

from streamcab.nn import checkpoint

RECIPE = """
[corpus]
shortest_s = 0.5
[training]
epochs = {epochs}
patience = {epochs}
batch = 3
seconds = 1.0
crop = "random"
learning_rate = 1e-3
"""

STEPS = """
import sys
import torch
from streamcab.nn.geometry import PAPER_STAGES, StageShape
from streamcab.nn.cabcnn import Architecture, CabCnn
from streamcab_train.distributed import joined
from streamcab_train.step import backward
torch.set_num_threads(1)
# Adam makes much of a gradient that is nothing but rounding: in double precision what is left is what is wrong.
torch.set_default_dtype(torch.float64)
torch.manual_seed(1)
still = tuple(StageShape(s.filters, s.kernel, s.pool, s.stride, 0.0) for s in PAPER_STAGES)
model = CabCnn(Architecture(("a", "b", "c"), stages=still)).train()
adam = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)
g = torch.Generator().manual_seed(2)
with joined("cpu") as (ranks, _):
    # The last batch is of one clip: a rank has none of it.
    for clips in (5, 5, 4, 5, 5, 1):
        x, votes = torch.randn(clips, 1200, generator=g), torch.rand(clips, 12, generator=g) > 0.3
        y = torch.randint(3, (clips,), generator=g)
        own = ranks.own(clips)
        adam.zero_grad(set_to_none=True)
        loss = backward(model, x[own], votes[own], y[own], 0.1, ranks=ranks, clips=clips)
        adam.step()
    torch.save((loss, model.state_dict()), f"{sys.argv[1]}.{ranks.rank}")
"""


def two(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    """torchrun with two processes on this machine, at a port that it finds itself."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        *arguments,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


@pytest.fixture
def single_after() -> Iterator[None]:
    """New tensors are in single precision again after the test."""
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("single_after")
def test_steps_of_two_are_the_steps_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "steps.py"
    script.write_text(STEPS)
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "one")])
    runpy.run_path(str(script))
    run_two(script, tmp_path / "two")
    (loss, alone), (first, a), (second, b) = (
        torch.load(tmp_path / name, weights_only=True) for name in ("one.0", "two.0", "two.1")
    )
    assert first == second
    assert first == pytest.approx(loss, abs=1e-9)
    for name, value in alone.items():
        assert torch.equal(a[name], b[name]), f"the two have come apart in {name}"
        torch.testing.assert_close(a[name], value, rtol=0, atol=1e-7)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "recipe.toml").write_text(RECIPE.format(epochs=3))
    return make_corpus(tmp_path / "corpus", speakers=5, seconds=1.5)


def arguments(tmp_path: Path, manifest: Path, out: str, *more: str) -> list[str]:
    given = {"--data": manifest, "--config": tmp_path / "recipe.toml", "--out": tmp_path / out}
    return [
        "-m",
        "streamcab",
        "train",
        *(str(x) for pair in given.items() for x in pair),
        "--compute",
        "cpu",
        *more,
    ]


def test_a_run_of_two_says_and_writes_what_one_does(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with two(*arguments(tmp_path, corpus, "two")) as process:
        text, said = process.communicate(timeout=170)
    assert process.returncode == 0, said
    assert len(re.findall("^epoch ", text, re.MULTILINE)) == 3
    assert "2 processes" in text
    made = checkpoint.load(tmp_path / "two" / "model.safetensors")
    assert made.card["epochs"] == 3
    assert set(made.card["scores"]) == {"validation", "test"}


def test_one_that_is_killed_ends_both_with_a_word_and_resume_goes_on(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(epochs=400))
    with two(*arguments(tmp_path, corpus, "killed"), start_new_session=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("epoch   2"):
                    break
            os.kill(second_of(process.pid), signal.SIGKILL)
            _, said = process.communicate(timeout=PATIENCE_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0
    assert (
        "another process of this training has ended: the same command goes on, `streamcab train` with --resume"
        in said
    )
    before = len((tmp_path / "killed" / "history.jsonl").read_text(encoding="utf-8").splitlines())
    assert before >= 2
    with two(*arguments(tmp_path, corpus, "killed", "--resume"), start_new_session=True) as process:
        assert process.stdout is not None
        try:
            first = next(line for line in process.stdout if line.startswith("epoch "))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert int(first.split()[1]) in (before, before + 1)
    assert (
        json.loads((tmp_path / "killed" / "run.json").read_text(encoding="utf-8"))["recipe"]["training"][
            "epochs"
        ]
        == 400
    )


def second_of(torchrun: int) -> int:
    """The process number of rank 1."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            parent = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
        except OSError:
            continue
        if parent == str(torchrun) and b"RANK=1" in environment:
            return int(folder.name)
    raise AssertionError("rank 1 is not there")
