"""Epochs: train, validate, keep the best, stop without improvement (paper, section 4).

After each epoch everything that the next one needs is on the disk. The same seed gives the same weights, bit for bit,
on a CPU, with or without interruptions. Knows nothing of manifests, splits or the display of progress.
"""

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamcab.errors import ConfigError
from streamcab.evidence.layer import Evidence, evidence_of
from streamcab.nn.cabcnn import Architecture, CabCnn, mean_of_votes
from streamcab_train.batches import Batch, Selection, training_batches, whole_clips
from streamcab_train.distributed import ALONE, ProcessGroup
from streamcab_train.pretrain import begin_from
from streamcab_train.recipe_keys import TrainingKeys
from streamcab_train.scores import Scores, confusion_matrix, scores
from streamcab_train.state import Progress, load_state, save_state
from streamcab_train.step import backward, forward, loss_of, summary

STATE = "state.safetensors"
HISTORY = "history.jsonl"
KERAS_EPSILON = 1e-7
"""Adam's, in Keras."""


@dataclass(frozen=True)
class Judged:
    """Answers on n clips.

    Attributes:
        probabilities: (n, m)
        truth: Classes, (n,).
        scores: Scores of the answers.
        loss: Mean over clips.
        balanced: Mean over classes of the mean over their clips.
    """

    probabilities: NDArray[np.float32]
    truth: NDArray[np.int64]
    loss: float
    balanced: float
    scores: Scores


class Watcher:
    """Observer of a run. This one does nothing; a subclass shows the progress on a screen."""

    def epoch(self, number: int, batches: int) -> None:
        """Begin an epoch of `batches` batches."""

    def batch(self) -> None:
        """Note that a batch is done."""

    def judged(self, record: dict[str, Any], progress: Progress) -> None:
        """Note that an epoch is finished and saved.

        Args:
            record: Its line of the history, with `train_s` and `epoch_s`, the seconds that it took.
            progress: All epochs so far.
        """


def judge(model: CabCnn, clips: Iterable[Batch], ranks: ProcessGroup = ALONE) -> Judged:
    """Compute the model's answers on whole clips; several ranks share the work, and each gets all answers."""
    device = next(model.parameters()).device
    model.eval()
    own = []
    evidence = evidence_of(model)
    with torch.inference_mode():
        for clip in islice(clips, ranks.rank, None, ranks.size):
            x, votes, y = _send(clip, device)
            p = mean_of_votes(forward(model, x), votes)
            if evidence is not None:
                p = _weighed(model, evidence, x, clip.votes[0], p)
            own.append((p[0].cpu().numpy(), int(clip.y[0]), loss_of(p, y).item()))
    each = ranks.gather(own)
    # Dealt in turn, so taken in turn.
    rows, truth, losses = zip(*(one for turn in zip_longest(*each) for one in turn if one), strict=True)
    probabilities = np.stack(rows)
    confusion = confusion_matrix(truth, probabilities.argmax(1), probabilities.shape[1])
    of, loss = np.array(truth), np.array(losses)
    balanced = float(np.mean([loss[of == label].mean() for label in np.unique(of)]))
    return Judged(probabilities, of, float(loss.mean()), balanced, scores(confusion))


