"""The contract, shown on a user's own audio: streamed in random chunks, every c_t equals the offline one.

Knows nothing of files or of printing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.classifier import Classifier
from streamcab.dsp.normalise import VOICED
from streamcab.inference.offline import intervals

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
        """Whether it is within the contract."""
        return self.difference <= TOLERANCE


def random_chunks(samples: NDArray[np.float32], rate: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Samples (n,) in chunks of 1 sample to 2 s, log-uniform: single samples, packets and seconds alike."""
    rng, at = np.random.default_rng(seed), 0
    while at < len(samples):
        size = int(np.exp(rng.uniform(0, np.log(2 * rate))))
        yield samples[at : at + size]
        at += size


def verify(classifier: Classifier, samples: NDArray[np.float32], rate: int, seed: int = 0) -> Verdict:
    """Stream `samples` (n,) in random chunks and compare with the whole clip at once. AudioError, ConfigError."""
    answered, heard = intervals(classifier.checkpoint.model, samples, rate)
    offline = answered.c
    stream = classifier.stream(rate)
    streamed = np.full_like(offline, np.nan)
    kinds = np.full(len(offline), 255, np.uint8)
    chunks = [*random_chunks(samples, rate, seed)]
    for chunk in (*chunks, None):
        for e in stream.push_intervals(chunk):
            for j in range(e.c.shape[1]):
                k = int(e.first[0]) + j
                if 0 <= k < len(offline):
                    streamed[k], kinds[k] = e.c[0, j], e.kind[0, j]
    gap = np.abs(streamed - offline)
    difference = float(np.where(np.isnan(gap), np.inf, gap).max(initial=0.0))
    if not np.array_equal(kinds, heard.kind[0]):
        difference = float("inf")
    return Verdict(len(offline), int((heard.kind[0] == VOICED).sum()), len(chunks), difference)
