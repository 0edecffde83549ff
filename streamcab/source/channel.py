"""One channel out of many: what `--channel mix|left|right|N` means, the same for every source.

Knows nothing of devices, files or formats.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import ConfigError

SIDES = {"left": 1, "right": 2}


def channel_number(channel: str, count: int) -> int | None:
    """Which of `count` channels is meant, counted from 1; None for all of them mixed.

    ConfigError when `channel` is no channel, or one that the source has not.
    """
    if channel == "mix":
        return None
    number = SIDES.get(channel) or (int(channel) if channel.isascii() and channel.isdigit() else 0)
    if number < 1:
        raise ConfigError(f"no such channel: {channel!r}; use mix, left, right or a number from 1")
    if number > count:
        has = "has only 1 channel" if count == 1 else f"has only {count} channels"
        raise ConfigError(
            f"channel {channel} asked of a source that {has}; use mix or a number up to {count}"
        )
    return number


def pick_channel(frames: NDArray[np.float32], channel: str) -> NDArray[np.float32]:
    """Frames (n, c) -> samples (n,): one channel, or the mean of all. ConfigError as `channel_number`."""
    number = channel_number(channel, frames.shape[1])
    if number is not None:
        return np.ascontiguousarray(frames[:, number - 1])
    if frames.shape[1] == 1:
        return np.ascontiguousarray(frames[:, 0])
    mixed: NDArray[np.float32] = frames.mean(axis=1, dtype=np.float32)
    return mixed
