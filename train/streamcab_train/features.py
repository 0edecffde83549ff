"""The cache of features: the net's input for each clip, in one memory-mapped array, so that no epoch reads audio.

Each set of files and front end has a folder. It holds `x.npy`, the normalised pooled samples, (N, I) float32;
`kind.npy`, the kinds of intervals (gate.py), (N,) uint8; and `index.json`, where each clip begins, and the SHA-256 of
its file. The folder appears complete or not at all. A killed process leaves its work for the next one to continue, and
processes that want the same features wait for the first. Knows nothing of labels, splits or models.
"""

import contextlib
import fcntl
import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp import (
    bands,
    detector,
    detector_inputs,
    frontend,
    gate,
    normalise,
    normalise_offline,
    resample,
    speech_levels,
)
from streamcab.dsp.detector import Weights
from streamcab.errors import AudioError, CorpusError, SourceError
from streamcab.inference import offline
from streamcab.nn.cabcnn import Architecture
from streamcab.source.file import read_audio
from streamcab_train.twins import fingerprint

_CODE = (
    resample,
    bands,
    frontend,
    detector_inputs,
    detector,
    gate,
    speech_levels,
    normalise,
    normalise_offline,
    offline,
)

HEADER = 128
"""Bytes of an .npy header, fixed: the length of the array is known only when all is written."""


class Progress(Protocol):
    """Iterates over the files and reports progress.

    Args:
        files: The files that are left: a name for errors, and a path.
        done: Number of files that were done before.
    """

    def __call__(self, files: Sequence[tuple[str, Path]], done: int) -> Iterable[tuple[str, Path]]: ...


def quietly(files: Sequence[tuple[str, Path]], done: int) -> Iterable[tuple[str, Path]]:
    """Return the files as they are, without reporting progress."""
    return files[done:]


