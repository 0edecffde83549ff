"""Copies of a list of clips as the net hears them: the recordings themselves, or a random version of each.

Kept in half precision, some clips a file, so that what was killed goes on where it was. Knows nothing of labels, of
teachers or of nets.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from streamcab.dsp.detector import Weights
from streamcab.dsp.gate import VOICED
from streamcab.errors import AudioError, CorpusError, SourceError
from streamcab.inference import offline
from streamcab.nn.cabcnn import Architecture
from streamcab.source.file import read_audio
from streamcab_train.augment import augment

CLIPS = 200
"""Clips per file."""
PARTS = ("x", "votes", "length", "speed")
"""Of a copy, what its file holds."""

Floats = NDArray[np.float32]
Heard = tuple[Floats, NDArray[np.bool_], float]


@dataclass(frozen=True)
class Copy:
    """A copy of n clips, each `speed` times as fast as its recording.

    Attributes:
        x: Samples of each interval, or a_t, (N, width) float16.
        votes: Which intervals count, (N,) bool.
        start: First interval of each clip, (n,).
        length: Number of intervals of each clip, (n,).
        speed: Of each clip, (n,).
    """

    x: NDArray[np.float16]
    votes: NDArray[np.bool_]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    speed: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        x: NDArray[np.float16],
        votes: NDArray[np.bool_],
        length: NDArray[np.int64],
        speed: NDArray[np.float64],
    ) -> "Copy":
        """Make a copy whose clips lie one behind the other."""
        return cls(x, votes, np.cumsum(length) - length, length, speed)

    def some(self, first: int, count: int) -> "Copy":
        """Return some of the clips, in the same memory."""
        clips = slice(first, first + count)
        at = int(self.start[first]) if count else 0
        where = slice(at, at + int(self.length[clips].sum()))
        return Copy.of(self.x[where], self.votes[where], self.length[clips], self.speed[clips])

    def cut(self, i: int, first: int, count: int) -> tuple[Floats, NDArray[np.bool_]]:
        """Return intervals of clip i: x (count, width) and whether they vote (count,)."""
        at = slice(int(self.start[i]) + first, int(self.start[i]) + first + count)
        return self.x[at].astype(np.float32), self.votes[at]

    def clip(self, i: int) -> tuple[Floats, NDArray[np.bool_]]:
        """Return all of clip i: x (K, width) and votes (K,)."""
        return self.cut(i, 0, int(self.length[i]))


def make_copy(
    paths: Sequence[Path],
    architecture: Architecture,
    number: int,
    seed: int,
    folder: Path,
    detector: Weights | None = None,
) -> Copy:
    """Copy `number` of the recordings, 0 being these themselves, from `folder` or made now.

    Args:
        paths: the recordings.
        architecture: what the net hears, and whether a detector says who votes.
        number: which copy.
        seed: of what is done to a recording.
        folder: where copies stand.
        detector: the weights of the architecture's detector, if it has one.

    Raises:
        CorpusError: a recording cannot be heard, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for first in range(0, len(paths), CLIPS):
            file = folder / f"{number}-{first:06d}.npz"
            if not file.exists():
                made = [
                    _hear(paths, i, architecture, number, seed, detector)
                    for i in range(first, min(first + CLIPS, len(paths)))
                ]
                part = file.with_suffix(f".{os.getpid()}.part")
                with part.open("wb") as out:
                    copy = joined(made)
                    np.savez(out, **{name: getattr(copy, name) for name in PARTS})
                part.replace(file)
    except OSError as error:
        raise CorpusError(f"cannot write copies to {folder}: {error.strerror or error}") from None
    return load_copy(folder, number)


def load_copy(folder: Path, number: int) -> Copy:
    """Open the copy in `folder`."""
    files = [np.load(file) for file in sorted(folder.glob(f"{number}-*.npz"))]
    return Copy.of(*(np.concatenate([f[name] for f in files]) for name in PARTS))


def _hear(
    paths: Sequence[Path],
    i: int,
    architecture: Architecture,
    number: int,
    seed: int,
    detector: Weights | None,
) -> Heard:
    """Return clip i as the net hears it: x (K, I), votes (K,), speed."""
    samples, rate = read_clip(paths[i])
    rng = np.random.default_rng([seed, number, i]) if number else None
    voices = list(_babblers(paths, rate, rng)) if rng is not None else []
    return hear(samples, rate, architecture, detector, rng, voices)


def hear(
    samples: Floats,
    rate: int,
    architecture: Architecture,
    detector: Weights | None,
    rng: np.random.Generator | None = None,
    voices: Sequence[Floats] = (),
) -> Heard:
    """Return a clip as the net hears it: x (K, I), votes (K,), speed. With `rng`, augmented; `voices`, of the same
    rate, are for babble."""
    speed = 1.0
    if rng is not None:
        # On the line to the net: few codecs have the rate of every recording.
        samples, *voices = (_at(architecture.rate, x, rate) for x in (samples, *voices))
        rate = architecture.rate
        made = augment(samples, rate, rng, voices)
        samples, speed = made.samples, made.speed
    heard = offline.features(samples, rate, architecture, detector)
    return heard.x.reshape(-1, architecture.interval), heard.kind[0] == VOICED, speed


def _at(wanted: int, samples: Floats, rate: int) -> Floats:
    """Return samples at another rate."""
    found: Floats = samples if rate == wanted else resample_poly(samples, wanted, rate).astype(np.float32)
    return found


def _babblers(paths: Sequence[Path], rate: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield a few clips that other voices are taken from, if they have the same rate."""
    for j in rng.choice(len(paths), min(3, len(paths)), replace=False):
        samples, own = read_clip(paths[j])
        if own == rate and len(samples):
            yield samples


def read_clip(path: Path) -> tuple[Floats, int]:
    """Read the samples of a recording and their rate. CorpusError names the file."""
    try:
        return read_audio(path)
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from None
    except (AudioError, SourceError) as error:
        raise CorpusError(f"{path}: {error}") from None


def joined(made: Sequence[Heard]) -> Copy:
    """Put clips as `hear` gives them one behind the other."""
    x, votes, speed = zip(*made, strict=True)
    length = np.array([len(v) for v in votes], np.int64)
    return Copy.of(np.concatenate(x).astype(np.float16), np.concatenate(votes), length, np.array(speed))


def together(copies: Sequence[Copy]) -> Copy:
    """Put the clips of all copies into one."""
    return Copy.of(*(np.concatenate([getattr(copy, name) for copy in copies]) for name in PARTS))
