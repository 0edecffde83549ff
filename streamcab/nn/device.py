"""Where to compute: the device that a user's word means, and how many threads the net may take.

Knows nothing of models or streams.
"""

import os

import torch

from streamcab.errors import ConfigError


def device_for(compute: str) -> str:
    """The torch device for `auto`, `cpu`, `cuda` or `cuda:N`; ConfigError when it is not there."""
    if compute == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if compute == "cpu":
        return "cpu"
    kind, _, number = compute.partition(":")
    if kind != "cuda" or (number and not number.isdigit()) or compute.endswith(":"):
        raise ConfigError(f"compute is {compute!r}; it can be auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise ConfigError(f"compute is {compute!r}, but torch finds no CUDA device here; use --compute cpu")
    if number and int(number) >= torch.cuda.device_count():
        raise ConfigError(
            f"compute is {compute!r}, but there are {torch.cuda.device_count()} CUDA devices, from 0 on"
        )
    return compute


THREADS = 2
"""From two on the net takes less of a turn than all that is around it (docs/performance.md)."""


def threads_for_many() -> int:
    """How many threads the net of many streams should have on this machine, if the user does not say."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, THREADS)
