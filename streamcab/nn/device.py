"""The device to compute on, from a user's setting, and the number of threads of the net.

Knows nothing of models or streams.
"""

import ctypes
import os
from importlib.util import find_spec
from pathlib import Path

from streamcab.errors import ConfigError
from streamcab.extras import missing

DRIVERS = ("libcuda.so.1", "nvcuda.dll")
"""Of NVIDIA, without one of which torch finds no CUDA device."""
ROCM = Path("/dev/kfd")
"""Where AMD's driver is; torch calls its devices CUDA too."""


def device_for(compute: str) -> str:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:N`; raise ConfigError when it is not there.

    Torch is imported only where a driver is: importing it takes a second.
    """
    if compute == "cpu":
        return "cpu"
    if compute == "auto":
        return "cuda" if _driver() and find_spec("torch") and _count() else "cpu"
    kind, _, number = compute.partition(":")
    if kind != "cuda" or (number and not number.isdigit()) or compute.endswith(":"):
        raise ConfigError(f"compute is {compute!r}; it can be auto, cpu, cuda or cuda:N")
    if find_spec("torch") is None:
        raise missing("torch", f"compute {compute!r}")
    count = _count()
    if not count:
        raise ConfigError(f"compute is {compute!r}, but torch finds no CUDA device here; use --compute cpu")
    if number and int(number) >= count:
        raise ConfigError(f"compute is {compute!r}, but there are {count} CUDA devices, from 0 on")
    return compute


def _driver() -> bool:
    """Return whether this machine has a driver that torch could compute with."""
    for name in DRIVERS:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return ROCM.exists()


def _count() -> int:
    """Return the number of devices that torch finds."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


MOST_WORKERS = 1024

THREADS = 2
"""From two on the net takes less of a turn than all that is around it (docs/results/performance.md)."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_for_many(workers: int = 1) -> int:
    """Return the default number of threads for the net of many streams, in each of several processes."""
    return max(min(cores() // workers, THREADS), 1)


def workers_for(text: str) -> int:
    """Return the number of processes for `--workers`: a number, or `auto`, one for every THREADS cores. ConfigError."""
    if text == "auto":
        return max(cores() // THREADS, 1)
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_WORKERS):
        raise ConfigError(f"--workers is {text!r}; it can be auto, or 1 to {MOST_WORKERS}")
    return int(text)
