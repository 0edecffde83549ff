"""From recordings and a teacher to a checkpoint that streams, on synthetic voices; killed, it goes on the same."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from accents import KEYS as STREAMED
from accents import encode, make_accents
from patience import PATIENCE_S
from streamcab_train.context import main, train
from streamcab_train.context_keys import StageKeys, read_context
from streamcab_train.stage import schedule

from streamcab.errors import ConfigError
from streamcab.nn import checkpoint
from streamcab.nn.weights import detector_of

ROOT = Path(__file__).parents[1]
KEYS = msgspec.structs.replace(
    STREAMED,
    stages=(
        *STREAMED.stages,
        StageKeys(
            "labels",
            steps=3,
            learning_rate=1e-3,
            frames=0.5,
            opinion=1.0,
            label=1.0,
            intervals=200,
            distilled=True,
        ),
    ),
    stream=None,
)
KILLED = """
import os
import signal
import sys
from pathlib import Path
import torch
from accents import KEYS, encode
from patience import PATIENCE_S
from streamcab_train import stage
from streamcab_train.context import train
def say(line):
    if line.startswith("frames 2"):
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    stage.SAVE = 2
    train(KEYS, [Path(sys.argv[1])], encode, Path(sys.argv[2]), workers=1, say=say)
"""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_accents(tmp_path_factory.mktemp("voices"))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path).model.state_dict()


def test_it_teaches_judges_and_leaves_a_checkpoint(manifest: Path, tmp_path: Path) -> None:
    said: list[str] = []
    found = train(KEYS, [manifest], encode, tmp_path, say=said.append)
    kept = checkpoint.load(tmp_path / "model.safetensors")
    assert kept.architecture == KEYS.architecture
    judged = found.card["judged"]
    assert judged[manifest.parent.name]["clips"] == [1, 1]
    assert judged["strangers"]["clips"] == 4
    assert any(line.startswith("labels 3") for line in said)


def test_killed_and_resumed_it_ends_where_it_would_have(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamcab_train.stage.SAVE", 2)
    train(KEYS, [manifest], encode, tmp_path / "whole", say=lambda _: None)

    class Killed(Exception):
        pass

    def kill(line: str) -> None:
        if line.startswith("frames 2"):
            raise Killed

    with pytest.raises(Killed):
        train(KEYS, [manifest], encode, tmp_path / "twice", say=kill)
    train(KEYS, [manifest], encode, tmp_path / "twice", say=lambda _: None)
    whole, twice = (weights(tmp_path / run / "model.safetensors") for run in ("whole", "twice"))
    for name in whole:
        torch.testing.assert_close(whole[name], twice[name], rtol=0, atol=0)


def test_streamed_it_keeps_no_recording_and_no_frames(manifest: Path, tmp_path: Path) -> None:
    keys = msgspec.structs.replace(KEYS, stream=STREAMED.stream, inner=3)
    said: list[str] = []
    found = train(keys, [manifest], encode, tmp_path, say=said.append)
    assert {path.name for path in tmp_path.iterdir()} == {
        "targets",
        "frames.pt",
        "labels.pt",
        "twin.safetensors",
        "model.safetensors",
    }
    hour = sum(file.stat().st_size for file in (tmp_path / "targets").iterdir()) / (10 * 2.5) * 3600
    assert hour < 30e6, "a few numbers of a byte each, 50 times a second"
    assert found.card["judged"][manifest.parent.name]["clips"] == [1, 1]
    assert found.card["clips"] == {"us": {manifest.parent.name: 2}, "uk": {manifest.parent.name: 2}}
    assert any("inner voices: UAR" in line for line in said)


def test_killed_in_the_midst_of_streaming_it_ends_where_it_would_have(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamcab_train.stage.SAVE", 2)
    script = tmp_path / "train.py"
    script.write_text(KILLED)
    command = [sys.executable, script, manifest, tmp_path / "killed", str(torch.get_num_threads())]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run(command, env=env, timeout=PATIENCE_S, check=False)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    train(STREAMED, [manifest], encode, tmp_path / "killed", say=lambda _: None)
    train(STREAMED, [manifest], encode, tmp_path / "whole", say=lambda _: None)
    whole, killed = (weights(tmp_path / run / "model.safetensors") for run in ("whole", "killed"))
    for name in whole:
        torch.testing.assert_close(whole[name], killed[name], rtol=0, atol=0)


def test_the_twin_is_judged_before_everyone_teaches(manifest: Path, tmp_path: Path) -> None:
    after = StageKeys(
        "after", steps=2, learning_rate=1e-3, frames=1.0, opinion=1.0, label=1.0, intervals=200, everyone=True
    )
    plain = train(KEYS, [manifest], encode, tmp_path, say=lambda _: None)
    keys = msgspec.structs.replace(KEYS, stages=(*KEYS.stages, after))
    found = train(keys, [manifest], encode, tmp_path, say=lambda _: None)
    twin = weights(tmp_path / "twin.safetensors")
    for name, tensor in plain.model.state_dict().items():
        torch.testing.assert_close(twin[name], tensor, rtol=0, atol=0)
    assert found.card["judged"] == plain.card["judged"]
    assert not torch.equal(found.model.state_dict()["trunk.norm.weight"], twin["trunk.norm.weight"])
    assert found.card["clips"] == {"us": {manifest.parent.name: 4}, "uk": {manifest.parent.name: 4}}
    assert plain.card["clips"] == {"us": {manifest.parent.name: 3}, "uk": {manifest.parent.name: 3}}


def test_behind_a_detector_the_model_is_given_it(manifest: Path, tmp_path: Path) -> None:
    gate = checkpoint.load(checkpoint.bundled()).net
    keys = msgspec.structs.replace(KEYS, stages=KEYS.stages[:1])
    found = train(keys, [manifest], encode, tmp_path, gate=gate, say=lambda _: None)
    assert found.architecture.detector == gate.architecture.detector
    own, given = detector_of(found.net), detector_of(gate)
    assert own is not None
    assert given is not None
    np.testing.assert_array_equal(own.out, given.out)


def test_only_the_corpora_of_the_recipe_are_heard(manifest: Path, tmp_path: Path) -> None:
    keys = msgspec.structs.replace(KEYS, corpora=("elsewhere",))
    with pytest.raises(ConfigError, match="elsewhere"):
        train(keys, [manifest], encode, tmp_path, say=lambda _: None)


def test_the_rate_rises_stands_and_falls() -> None:
    rates = [schedule(step, 1000) for step in range(1000)]
    assert rates[0] < 0.05
    assert rates[100] == 1
    assert rates[-1] < 0.04


@pytest.mark.parametrize("name", ["context.toml", "context-free.toml", "context-common-voice.toml"])
def test_the_recipes_that_ship_are_some(name: str) -> None:
    keys = read_context(ROOT / "configs" / name)
    assert keys.labels == ("us", "uk", "australia")
    interval_s = keys.architecture.interval_s
    ahead = sum(block.delay for block in keys.architecture.trunk) * interval_s
    assert ahead <= 0.5


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("seed = 'x'", "seed"),
        ("nonsense = 1", "nonsense"),
        ("seed = ", "Invalid value"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(tmp_path: Path, wrong: str, words: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(
        wrong
        + "\n"
        + (ROOT / "configs" / "context.toml").read_text(encoding="utf-8").split("seed = 2026", 1)[1]
    )
    with pytest.raises(ConfigError, match=words):
        read_context(file)


def test_without_the_teachers_wheels_it_says_how_to_get_them(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(ROOT / "configs" / "context.toml")
    with pytest.raises(SystemExit, match=r"pip download --no-deps"):
        main([str(manifest), "--config", config, "--wheels", str(tmp_path), "--out", str(tmp_path / "run")])
