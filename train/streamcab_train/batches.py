"""The batches of an epoch: clips, and the part of each that is used.

The batches depend only on the seed and the epoch's number, so a resumed run draws the same ones as an uninterrupted
run. Knows nothing of models or of torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.inference.engine_output import voting
from streamcab_train.features import Features
from streamcab_train.recipe_keys import TrainingKeys

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """A batch of B clips.

    Attributes:
        x: (B, K * I) float32, or (B, K, features) of distilled clips.
        votes: Which intervals count, (B, K) bool.
        y: Classes, (B,) int64.
    """

    x: NDArray[np.float32]
    votes: NDArray[np.bool_]
    y: Ints


@dataclass(frozen=True)
class Selection:
    """Some clips of the features.

    Attributes:
        clips: Their numbers, (n,).
        y: Their classes, (n,).
    """

    features: Features
    clips: Ints
    y: Ints
    gate: bool

    def votes(self, kind: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which intervals count, in the shape of `kind`."""
        return voting(kind, self.gate)

    def __add__(self, other: "Selection") -> "Selection":
        """Return the clips of both, which must have the same features."""
        clips, y = np.concatenate((self.clips, other.clips)), np.concatenate((self.y, other.y))
        return Selection(self.features, clips, y, self.gate)


def training_batches(some: Selection, keys: TrainingKeys, interval_s: float, epoch: int) -> Iterator[Batch]:
    """Yield an epoch of as many clips as there are, in batches cut to their shortest and to T (paper, section 4)."""
    rng = np.random.default_rng([keys.seed, 2, epoch])
    order = _balanced(some.y, rng) if keys.balanced else rng.permutation(len(some.clips))
    limit = max(1, round(keys.seconds / interval_s))
    for at in range(0, len(order), keys.batch):
        chosen = order[at : at + keys.batch]
        clips = some.clips[chosen]
        length = some.features.length[clips]
        k = min(limit, int(length.min()))
        first = rng.integers(length - k + 1) if keys.crop == "random" else np.zeros(len(clips), np.int64)
        cuts = [some.features.clip(int(i), int(f), k) for i, f in zip(clips, first, strict=True)]
        votes = some.votes(np.stack([kind for _, kind in cuts]))
        yield Batch(np.stack([x for x, _ in cuts]), votes, some.y[chosen])


def whole_clips(some: Selection, keys: TrainingKeys, interval_s: float) -> Iterator[Batch]:
    """Yield each clip separately, for evaluation: its first T seconds, or all of it if training crops at random."""
    limit = max(1, round(keys.seconds / interval_s))
    for i, y in zip(some.clips, some.y, strict=True):
        k = int(some.features.length[i])
        x, kind = some.features.clip(int(i), 0, min(k, limit) if keys.crop == "first" else k)
        # Copied, since torch does not accept read-only arrays.
        yield Batch(x[None].copy(), some.votes(kind)[None], np.array([y]))


def _balanced(y: Ints, rng: np.random.Generator) -> Ints:
    """Return len(y) indices, each class equally often; no clip is repeated before the others of its class."""
    labels = np.unique(y)
    drawn = []
    for turn, label in enumerate(rng.permutation(labels)):
        own = np.flatnonzero(y == label)
        want = len(y) // len(labels) + (turn < len(y) % len(labels))
        rounds = -(-want // len(own))
        drawn.append(np.concatenate([rng.permutation(own) for _ in range(rounds)])[:want])
    return rng.permutation(np.concatenate(drawn))