def fit(
    architecture: Architecture,
    train: Selection,
    validation: Selection,
    keys: TrainingKeys,
    folder: Path,
    *,
    device: str = "cpu",
    watcher: Watcher | None = None,
    ranks: ProcessGroup = ALONE,
) -> tuple[CabCnn, Progress]:
    """Train in `folder`, resuming from its state if there is one.

    Args:
        architecture: Of the net.
        train: Clips to train on.
        validation: Clips that choose the epoch.
        keys: How to train.
        folder: Receives the state and the history.
        device: Device, by torch's name.
        watcher: Observes the run.
        ranks: Processes that share each batch. The first one writes; each gets the model.

    Returns:
        The model with its best weights, and the epochs.

    Raises:
        ConfigError: The loss became NaN or infinite.
        CheckpointError: The state is damaged.
    """
    watcher = watcher or Watcher()
    with seeded(keys.seed, 0):
        model = CabCnn(architecture)
        if keys.start:
            begin_from(model, Path(keys.start))
        model.to(device)
        model.distiller.requires_grad_(not keys.frozen)
    adam = torch.optim.AdamW(
        model.parameters(), lr=keys.learning_rate, eps=KERAS_EPSILON, weight_decay=keys.weight_decay
    )
    progress, best = Progress(), _copy(model)
    if (folder / STATE).exists():
        progress, best = load_state(folder / STATE, model, adam)
    # The state is authoritative: the history of a killed process is corrected by it.
    if ranks.first:
        (folder / HISTORY).write_text("".join(json.dumps(record) + "\n" for record in progress.history))
    while progress.epoch < keys.epochs and progress.stale < keys.patience:
        began = time.perf_counter()
        number = progress.epoch + 1
        loss, audio_s = _epoch(model, adam, train, keys, number, watcher, ranks)
        train_s = time.perf_counter() - began
        judged = judge(model, whole_clips(validation, keys, architecture.interval_s), ranks)
        record = _record(number, loss, audio_s, judged)
        score = {
            "loss": (-judged.loss, judged.scores.uar),
            "balanced": (-judged.balanced, judged.scores.uar),
            "uar": (judged.scores.uar, -judged.balanced),
        }[keys.monitor]
        progress.epoch = number
        progress.history.append(record)
        if progress.best is None or score > progress.best:
            progress.best, progress.best_epoch, best = score, number, _copy(model)
        if ranks.first:
            save_state(folder / STATE, progress, model, best, adam)
            with (folder / HISTORY).open("a") as file:
                file.write(json.dumps(record) + "\n")
        watcher.judged(record | {"train_s": train_s, "epoch_s": time.perf_counter() - began}, progress)
    model.load_state_dict(best)
    return model.eval(), progress


def _epoch(
    model: CabCnn,
    adam: torch.optim.Adam,
    train: Selection,
    keys: TrainingKeys,
    number: int,
    watcher: Watcher,
    ranks: ProcessGroup,
) -> tuple[float, float]:
    """Train one epoch; return the mean loss of its clips, and the seconds of audio processed."""
    interval_s = model.architecture.interval_s
    device = next(model.parameters()).device
    watcher.epoch(number, -(-len(train.clips) // keys.batch))
    total, clips, intervals = 0.0, 0, 0
    model.train()
    # BatchNorm's running statistics are part of the pretrained model.
    model.distiller.train(not keys.frozen)
    with seeded(keys.seed, number, *([ranks.rank] if ranks.rank else [])):
        for batch in training_batches(train, keys, interval_s, number):
            adam.zero_grad(set_to_none=True)
            x, votes, y = _send(batch, device, ranks)
            loss = backward(
                model,
                x,
                votes,
                y,
                keys.label_smoothing,
                bf16=keys.precision == "bf16",
                ranks=ranks,
                clips=len(batch.y),
            )
            if not np.isfinite(loss):
                raise ConfigError(f"the loss is {loss} in epoch {number}; lower training.learning_rate")
            adam.step()
            total += loss * len(batch.y)
            clips += len(batch.y)
            intervals += batch.votes.size
            watcher.batch()
    return total / clips, intervals * interval_s


def _weighed(model: CabCnn, evidence: Evidence, x: Tensor, votes: NDArray[np.bool_], p: Tensor) -> Tensor:
    """Return the answer to one clip, with its evidence applied."""
    u = summary(model, x)[0].cpu().numpy()
    weighed = evidence(p.double().cpu().numpy(), *evidence.of_clip(u, votes))
    return torch.from_numpy(weighed).to(p)


def _record(number: int, loss: float, audio_s: float, judged: Judged) -> dict[str, Any]:
    """Return an epoch's line of the history, which does not depend on the clock."""
    return {
        "epoch": number,
        "loss": round(loss, 6),
        "val_loss": round(judged.loss, 6),
        "val_balanced": round(judged.balanced, 6),
        "val_accuracy": round(judged.scores.accuracy, 6),
        "val_uar": round(judged.scores.uar, 6),
        "val_f1": round(judged.scores.f1, 6),
        "audio_s": round(audio_s, 3),
    }


@contextlib.contextmanager
def seeded(seed: int, *numbers: int) -> Iterator[None]:
    """Seed torch's random numbers within the context, and restore the caller's state afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(
            int(np.random.SeedSequence([seed, 3, *numbers]).generate_state(1, np.uint64)[0] >> 1)
        )
        yield


def _send(batch: Batch, device: torch.device, ranks: ProcessGroup = ALONE) -> tuple[Tensor, Tensor, Tensor]:
    """Move this rank's share of a batch to the device."""
    own = ranks.own(len(batch.y))
    x, votes, y = (torch.from_numpy(a[own]).to(device) for a in (batch.x, batch.votes, batch.y))
    return x, votes, y


def _copy(model: CabCnn) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in model.state_dict().items()}