@dataclass(frozen=True)
class Features:
    """The features of n clips.

    Attributes:
        x: Normalised pooled samples, (N, I) float32, memory-mapped. Distilled features are (N, features).
        kind: Kinds of intervals, (N,) uint8, memory-mapped.
        start: First interval of each clip, (n,).
        length: Number of intervals of each clip, (n,).
        sha256: Hash of each clip's file, (n,).
    """

    x: NDArray[np.float32]
    kind: NDArray[np.uint8]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    sha256: tuple[str, ...]
    fingerprints: tuple[str, ...] = ()
    """Of the samples of each clip: twins.py."""
    distilled: bool = False
    """Whether x (N, features) are a_t of a frozen distiller in place of samples."""

    def rows(self, i: int) -> NDArray[np.float32]:
        """Return all intervals of clip i, (K, I)."""
        first = int(self.start[i])
        return self.x[first : first + int(self.length[i])]

    def clip(
        self, i: int, first: int = 0, count: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return intervals of clip i.

        Args:
            i: Number of the clip.
            first: First interval.
            count: Number of intervals; by default all that follow.

        Returns:
            x (count * I,), or (count, features) of distilled features, and kind (count,).
        """
        at = int(self.start[i]) + first
        end = int(self.start[i] + self.length[i]) if count is None else at + count
        x = self.x[at:end]
        return x if self.distilled else x.reshape(-1), self.kind[at:end]


def load_features(
    files: Sequence[tuple[str, Path]],
    architecture: Architecture,
    cache: Path,
    progress: Progress = quietly,
    weights: Weights | None = None,
) -> Features:
    """Return the features of some files, from the cache or computed now.

    A damaged cache is computed again.

    Args:
        files: A name for errors, and the path, of each clip.
        architecture: Determines the front end.
        cache: Folder of all caches.
        progress: Reports progress while features are computed.
        weights: Weights of the model's speech detector, if the architecture has one.

    Raises:
        CorpusError: A file cannot be decoded, or the cache cannot be written.
    """
    home = cache / _key(files, architecture, weights)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(home.with_suffix(".lock")):
            found = _open(home, len(files), architecture.interval)
            if found is None:
                shutil.rmtree(home, ignore_errors=True)
                _make(files, architecture, home, progress, weights)
                found = _open(home, len(files), architecture.interval)
    except OSError as error:
        raise CorpusError(f"cannot write the features to {cache}: {error.strerror or error}") from None
    if found is None:
        raise CorpusError(f"the features in {home} were damaged while they were written; is the disk full?")
    return found


def _key(files: Sequence[tuple[str, Path]], arch: Architecture, weights: Weights | None) -> str:
    """Return the cache's name, which changes with the files, the front end's numbers, the detector and their code."""
    code = [inspect.getsource(module) for module in _CODE]
    numbers = [arch.rate, arch.pooled_rate, arch.interval, arch.normaliser, arch.extra.get("seconds")]
    stats = [(str(path.resolve()), s.st_size, s.st_mtime_ns) for _, path in files for s in [path.stat()]]
    parts = [] if weights is None else [*weights.kernels, *weights.biases, weights.out]
    heard = [hashlib.sha256(part.tobytes()).hexdigest() for part in parts] + [
        weights.bias if weights else None
    ]
    return hashlib.sha256(json.dumps([code, numbers, stats, heard]).encode()).hexdigest()[:16]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock while in the context; the system releases it when the process ends, however it ends."""
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open(home: Path, clips: int, interval: int) -> Features | None:
    """Return the cache in a folder, or None if there is none or it is incomplete."""
    try:
        index = json.loads((home / "index.json").read_text(encoding="utf-8"))
        x = np.load(home / "x.npy", mmap_mode="r")
        kind = np.load(home / "kind.npy", mmap_mode="r")
        length = np.array(index["length"], np.int64)
        sha256, told = tuple(index["sha256"]), tuple(index["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    total = int(length.sum())
    if any(len(column) != clips for column in (length, sha256, told)):
        return None
    if x.shape != (total, interval) or kind.shape != (total,):
        return None
    return Features(x, kind, np.cumsum(length) - length, length, sha256, told)


def _make(
    files: Sequence[tuple[str, Path]],
    arch: Architecture,
    home: Path,
    progress: Progress,
    weights: Weights | None,
) -> None:
    """Compute the cache beside its place, continuing where a killed process stopped, and move it there."""
    part = home.with_suffix(".part")
    part.mkdir(exist_ok=True)
    with (
        (part / "x.npy").open("ab") as x_file,
        (part / "kind.npy").open("ab") as kind_file,
        (part / "done.jsonl").open("a+b") as log,
    ):
        done = _left_off(log)
        total = sum(entry["length"] for entry in done)
        for file, size in ((x_file, total * arch.interval * 4), (kind_file, total)):
            if file.seek(0, os.SEEK_END) < HEADER + size:
                # The log is ahead of the data, after a power cut perhaps: begin again.
                done, total = [], 0
                log.truncate(0)
                break
        for file, size in ((x_file, total * arch.interval * 4), (kind_file, total)):
            file.truncate(HEADER + size)
        for name, path in progress(files, len(done)):
            entry, x, kind = _hear(name, path, arch, weights)
            x_file.write(x.tobytes())
            kind_file.write(kind.tobytes())
            x_file.flush()
            kind_file.flush()
            # Last: what the log names is there.
            log.write(json.dumps(entry).encode() + b"\n")
            log.flush()
            done.append(entry)
        total = sum(entry["length"] for entry in done)
    _write_header(part / "x.npy", "<f4", (total, arch.interval))
    _write_header(part / "kind.npy", "|u1", (total,))
    index = {key: [entry[key] for entry in done] for key in ("length", "sha256", "fingerprint")}
    (part / "index.json").write_text(json.dumps(index))
    (part / "done.jsonl").unlink()
    part.rename(home)


def _left_off(log: BinaryIO) -> list[dict[str, Any]]:
    """Return the entries that a killed process has finished; an incomplete last line is cut off."""
    log.seek(0)
    done, size = [], 0
    for line in log:
        try:
            entry = json.loads(line)
            entry["fingerprint"]
            done.append(entry)
        except (ValueError, KeyError):
            break
        size += len(line)
    log.truncate(size)
    return done


def _hear(
    name: str, path: Path, arch: Architecture, weights: Weights | None
) -> tuple[dict[str, Any], NDArray[np.float32], NDArray[np.uint8]]:
    """Compute the features of one file: its length and hash, x (K * I,) and kind (K,)."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        samples, rate = read_audio(path)
    except OSError as error:
        raise CorpusError(f"{name}: {path}: {error.strerror}") from None
    except (AudioError, SourceError) as error:
        raise CorpusError(f"{name}: {error}") from None
    heard = offline.features(samples, rate, arch, weights)
    entry = {"length": heard.kind.shape[1], "sha256": digest, "fingerprint": fingerprint(samples, rate)}
    return entry, heard.x[0], heard.kind[0]


def _write_header(path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """Write the header of an .npy file, version 1.0, into the space reserved for it, and sync the file."""
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    with path.open("r+b") as file:
        file.write(
            b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.ljust(HEADER - 11) + b"\n"
        )
        file.flush()
        os.fsync(file.fileno())
