"""The contract, shown on a user's own audio: streamed in random chunks, every c_t equals the offline one.

Knows nothing of files or of printing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.classifier import Classifier
from streamcab.offline import intervals

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Verdict:
    """What was compared, and the largest difference of any probability of any interval."""

    intervals: int
    voiced: int
    chunks: int
    difference: float

    @property
    def equal(self) -> bool:
        return self.difference <= TOLERANCE


def verify(classifier: Classifier, samples: NDArray[np.float32], rate: int, seed: int = 0) -> Verdict:
    """Stream `samples` (n,) in random chunks of 1 sample to 2 seconds and compare with the whole clip at once."""
    answered, heard = intervals(classifier.checkpoint.model, samples, rate)
    offline = answered.c
    stream = classifier.stream(rate)
    rng = np.random.default_rng(seed)
    streamed = np.full_like(offline, np.nan)
    kinds = np.full(len(offline), 255, np.uint8)
    chunks, at = 0, 0
    while True:
        # Log-uniform: single samples, packets and seconds alike.
        size = int(np.exp(rng.uniform(0, np.log(2 * rate))))
        chunk = samples[at : at + size] if at < len(samples) else None
        for e in stream.push_intervals(chunk):
            for j in range(e.c.shape[1]):
                k = int(e.first[0]) + j
                if 0 <= k < len(offline):
                    streamed[k], kinds[k] = e.c[0, j], e.kind[0, j]
        if chunk is None:
            break
        at, chunks = at + size, chunks + 1
    gap = np.abs(streamed - offline)
    difference = float(np.where(np.isnan(gap), np.inf, gap).max(initial=0.0))
    if not np.array_equal(kinds, heard.kind[0]):
        difference = float("inf")
    return Verdict(len(offline), int((heard.kind[0] == 1).sum()), chunks, difference)
