"""The state of a run between two epochs, in one file: after an interruption it resumes from the last whole epoch.

Safetensors: the weights, the best weights, Adam's moments; everything else as JSON in its header. No random state is
kept, since an epoch derives it from the seed and its number. Knows nothing of how an epoch is trained.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from streamcab.errors import CheckpointError
from streamcab.nn.cabcnn import CabCnn

KEY = "streamcab_train"
FORMAT = 1


@dataclass
class Progress:
    """epoch: whole epochs done; best_epoch: the one that is kept, from 1; best: its score, higher is better;
    history: one record for each epoch."""

    epoch: int = 0
    best_epoch: int = 0
    best: tuple[float, float] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def stale(self) -> int:
        """Epochs since the best."""
        return self.epoch - self.best_epoch


def save_state(
    path: Path, progress: Progress, model: CabCnn, best: dict[str, Tensor], adam: torch.optim.Adam
) -> None:
    """Write all of it atomically."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    for name, parameter in model.named_parameters():
        tensors |= {f"adam.{name}.{k}": v for k, v in adam.state[parameter].items()}
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    meta = {"format": FORMAT, **asdict(progress)}
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(safetensors.torch.save(tensors, {KEY: json.dumps(meta)}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        # A partial file would keep the disk full.
        part.unlink(missing_ok=True)


def load_state(path: Path, model: CabCnn, adam: torch.optim.Adam) -> tuple[Progress, dict[str, Tensor]]:
    """Restore model and optimiser; return progress and best weights. CheckpointError if damaged."""
    try:
        tensors = safetensors.torch.load(path.read_bytes())
        with safe_open(path, "pt") as file:
            meta = json.loads(file.metadata()[KEY])
        if meta.pop("format") != FORMAT:
            raise CheckpointError(
                f"{path} is from another version of streamcab; start a new run in another folder"
            )
        if meta["best"] is not None:
            meta["best"] = tuple(meta["best"])
        progress = Progress(**meta)
        model.load_state_dict(_under("model.", tensors), strict=True)
        best = _under("best.", tensors)
        for name, parameter in model.named_parameters():
            moments = _under(f"adam.{name}.", tensors)
            # Adam counts its steps on the CPU.
            adam.state[parameter] = {
                k: v if k == "step" else v.to(parameter.device) for k, v in moments.items()
            }
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} is damaged ({reason}); start a new run in another folder") from None
    return progress, best


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
