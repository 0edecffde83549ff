"""A frozen distiller's a_t for every clip, computed once and cached: an epoch of the ACB then takes seconds.

A clip is distilled as a whole, as in evaluation, so a crop of it equals a part of the served result. Knows nothing
of the training on a_t.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from streamcab.errors import CorpusError
from streamcab.nn.cabcnn import Architecture, CabCnn
from streamcab_train.features import Features, locked
from streamcab_train.pretrain import begin_from


def distilled(features: Features, architecture: Architecture, taught: Path, cache: Path) -> Features:
    """Return the same clips with a_t of the trained checkpoint as x (N, features), from the cache or computed now.

    CheckpointError if it does not fit the architecture, CorpusError if the cache cannot be written.
    """
    model = CabCnn(architecture)
    begin_from(model, taught)
    home = cache / f"{_key(features, model)}.npy"
    try:
        with locked(home.with_suffix(".lock")):
            a = _open(home, features, model)
            if a is None:
                part = home.with_suffix(".part")
                with part.open("wb") as file:
                    np.save(file, _make(features, model))
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, home)
                a = _open(home, features, model)
    except OSError as error:
        raise CorpusError(f"cannot write what was distilled to {cache}: {error.strerror or error}") from None
    if a is None:
        raise CorpusError(f"{home} was damaged while it was written; is the disk full?")
    kind = np.concatenate([features.clip(i)[1] for i in range(len(features.length))])
    start = np.cumsum(features.length) - features.length
    return dataclasses.replace(features, x=a, kind=kind, start=start, distilled=True)


def _key(features: Features, model: CabCnn) -> str:
    """Return the cache's name, which depends on the distiller's weights, on its input, and on every file."""
    sha = hashlib.sha256(json.dumps([model.architecture.to_dict(), features.sha256], sort_keys=True).encode())
    for value in model.distiller.state_dict().values():
        sha.update(value.numpy().tobytes())
    return sha.hexdigest()[:16]


def _open(home: Path, features: Features, model: CabCnn) -> NDArray[np.float32] | None:
    with contextlib.suppress(OSError, ValueError):
        a: NDArray[np.float32] = np.load(home, mmap_mode="r")
        if a.shape == (int(features.length.sum()), model.architecture.stages[-1].filters):
            return a
    return None


@torch.inference_mode()
def _make(features: Features, model: CabCnn) -> NDArray[np.float32]:
    model.eval()
    clips = (features.clip(i)[0] for i in range(len(features.length)))
    return np.concatenate([model.distiller(torch.from_numpy(x[None].copy()))[0].numpy() for x in clips])
