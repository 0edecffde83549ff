"""Checks the contract on a user's own audio: streamed in random chunks, every c_t equals the offline one.

Knows nothing of files or of printing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.classifier import Classifier
from streamcab.dsp.gate import VOICED
from streamcab.inference.offline import intervals
from streamcab.nn.confidence import odds_of
from streamcab.nn.weights import detector_of

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Verdict:
    """The outcome of a comparison.

    Attributes:
        intervals: Intervals compared.
        voiced: How many of them are voiced.
        chunks: Chunks that the audio was cut into.
        difference: The largest difference of any probability of any interval; infinite where one is missing.
    """

    intervals: int
    voiced: int
    chunks: int
    difference: float

    @property
    def equal(self) -> bool:
        """Whether the difference is at most 1e-5."""
        return self.difference <= TOLERANCE


def random_chunks(samples: NDArray[np.float32], rate: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Cut samples into chunks of 1 sample to 2 s, log-uniform: single samples, packets and seconds alike.

    Args:
        samples: Shape (n,).
        rate: Hz.
        seed: Of the random lengths.

    Yields:
        Views into `samples`, in order.
    """
    rng, at = np.random.default_rng(seed), 0
    while at < len(samples):
        size = int(np.exp(rng.uniform(0, np.log(2 * rate))))
        yield samples[at : at + size]
        at += size


def verify(classifier: Classifier, samples: NDArray[np.float32], rate: int, seed: int = 0) -> Verdict:
    """Stream samples in random chunks and compare every c_t, and `other`, with those of the whole clip.

    Args:
        classifier: The model.
        samples: Shape (n,), mono.
        rate: Hz of the samples.
        seed: Of the random chunks.

    Returns:
        The comparison and the size of the difference.

    Raises:
        AudioError: The samples cannot be classified.
        ConfigError: The model cannot be streamed.
    """
    answered, heard = intervals(classifier.runtime, samples, rate, detector_of(classifier.checkpoint.weights))
    labels = len(classifier.labels)
    offline = np.concatenate((answered.c, odds_of(answered.other)), 1, dtype=np.float32)
    stream = classifier.stream(rate)
    streamed = np.full_like(offline, np.nan)
    kinds = np.full(len(offline), 255, np.uint8)
    chunks = [*random_chunks(samples, rate, seed)]
    for chunk in (*chunks, None):
        for e in stream.push_intervals(chunk):
            for j in range(e.c.shape[1]):
                k = int(e.first[0]) + j
                if 0 <= k < len(offline):
                    streamed[k, :labels], streamed[k, labels:] = (
                        e.c[0, j, :labels],
                        odds_of(e.c[0, j, labels:]),
                    )
                    kinds[k] = e.kind[0, j]
    gap = np.abs(streamed - offline)
    difference = float(np.where(np.isnan(gap), np.inf, gap).max(initial=0.0))
    if not np.array_equal(kinds, heard.kind[0]):
        difference = float("inf")
    return Verdict(len(offline), int((heard.kind[0] == VOICED).sum()), len(chunks), difference)
