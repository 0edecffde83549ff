"""A model as one file: safetensors with the weights, and all metadata as one JSON string in its header.

Weights and labels cannot drift apart, loading executes nothing, and writing is atomic. A file that is damaged, foreign or
newer is refused with the reason. Knows nothing of training or of streams.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from streamcab.errors import CheckpointError
from streamcab.model import Architecture, CabCnn

FORMAT = 1
KEY = "streamcab"


@dataclass
class Checkpoint:
    """A model with what must be known of it.

    card  corpus, its hash, split, speakers, scores, licence, name: free-form, shown and published
    hash  first 12 hex digits of the file's SHA-256
    """

    model: CabCnn
    card: dict[str, Any] = field(default_factory=dict)
    hash: str = ""

    @property
    def architecture(self) -> Architecture:
        return self.model.architecture


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write atomically: either the whole new file stands at `path`, or what stood there before."""
    meta = {"format": FORMAT, "architecture": checkpoint.architecture.to_dict(), "card": checkpoint.card}
    tensors = {k: v.detach().cpu().contiguous() for k, v in checkpoint.model.state_dict().items()}
    data = safetensors.torch.save(tensors, {KEY: json.dumps(meta, sort_keys=True)})
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error


def load(path: Path) -> Checkpoint:
    """Read and check a checkpoint; CheckpointError names the file and says what is wrong with it."""
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise CheckpointError(f"{path} is a folder, not a checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from None
    try:
        tensors = safetensors.torch.load(data)
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint: {error}") from None
    if KEY not in header:
        raise CheckpointError(f"{path} holds tensors, but is no streamcab checkpoint")
    try:
        meta = json.loads(header[KEY])
        if meta["format"] != FORMAT:
            raise CheckpointError(f"{path} has format {meta['format']}; this version reads format {FORMAT}")
        model = CabCnn(Architecture.from_dict(meta["architecture"]))
        model.load_state_dict(tensors, strict=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} does not fit this version of streamcab: {reason}") from None
    bad = [name for name, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if bad:
        raise CheckpointError(f"{path} holds weights that are no finite numbers, in {bad[0]}")
    return Checkpoint(model.eval(), meta.get("card", {}), hashlib.sha256(data).hexdigest()[:12])


def bundled() -> Path:
    """The model that ships with the package."""
    return Path(str(resources.files("streamcab") / "models" / "default.safetensors"))
