"""Trains and evaluates one baseline on images of spectrograms, as the paper does (section 4).

    history.jsonl      a line for each epoch
    state.safetensors  the state of the run; deleted at the end, since some of these networks take half a gigabyte
    test.csv           the answers of the best epoch to the test clips: the run is over

Stochastic gradient descent; the epoch with the smallest validation loss counts. The same seed gives the same
answers on a CPU, with or without interruptions. Knows nothing of CAB-CNN.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from streamcab.errors import CheckpointError, ConfigError
from streamcab.source.file import read_audio
from streamcab_train.baselines import BASELINES
from streamcab_train.calibration import nll
from streamcab_train.fold_answers import write_answers
from streamcab_train.loop import HISTORY, STATE, seeded
from streamcab_train.manifest import Manifest, read_manifest
from streamcab_train.recipe_keys import CorpusKeys
from streamcab_train.run_folder import ANSWERS
from streamcab_train.scores import confusion_matrix, scores
from streamcab_train.spectrogram import picture

KEY = "streamcab_rival"
SAVE_S = 60.0
"""Seconds of training between saves, since writing the largest state takes several."""


@dataclass(frozen=True)
class BaselineKeys:
    """Settings of a baseline's training; all defaults but the seed are the paper's. size 0: the paper's size."""

    seed: int = 0
    epochs: int = 500
    patience: int = 15
    batch: int = 48
    learning_rate: float = 1e-3
    weight_decay: float = 1e-8
    momentum: float = 0.9
    size: int = 0


@dataclass
class _Standing:
    """best: the smallest validation loss; answers: of that epoch to the test clips."""

    epoch: int = 0
    best_epoch: int = 0
    best: float | None = None
    answers: list[list[float]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """x (n, channels, size, size), y (n,)."""

    x: Tensor
    y: Tensor


def train_rival(
    name: str, data: Path, corpus: CorpusKeys, out: Path, keys: BaselineKeys, device: str, threads: int
) -> None:
    """Train the baseline `name` on a manifest with the splits train, validation and test; resume from `out`."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    clips = read_manifest(data, corpus, speakers=False)
    parts = {part: _pictures(clips, part, name, keys.size) for part in ("train", "validation", "test")}
    net, standing = _fit(name, len(clips.labels), parts, keys, out, device)
    del net
    tested = [clip for clip in clips.clips if clip.part == "test"]
    part_file = out / f".{ANSWERS}.part"
    write_answers(part_file, clips.labels, tested, np.array(standing.answers))
    os.replace(part_file, out / ANSWERS)
    (out / STATE).unlink(missing_ok=True)


def _pictures(clips: Manifest, part: str, name: str, size: int) -> _Part:
    baseline = BASELINES[name]
    own = [clip for clip in clips.clips if clip.part == part]
    pictures = [
        picture(*read_audio(clips.audio(clip)), size or baseline.size, baseline.channels) for clip in own
    ]
    truth = [clips.labels.index(clip.label) for clip in own]
    return _Part(torch.from_numpy(np.stack(pictures)), torch.tensor(truth))


def _fit(
    name: str, labels: int, parts: dict[str, _Part], keys: BaselineKeys, out: Path, device: str
) -> tuple[nn.Module, _Standing]:
    with seeded(keys.seed, 0):
        net = BASELINES[name].build(labels).to(device)
    sgd = torch.optim.SGD(
        net.parameters(), lr=keys.learning_rate, momentum=keys.momentum, weight_decay=keys.weight_decay
    )
    standing, saved = _Standing(), time.monotonic()
    if (out / STATE).exists():
        standing = _load(out / STATE, net, sgd)
    (out / HISTORY).write_text("".join(json.dumps(record) + "\n" for record in standing.history))
    while standing.epoch < keys.epochs and standing.epoch - standing.best_epoch < keys.patience:
        number = standing.epoch + 1
        loss = _epoch(net, sgd, parts["train"], keys, number)
        held = _judge(net, parts["validation"], keys.batch)
        y = parts["validation"].y.numpy()
        s = scores(confusion_matrix(y, held.argmax(1), labels))
        record = {"epoch": number, "loss": round(loss, 6), "val_loss": round(nll(held, y), 6)}
        record |= {"val_accuracy": round(s.accuracy, 6), "val_uar": round(s.uar, 6)}
        standing.epoch = number
        standing.history.append(record)
        if standing.best is None or record["val_loss"] < standing.best:
            standing.best, standing.best_epoch = record["val_loss"], number
            # The answers are kept instead of weights: the table needs nothing else.
            standing.answers = _judge(net, parts["test"], keys.batch).tolist()
        if time.monotonic() - saved > SAVE_S:
            _save(out / STATE, net, sgd, standing)
            saved = time.monotonic()
        with (out / HISTORY).open("a") as file:
            file.write(json.dumps(record) + "\n")
    return net, standing


def _epoch(net: nn.Module, sgd: torch.optim.SGD, part: _Part, keys: BaselineKeys, number: int) -> float:
    device = next(net.parameters()).device
    order = np.random.default_rng([keys.seed, 2, number]).permutation(len(part.y))
    net.train()
    total = 0.0
    with seeded(keys.seed, number):
        for rows in _batches(order, keys.batch):
            sgd.zero_grad(set_to_none=True)
            loss = cross_entropy(net(part.x[rows].to(device)), part.y[rows].to(device))
            if not bool(loss.isfinite()):
                raise ConfigError(f"the loss of {type(net).__name__} is no number in epoch {number}")
            loss.backward()  # type: ignore[no-untyped-call]
            sgd.step()
            total += loss.item() * len(rows)
    return total / len(part.y)


def _batches(order: NDArray[np.int64], size: int) -> Sequence[NDArray[np.int64]]:
    """Yield batches of `size`; a single last clip joins the batch before, since BatchNorm needs two."""
    cuts = list(range(size, len(order) - 1, size))
    return np.split(order, cuts)


@torch.inference_mode()
def _judge(net: nn.Module, part: _Part, batch: int) -> NDArray[np.float32]:
    """Return probabilities (n, labels)."""
    device = next(net.parameters()).device
    net.eval()
    rows = [net(x.to(device)).softmax(1).cpu().numpy() for x in torch.split(part.x, batch)]
    answers: NDArray[np.float32] = np.concatenate(rows)
    return answers


def _save(path: Path, net: nn.Module, sgd: torch.optim.SGD, standing: _Standing) -> None:
    tensors = {f"net.{k}": v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    for name, parameter in net.named_parameters():
        tensors[f"momentum.{name}"] = sgd.state[parameter]["momentum_buffer"].cpu().contiguous()
    part = path.with_name(f".{path.name}.part")
    safetensors.torch.save_file(tensors, part, {KEY: json.dumps(asdict(standing))})
    os.replace(part, path)


def _load(path: Path, net: nn.Module, sgd: torch.optim.SGD) -> _Standing:
    try:
        tensors = safetensors.torch.load_file(path)
        with safe_open(path, "pt") as file:
            standing = _Standing(**json.loads(file.metadata()[KEY]))
        net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
        for name, parameter in net.named_parameters():
            sgd.state[parameter]["momentum_buffer"] = tensors[f"momentum.{name}"].to(parameter.device)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} is damaged ({reason}): remove it and run again") from None
    return standing
