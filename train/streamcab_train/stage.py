"""One stage of a pupil's training: steps, and their state on the disk, from which a killed one goes on the same.

Each step is a function of the seed and its number. Several processes share each batch; the first one writes. Knows
nothing of corpora or of recordings.
"""

import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamcab.errors import ConfigError
from streamcab_train.context_keys import ContextKeys, StageKeys
from streamcab_train.copies import Copy
from streamcab_train.distributed import ALONE, ProcessGroup
from streamcab_train.judged import answers
from streamcab_train.pupil import Batch, Pupil, Weights
from streamcab_train.scores import confusion_matrix, scores
from streamcab_train.stream import Source, Stream, batches

SAVE = 100
"""Steps between two states."""
CHOOSE = 10
"""States between two looks at the inner voices."""
PRODUCTS = (".widen.weight", ".narrow.weight")
BETAS, DECAY, WARM, CLIP = (0.9, 0.98), 0.02, 50, 1.0

Say = Callable[[str], object]


@dataclass(frozen=True)
class Inner:
    """Clips of voices that neither teach nor judge, and their classes (n,): they choose among weights."""

    clips: Copy
    truth: NDArray[np.int64]

    def score(self, pupil: Pupil, ranks: ProcessGroup) -> tuple[float, float]:
        """Return UAR, and the mean logarithm of the right class, each class as much as another."""
        pupil.eval()
        p = answers(pupil.model, self.clips, range(len(self.truth)), ranks)
        pupil.train()
        uar = scores(confusion_matrix(self.truth, p.argmax(1), p.shape[1])).uar
        log = np.log(np.maximum(p[np.arange(len(p)), self.truth], 1e-9))
        return uar, float(np.mean([log[self.truth == k].mean() for k in np.unique(self.truth)]))


def left(state: Path, stage: StageKeys) -> bool:
    """Return whether steps of a stage are left to do."""
    return not state.exists() or int(torch.load(state, weights_only=True)["step"]) < stage.steps


def resume(pupil: Pupil, state: Path) -> None:
    """Leave the pupil as a finished stage did."""
    saved = torch.load(state, weights_only=True)
    pupil.load_state_dict(_ended(saved))
    pupil.eval()


def run_stage(
    pupil: Pupil,
    source: Source,
    stage: StageKeys,
    keys: ContextKeys,
    state: Path,
    say: Say,
    *,
    inner: Inner | None = None,
    ranks: ProcessGroup = ALONE,
    workers: int = 0,
) -> None:
    """Run the steps of one stage, from `state` if it stands there; the pupil is then as the stage leaves it.

    Args:
        pupil: What is taught.
        source: What its batches are drawn from.
        stage: The stage, of the recipe `keys`.
        keys: The recipe.
        state: The stage's file.
        say: Receives progress messages.
        inner: If it is given, the stage leaves the weights that answer these best, and not the last ones.
        ranks: Processes that share each batch.
        workers: Processes of this one that draw batches ahead of the training.
    """
    optimisers, device = optimisers_of(pupil, stage.learning_rate), next(pupil.parameters()).device
    saved: dict[str, Any] = {"step": 0}
    if state.exists():
        saved = torch.load(state, weights_only=True, map_location=device)
        pupil.load_state_dict(saved["pupil"])
        for optimiser, kept in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
    weights, begun = Weights(stage.frames, stage.opinion, stage.label), int(saved["step"])
    pupil.train()
    drawn = batches(Stream(source, stage, keys, begun, ranks), workers)
    for step, batch in zip(range(begun, stage.steps), drawn, strict=True):
        for group in [group for optimiser in optimisers for group in optimiser.param_groups]:
            group["lr"] = stage.learning_rate * schedule(step, stage.steps)
        torch.manual_seed(step * ranks.size + ranks.rank)
        total, told = pupil.losses(_on(device, batch), weights, distilled=stage.distilled)
        pupil.zero_grad()
        # Of each process as many rows: the mean over all is the mean of theirs.
        (total / ranks.size).backward()  # type: ignore[no-untyped-call]
        if ranks.size > 1:
            _share_gradients(pupil, ranks, total)
        torch.nn.utils.clip_grad_norm_(pupil.parameters(), CLIP)
        for optimiser in optimisers:
            optimiser.step()
        done = step + 1
        if done % SAVE == 0 or done == stage.steps:
            words = [f"{stage.name} {done}: " + ", ".join(f"{k} {v:.3f}" for k, v in told.items())]
            if inner is not None and (done % (SAVE * CHOOSE) == 0 or done == stage.steps):
                score = inner.score(pupil, ranks)
                words.append(f"inner voices: UAR {score[0]:.3f}, mean log {score[1]:.3f}")
                if score > saved.get("score", (-1.0, 0.0)):
                    saved |= {"score": score, "best": deepcopy(pupil.state_dict())}
            kept = [optimiser.state_dict() for optimiser in optimisers]
            saved |= {"pupil": pupil.state_dict(), "optimisers": kept, "step": done}
            if ranks.first:
                _save(state, saved)
                say("; ".join(words))
    pupil.load_state_dict(_ended(saved))
    pupil.eval()


def optimisers_of(pupil: Pupil, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the large products of the trunk, which it teaches in two thirds of the steps, and AdamW for
    the rest."""
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(f"torch {torch.__version__} has no Muon; this recipe wants torch 2.9 or later")
    products = {name for name, _ in pupil.named_parameters() if name.endswith(PRODUCTS)}
    wide = [p for name, p in pupil.named_parameters() if name in products]
    rest = [p for name, p in pupil.named_parameters() if name not in products]
    return [
        torch.optim.Muon(wide, lr=learning_rate, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=learning_rate, betas=BETAS, weight_decay=DECAY),
    ]


def schedule(step: int, steps: int) -> float:
    """Return the learning rate of a step, as a part of the largest: risen within 50, from a third of the way on a
    cosine."""
    part = max(0.0, (step / steps - 0.35) / 0.65)
    return min(1.0, (step + 1) / WARM) * (0.03 + 0.97 * 0.5 * (1 + float(np.cos(np.pi * part))))


def _share_gradients(pupil: Pupil, ranks: ProcessGroup, total: Tensor) -> None:
    """Sum gradients over all processes; what none of them has used keeps none, as in one process."""
    parameters = list(pupil.parameters())
    used = zip(*ranks.gather([p.grad is not None for p in parameters]), strict=True)
    ranks.add_gradients([p for p, by in zip(parameters, used, strict=True) if any(by)], total)


def _on(device: torch.device, batch: Batch) -> Batch:
    """Return the batch on a device."""
    return replace(
        batch, **{f.name: x.to(device) for f in fields(batch) if (x := getattr(batch, f.name)) is not None}
    )


def _ended(saved: dict[str, Any]) -> dict[str, Any]:
    weights: dict[str, Any] = saved["best" if "best" in saved else "pupil"]
    return weights


def _save(state: Path, saved: dict[str, Any]) -> None:
    part = state.with_suffix(f".{os.getpid()}.part")
    torch.save(saved, part)
    part.replace(state)
