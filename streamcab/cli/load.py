"""Loads the objects that common options name: a checkpoint, a device, a backend, a client's keys.

Imports heavy packages only inside its functions.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamcab.cli.notice import loaded, loading

if TYPE_CHECKING:
    from streamcab.classifier import Classifier
    from streamcab.feed.curve import ClientKeys
    from streamcab.nn.backend import Backend
    from streamcab.nn.checkpoint import Checkpoint


def client_keys(key: Path | None, server_key: Path | None) -> "ClientKeys | None":
    """Return a client's keys for a protected feed, None for an open one; raise ConfigError if a file contains no
    key."""
    from streamcab.feed.curve import ClientKeys

    if (key is None) != (server_key is None):
        raise click.UsageError(
            "--key and --server-key go together: your secret key, and the public key of the feed."
        )
    return ClientKeys.load(key, server_key) if key and server_key else None


def gate_of(word: str | None) -> bool | None:
    """Return the value of `--gate`; None: as in the checkpoint."""
    return None if word is None else word == "on"


def load_checkpoint(model: Path | None, compute: str) -> "tuple[Checkpoint, str]":
    """Load the checkpoint, by default the bundled one, and choose the device; raise CheckpointError and ConfigError."""
    from streamcab.nn import checkpoint
    from streamcab.nn.device import device_for

    return checkpoint.load(checkpoint.find(model)), device_for(compute)


def backend_maker(
    checkpoint: "Checkpoint", device: str, name: str, precision: str = "f32", threads: int | None = None
) -> "Callable[[int], Backend]":
    """Return a function that makes the backend for a number of slots."""
    from streamcab.nn.backend import make_backend
    from streamcab.nn.device import threads_for_many

    _limit_torch(name, device, threads)
    many = threads or threads_for_many()
    return lambda slots: make_backend(name, checkpoint.net, slots, device, precision, many, wait=False)


def load_classifier(model: Path | None, compute: str, threads: int | None) -> "Classifier":
    """Load a classifier from the checkpoint, by default the bundled one."""
    loading()
    from streamcab.classifier import Classifier

    checkpoint, device = load_checkpoint(model, compute)
    _limit_torch("auto", device, threads)
    classifier = Classifier(checkpoint, device, threads=threads or 1)
    loaded()
    return classifier


def _limit_torch(backend: str, device: str, threads: int | None) -> None:
    """Set torch's threads if torch is the backend; the default is 1."""
    from streamcab.nn.backend import resolved

    if resolved(backend, device) == "torch":
        import torch

        torch.set_num_threads(threads or 1)
