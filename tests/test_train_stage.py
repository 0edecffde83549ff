"""A stage's steps: what two processes teach is what one does, and inner voices choose the weights that are left."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from accents import KEYS, encode, make_accents
from ranks import run_two
from streamcab_train.context import train
from streamcab_train.context_keys import StageKeys
from streamcab_train.copies import Copy
from streamcab_train.distributed import ALONE
from streamcab_train.pupil import Pupil
from streamcab_train.rows import Rows
from streamcab_train.stage import Inner, run_stage
from streamcab_train.stream import Kept
from streamcab_train.voices import Parts, Voice

STEPS = """
import sys
from pathlib import Path
import msgspec
import torch
from accents import KEYS, encode
from streamcab_train import pupil, stage, stream
from streamcab_train.context import train
from streamcab_train.context_keys import StageKeys
from streamcab_train.distributed import joined
# Muon makes much of a gradient that is nothing but rounding, and noise differs by process.
stage.optimisers_of = lambda some, rate: [torch.optim.SGD(some.parameters(), rate)]
pupil.NOISE = pupil.MASKED = 0
pupil.nn.Dropout = lambda part: torch.nn.Identity()
# Each gives an even number of rows, of a class or not.
stream.LENGTHS_S = (2.0, 3.0, 5.0, 2.0)
torch.set_num_threads(1)
both = {"steps": 3, "learning_rate": 1e-2, "frames": 1.0, "intervals": 800}
stages = (StageKeys("frames", **both), StageKeys("labels", **both, opinion=1.0, label=1.0))
keys = msgspec.structs.replace(KEYS, stages=stages, precision="float32")
if __name__ == "__main__":
    with joined("cpu") as (ranks, _):
        found = train(keys, [Path(sys.argv[1])], encode, Path(sys.argv[2]), ranks=ranks, say=lambda _: None)
        torch.save(found.model.state_dict(), f"{sys.argv[2]}.{ranks.rank}")
    if ranks.first:
        found = train(keys, [Path(sys.argv[1])], encode, Path(sys.argv[3]), say=lambda _: None)
        torch.save(found.model.state_dict(), sys.argv[3] + ".alone")
"""


def test_two_processes_teach_what_one_does(tmp_path: Path) -> None:
    manifest, script = make_accents(tmp_path), tmp_path / "steps.py"
    script.write_text(STEPS)
    run_two(script, manifest, tmp_path / "two", tmp_path / "one")
    alone, first, second = (
        torch.load(tmp_path / name, weights_only=True) for name in ("one.alone", "two.0", "two.1")
    )
    torch.manual_seed(KEYS.seed)
    moved = 0.0
    untaught = Pupil(KEYS.architecture, 5, 5).model.state_dict()
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), f"the two have come apart in {name}"
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5)
        moved = max(moved, float((value - untaught[name]).abs().max()))
    assert moved > 1e-3, "both are as they began"


def rows(width: int) -> Rows:
    """Noise of two classes, one with a tone."""
    rng, clips, length = np.random.default_rng(0), 12, 80
    voices = [Voice(Path(f"{i}"), "a", f"a:{i}", "", i % 2) for i in range(clips)]
    nobody = np.zeros(clips, bool)
    parts = Parts(~nobody, nobody, nobody, nobody)
    return Rows(
        voices,
        parts,
        [noise(clips, length, width)],
        [rng.standard_normal((length, 5)).astype(np.float32) for _ in voices],
        40.0,
        np.eye(3, dtype=np.float32)[[v.label for v in voices]],
        0.025,
    )


def noise(clips: int, length: int, width: int, seed: int = 0) -> Copy:
    x = np.random.default_rng(seed).standard_normal((clips, length, width))
    x[1::2] += np.sin(np.arange(length * width) / 3).reshape(length, width)
    count = np.full(clips, length)
    return Copy.of(
        x.reshape(-1, width).astype(np.float16), np.ones(clips * length, bool), count, np.ones(clips)
    )


@pytest.mark.parametrize("resumed", [False, True])
def test_a_stage_leaves_the_weights_that_answer_inner_voices_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    monkeypatch.setattr("streamcab_train.stage.SAVE", 1)
    monkeypatch.setattr("streamcab_train.stage.CHOOSE", 1)
    stage = StageKeys("labels", steps=8, learning_rate=0.3, frames=0.1, opinion=1.0, label=1.0, intervals=160)
    torch.manual_seed(0)
    pupil, width = Pupil(KEYS.architecture, 3, 5), KEYS.architecture.interval
    inner = Inner(noise(6, 60, width, seed=1), np.array([0, 1] * 3))
    scores: list[tuple[float, float]] = []

    class Killed(Exception):
        pass

    def say(line: str) -> None:
        scores.append(inner.score(pupil, ALONE))
        if resumed and line.startswith("labels 5:") and len(scores) == 5:
            raise Killed

    def run() -> None:
        run_stage(pupil, Kept(rows(width)), stage, KEYS, tmp_path / "labels.pt", say, inner=inner)

    if resumed:
        with pytest.raises(Killed):
            run()
    run()
    assert len(scores) == 8
    assert len(set(scores)) > 4
    assert inner.score(pupil, ALONE) == max(scores) != scores[-1]


def test_a_recipe_without_a_stream_is_for_one_process(tmp_path: Path) -> None:
    from streamcab_train.distributed import ProcessGroup

    from streamcab.errors import ConfigError

    keys = msgspec.structs.replace(KEYS, stream=None)
    with pytest.raises(ConfigError, match=r"\[stream\]"):
        train(keys, [make_accents(tmp_path)], encode, tmp_path / "out", ranks=ProcessGroup(0, 2))
