"""The cached input of the ACB for every clip, computed once: an epoch of the ACB then takes seconds.

The input is the a_t of a frozen distiller, or the output of a trunk on it. A clip is distilled as a whole, as in
evaluation, so that a crop of it equals a part of the served result. Knows nothing of the training on it.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamcab.errors import CorpusError
from streamcab.nn.cabcnn import Architecture, CabCnn
from streamcab_train.features import Features, Progress, locked, quietly
from streamcab_train.pretrain import begin_from

BLOCK_S = 30.0
"""Seconds of a clip that are distilled at a time."""


def distilled(features: Features, architecture: Architecture, taught: Path, cache: Path) -> Features:
    """Return the same clips with a_t of the trained checkpoint as x (N, features), from the cache or computed now.

    CheckpointError if it does not fit the architecture, CorpusError if the cache cannot be written.
    """
    model = CabCnn(architecture)
    begin_from(model, taught)
    return as_read(features, model, cache)


def as_read(features: Features, model: CabCnn, cache: Path, progress: Progress = quietly) -> Features:
    """Return the same clips with what the model's ACB reads as x (N, features), from the cache or computed now.

    CorpusError if the cache cannot be written.
    """
    home = cache / f"{_key(features, model)}.npy"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(home.with_suffix(".lock")):
            a = _open(home, features, model)
            if a is None:
                part = home.with_suffix(".part")
                _make(part, features, model, progress)
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
    """Return the cache's name, which depends on the weights up to the ACB, on their input, and on every file."""
    sha = hashlib.sha256(json.dumps([model.architecture.to_dict(), features.sha256], sort_keys=True).encode())
    for part in (model.distiller, model.trunk, model.detector):
        for value in part.state_dict().values() if part is not None else ():
            sha.update(value.numpy().tobytes())
    return sha.hexdigest()[:16]


def _shape(features: Features, model: CabCnn) -> tuple[int, int]:
    return int(features.length.sum()), model.architecture.stages[-1].filters


def _open(home: Path, features: Features, model: CabCnn) -> NDArray[np.float32] | None:
    with contextlib.suppress(OSError, ValueError):
        a: NDArray[np.float32] = np.load(home, mmap_mode="r")
        if a.shape == _shape(features, model):
            return a
    return None


@torch.inference_mode()
def _make(part: Path, features: Features, model: CabCnn, progress: Progress) -> None:
    model.eval()
    # By names, as progress counts them: which clip it is, is all that it shows.
    clips = [(str(i), part) for i in range(len(features.length))]
    with part.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": _shape(features, model)}
        )
        for name, _ in progress(clips, 0):
            for block in _blocks(features.rows(int(name)), model):
                file.write(block.numpy().tobytes())
        file.flush()
        os.fsync(file.fileno())


def _blocks(rows: NDArray[np.float32], model: CabCnn) -> Iterator[Tensor]:
    """Yield the ACB's input for a clip's intervals (K, I), in blocks that leave no trace in it."""
    size, halo = model.architecture.intervals(BLOCK_S), model.architecture.context
    for k in range(0, len(rows), size):
        first, end = max(0, k - halo), min(k + size, len(rows))
        some = np.array(rows[first : min(len(rows), end + halo)]).reshape(1, -1)
        yield model.heard(torch.from_numpy(some))[0, k - first : end - first]
