"""The loop: repeatable to the bit, stopped and gone on with to the bit, and it keeps the best."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from msgspec import structs
from streamcab_train.batches import Selection, whole_clips
from streamcab_train.features import Features
from streamcab_train.loop import HISTORY, STATE, Watcher, fit, judge
from streamcab_train.recipe_keys import TrainingKeys
from streamcab_train.state import Progress

from streamcab.errors import CheckpointError, ConfigError
from streamcab.nn.cabcnn import Architecture, CabCnn

ARCH = Architecture(("low", "high"), classifiers=4, attention=(8,))
KEYS = TrainingKeys(epochs=4, batch=4, seconds=0.5, crop="random", learning_rate=3e-3, seed=5)


def selection(clips: int, seed: int, tell: bool = True) -> Selection:
    """Clips of two classes that buzz at different pitches; with tell=False at the same."""
    rng = np.random.default_rng(seed)
    y = np.arange(clips) % 2
    n = 24
    t = np.arange(n * 100) / 4000
    pitch = np.where(y == 0, 200.0, 700.0) if tell else np.full(clips, 400.0)
    x = np.sin(2 * np.pi * pitch[:, None] * t + rng.uniform(0, 6, (clips, 1)))
    x += 0.2 * rng.standard_normal((clips, n * 100))
    length = np.full(clips, n)
    features = Features(
        x.astype(np.float32).reshape(-1, 100),
        np.ones(clips * n, np.uint8),
        np.cumsum(length) - length,
        length,
        ("",) * clips,
    )
    return Selection(features, np.arange(clips), y, True)


class Stopping(Watcher):
    """Ctrl-C in the middle of an epoch, or right after it was saved."""

    def __init__(self, epoch: int, where: str) -> None:
        self.now, self.stop, self.where = 0, epoch, where

    def epoch(self, number: int, batches: int) -> None:
        self.now = number

    def batch(self) -> None:
        if (self.now, self.where) == (self.stop, "within"):
            raise KeyboardInterrupt

    def judged(self, record: dict[str, Any], progress: Progress) -> None:
        if (self.now, self.where) == (self.stop, "after"):
            raise KeyboardInterrupt


def run(folder: Path, keys: TrainingKeys = KEYS, watcher: Watcher | None = None) -> tuple[CabCnn, Progress]:
    folder.mkdir(exist_ok=True)
    return fit(ARCH, selection(12, 1), selection(6, 2), keys, folder, watcher=watcher)


def equal(a: CabCnn, b: CabCnn) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before(
    tmp_path: Path, precision: str
) -> None:
    keys = structs.replace(KEYS, precision=precision)
    first, _ = run(tmp_path / "a", keys)
    torch.rand(17)
    before = torch.random.get_rng_state()
    second, _ = run(tmp_path / "b", keys)
    assert equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), before)
    other, _ = run(tmp_path / "c", TrainingKeys(epochs=1, batch=4, seed=6))
    assert not equal(first, other)


@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("where", ["within", "after"])
def test_stopped_and_resumed_is_uninterrupted(tmp_path: Path, epoch: int, where: str) -> None:
    whole, progress = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", watcher=Stopping(epoch, where))
    resumed, again = run(tmp_path / "cut")
    assert equal(whole, resumed)
    assert again == progress
    assert (tmp_path / "cut" / HISTORY).read_text(encoding="utf-8") == (
        tmp_path / "whole" / HISTORY
    ).read_text(encoding="utf-8")


def test_a_finished_run_resumed_is_the_same_again(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "a")
    stopping = Stopping(0, "")
    again, _ = run(tmp_path / "a", watcher=stopping)
    assert equal(whole, again)
    assert stopping.now == 0


def test_a_history_that_a_kill_left_behind_is_put_right(tmp_path: Path) -> None:
    run(tmp_path / "a")
    file = tmp_path / "a" / HISTORY
    right = file.read_text(encoding="utf-8")
    file.write_text(right[: len(right) // 2])
    run(tmp_path / "a")
    assert file.read_text(encoding="utf-8") == right
    assert [json.loads(line)["epoch"] for line in right.splitlines()] == [1, 2, 3, 4]


def test_it_learns(tmp_path: Path) -> None:
    keys = TrainingKeys(epochs=25, batch=6, seconds=0.5, learning_rate=3e-3, patience=25)
    model, progress = run(tmp_path / "a", keys)
    judged = judge(model, whole_clips(selection(10, 3), keys, ARCH.interval_s))
    assert judged.scores.uar == 1.0
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]


@pytest.mark.parametrize("monitor", ["loss", "balanced", "uar"])
def test_it_stops_when_nothing_gets_better_and_keeps_the_best(tmp_path: Path, monitor: str) -> None:
    keys = TrainingKeys(epochs=60, batch=4, seconds=0.5, learning_rate=1e-2, patience=3, monitor=monitor)
    tmp_path.joinpath("a").mkdir()
    # What cannot be told apart: sooner or later it only gets worse.
    validation = selection(8, 2, tell=False)
    model, progress = fit(ARCH, selection(8, 1, tell=False), validation, keys, tmp_path / "a")
    assert progress.epoch == progress.best_epoch + 3 < 60
    best = progress.history[progress.best_epoch - 1]
    judged = judge(model, whole_clips(validation, keys, ARCH.interval_s))
    assert judged.loss == pytest.approx(best["val_loss"], abs=1e-5)
    key, sign = {"loss": ("val_loss", -1), "balanced": ("val_balanced", -1), "uar": ("val_uar", 1)}[monitor]
    assert sign * best[key] == max(sign * record[key] for record in progress.history)


def test_losses_of_classes_weigh_the_same_when_balanced() -> None:
    model = CabCnn(ARCH)
    some = selection(9, 1)
    judged = judge(model, whole_clips(some, KEYS, ARCH.interval_s))
    own = -np.log(judged.probabilities[np.arange(9), judged.truth])
    assert judged.loss == pytest.approx(own.mean(), rel=1e-5)
    assert judged.balanced == pytest.approx((own[::2].mean() + own[1::2].mean()) / 2, rel=1e-5)


def test_a_loss_that_is_no_number_ends_it_with_advice(tmp_path: Path) -> None:
    keys = TrainingKeys(epochs=4, batch=4, learning_rate=1e30)
    with pytest.raises(ConfigError, match=r"the loss is nan in epoch \d; lower training.learning_rate"):
        run(tmp_path / "a", keys)


@pytest.mark.parametrize("damage", ["cut", "foreign", "other net"])
def test_a_damaged_state_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    run(tmp_path / "a", TrainingKeys(epochs=1, batch=4))
    state = tmp_path / "a" / STATE
    arch = ARCH
    if damage == "cut":
        state.write_bytes(state.read_bytes()[:1000])
    elif damage == "foreign":
        state.write_bytes(safetensors.torch.save({"a": torch.zeros(1)}))
    else:
        arch = Architecture(("low", "high"), classifiers=5, attention=(8,))
    with pytest.raises(CheckpointError, match="damaged") as caught:
        fit(arch, selection(4, 1), selection(4, 2), KEYS, tmp_path / "a")
    assert "\n" not in str(caught.value)
