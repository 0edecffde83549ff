"""The folder of a training run: its file names, its lock, its identity, and its results.

    run.json           recipe, corpus and split of the run; `--resume` must find the same
    test.csv           the answer to each clip of the test split
    model.safetensors  the model, with its card

Knows nothing of training.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import CheckpointError, ConfigError
from streamcab.nn import checkpoint
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.confidence import Confidence
from streamcab_train.dataset import Dataset
from streamcab_train.fold_answers import write_answers
from streamcab_train.loop import Judged

MODEL = "model.safetensors"
RUN = "run.json"
ANSWERS = "test.csv"


def cache_folder() -> Path:
    """Return the default folder of cached features and distilled clips."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamcab"


@contextlib.contextmanager
def hold(out: Path, resume: bool, mark: str) -> Iterator[None]:
    """Create a run's folder, and hold it so that no other process trains in it.

    Args:
        out: The folder.
        resume: Whether it may contain a run.
        mark: File that marks such a run.

    Raises:
        ConfigError: The folder is in use, cannot be used, or contains anything else.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        held = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"cannot use {out} as the run's folder: {error.strerror}") from None
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another process is training in {out}") from None
        inside = {path.name for path in out.iterdir() if not path.name.startswith(".")}
        if inside and not resume:
            raise ConfigError(
                f"{out} is not empty; add --resume to continue its run, or choose another --out"
            )
        if inside and mark not in inside:
            raise ConfigError(f"{out} contains no run to resume (no {mark}); choose another --out")
        yield
    finally:
        os.close(held)


def same_run(path: Path, identity: dict[str, Any]) -> None:
    """Write down a run's identity, or compare it with the one written before."""
    if not path.exists():
        part = path.with_name(f".{path.name}.part")
        part.write_text(json.dumps(identity, indent=1) + "\n")
        os.replace(part, path)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise CheckpointError(f"{path} is damaged; start a new run in another folder") from None
    was, now = _flat(before), _flat(identity)
    for key in sorted(was.keys() | now.keys()):
        if was.get(key) != now.get(key):
            raise ConfigError(
                f"cannot resume {path.parent}: {key} was {was.get(key)!r} and is {now.get(key)!r}; "
                "take another --out"
            )


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def save_results(
    out: Path, dataset: Dataset, model: CabCnn, card: dict[str, Any], test: Judged
) -> NDArray[np.float64]:
    """Write the answers to the test clips, and the model with its card.

    Args:
        out: The run's folder.
        dataset: The clips of the run.
        model: The trained model.
        card: Its card, with the temperature at which the answers are served.
        test: Answers on the test clips.

    Returns:
        The answers as served, (n, labels).
    """
    tested = [c for c, part in zip(dataset.clips, dataset.parts, strict=True) if part == "test"]
    served = Confidence.of(card)(test.probabilities.astype(np.float64))
    write_answers(out / ANSWERS, dataset.architecture.labels, tested, served)
    checkpoint.save(Checkpoint(model.cpu(), card), out / MODEL)
    return served
