"""The audio of the calls: the bundled clips in sequence, resampled and encoded once.

Knows nothing of packets.
"""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.resample import resampler
from streamcab.errors import SourceError
from streamcab.rtp.codec import TABLES


@cache
def _codes(name: str) -> NDArray[np.uint8]:
    """Return the code whose value is nearest to each 16-bit sample, seen as unsigned: (65536,) uint8."""
    order = np.argsort(TABLES[name], kind="stable")
    values = TABLES[name][order].astype(np.int32)
    x = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    above = np.clip(np.searchsorted(values, x), 1, 255)
    nearer = np.where(x - values[above - 1] <= values[above] - x, above - 1, above)
    return order[nearer].astype(np.uint8)


def encode(codec: str, samples: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Encode samples in [-1, 1] as bytes of `pcmu`, `pcma` or `l16`."""
    whole = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
    if codec == "l16":
        return whole.astype(">i2").view(np.uint8)
    return _codes(codec.upper())[whole.view(np.uint16)]


def at_rate(samples: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """Convert samples (n,) of one rate to another."""
    if rate == wanted:
        return samples
    change = resampler(rate, wanted)
    count = int(change.total(np.array([len(samples)]))[0])
    start, stop = change.start(0), change.stop(count)
    padded = np.pad(samples, (-start, max(stop - len(samples), 0)))
    resampled: NDArray[np.float32] = change(padded[None], 0, count)[0]
    return resampled


def bundled_clips() -> list[Path]:
    """Return the synthetic clips that come with the package."""
    folder = Path(str(resources.files("streamcab") / "clips"))
    clips = sorted(folder.glob("*.ogg"))
    if not clips:
        raise SourceError(f"no clips in {folder}: the package is incomplete; install it again")
    return clips


def babble(clips: Sequence[Path], rate: int) -> NDArray[np.float32]:
    """Join all clips at one rate: every call begins somewhere in them and repeats them."""
    from streamcab.source.file import read_audio

    return np.concatenate([at_rate(*read_audio(clip), rate) for clip in clips])
