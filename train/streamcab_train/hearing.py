"""Recordings, heard when they are needed: as they are, or each time augmented in another way.

Nothing is kept, in memory or on the disk. Knows nothing of nets, of labels or of what is drawn from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.detector import Weights
from streamcab.nn.architecture import Architecture
from streamcab_train.copies import Copy, Floats, hear, joined, read_clip

BABBLERS = 3
"""Other clips that the babble behind one is made of, at most."""


@dataclass(frozen=True)
class Hearing:
    """Hears recordings.

    Attributes:
        paths: The recordings.
        hears: What the net hears, and whether a detector says who votes.
        detector: The weights of that detector.
        augmented: The part of the clips that is augmented.
        seed: Of what is done to these.
    """

    paths: Sequence[Path]
    hears: Architecture
    detector: Weights | None
    augmented: float
    seed: int

    def clip(self, i: int) -> tuple[Floats, NDArray[np.bool_]]:
        """Return clip i as it is: x (K, width) and votes (K,)."""
        x, votes, _ = hear(*read_clip(self.paths[i]), self.hears, self.detector)
        return x, votes

    def plain(self, clips: Sequence[int]) -> Copy:
        """Return some clips as they are."""
        return joined([hear(*read_clip(self.paths[i]), self.hears, self.detector) for i in clips])

    def anew(self, clips: Sequence[int], time: int) -> Copy:
        """Return some clips, a part of them augmented, as the seed, `time` and the clips have it."""
        read = [read_clip(self.paths[i]) for i in clips]
        made = []
        for i, (samples, rate) in zip(clips, read, strict=True):
            rng = np.random.default_rng([self.seed, time, i])
            if rng.random() >= self.augmented:
                made.append(hear(samples, rate, self.hears, self.detector))
                continue
            others = [read[j] for j in rng.integers(len(read), size=BABBLERS)]
            babble = [x for x, own in others if own == rate and len(x)]
            made.append(hear(samples, rate, self.hears, self.detector, rng, babble))
        return joined(made)
