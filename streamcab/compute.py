"""Where to compute: the device that a user's word means, and how many threads torch may take.

Knows nothing of models or streams.
"""

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
