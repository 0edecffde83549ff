"""One clip heard in several ways: offline, streamed in random chunks, through a telephone's codec, and with
the normaliser of whole clips.

Gives the votes of each interval and leaves the counting to others: c (K, labels), u (K, summary), and kind (K,) of
what was heard. Knows nothing of labels, speakers or corpora.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.classifier import Classifier
from streamcab.dsp.resample import resampler
from streamcab.evidence.layer import Evidence, evidence_of
from streamcab.inference.engine_output import voting
from streamcab.inference.offline import features, interval_results, intervals
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.weights import detector_of
from streamcab.rtp.codec import TABLES
from streamcab.verify import random_chunks

Samples = NDArray[np.float32]

TELEPHONE = 8000
OFFLINE, STREAMED, MU_LAW, WHOLE = "offline", "streamed", "G.711 mu-law 8 kHz", "whole-clip normaliser"


@dataclass(frozen=True)
class Votes:
    """c (K, labels), kind (K,) uint8 and u (K, summary) of the K intervals of a clip; `evidence` reads the latter."""

    c: NDArray[np.float32]
    kind: NDArray[np.uint8]
    u: NDArray[np.float32] | None = None
    evidence: Evidence | None = None

    def mean(self, gate: bool, intervals: int | None = None) -> NDArray[np.float64]:
        """Return the mean over the votes among the first intervals; uniform if there are none."""
        kind, c = self.kind[:intervals], self.c[:intervals]
        votes = voting(kind, gate)
        if not votes.any():
            return np.full(c.shape[1], 1 / c.shape[1])
        mean: NDArray[np.float64] = c[votes].mean(0, dtype=np.float64)
        if self.evidence is None or self.u is None:
            return mean
        numbers = self.evidence.of_clip(self.u[:intervals], votes)
        weighed: NDArray[np.float64] = self.evidence(mean[None], *numbers)[0]
        return weighed


Condition = Callable[[Samples, int], Votes]


def conditions(checkpoint: Checkpoint, device: str) -> dict[str, Condition]:
    """Return the ways in which this model can be heard, `offline` first; a whole-clip model cannot be streamed."""
    model, arch = checkpoint.model, checkpoint.architecture
    evidence = evidence_of(model)

    def offline(samples: Samples, rate: int) -> Votes:
        answered, heard = intervals(model, samples, rate, detector_of(model))
        return Votes(answered.c, heard.kind[0], answered.u, evidence)

    def mu_law(samples: Samples, rate: int) -> Votes:
        return offline(through_mu_law(samples, rate), TELEPHONE)

    def whole(samples: Samples, rate: int) -> Votes:
        clip = dataclasses.replace(arch, normaliser="clip", extra={})
        heard = features(samples, rate, clip, detector_of(model))
        answered = interval_results(model, heard.x[0])
        return Votes(answered.c, heard.kind[0], answered.u, evidence)

    def streamed(samples: Samples, rate: int) -> Votes:
        return stream(classifier, samples, rate)

    found: dict[str, Condition] = {OFFLINE: offline}
    if arch.normaliser == "running":
        classifier = Classifier(checkpoint, device)
        found |= {STREAMED: streamed, WHOLE: whole}
    found[MU_LAW] = mu_law
    return found


def stream(classifier: Classifier, samples: Samples, rate: int, seed: int = 0) -> Votes:
    """Classify as the daemon does: push chunks of 1 sample to 2 s, and collect every c_t that the engine emits."""
    line = classifier.stream(rate)
    evidence = evidence_of(classifier.checkpoint.model)
    c, u, kind = [], [], []
    for chunk in (*random_chunks(samples, rate, seed), None):
        for e in line.push_intervals(chunk):
            # What the engine emits before the first interval fills its delay and is no interval.
            real = int(e.first[0]) + np.arange(e.c.shape[1]) >= 0
            c.append(e.c[0][real, : len(classifier.labels)])
            u.append(e.u[0][real])
            kind.append(e.kind[0][real])
    return Votes(np.concatenate(c), np.concatenate(kind), np.concatenate(u), evidence)


def through_mu_law(samples: Samples, rate: int) -> Samples:
    """Return samples at 8 kHz, each rounded to the nearest of the 256 values of ITU-T G.711 mu-law."""
    if rate != TELEPHONE:
        samples = _resampled(samples, rate, TELEPHONE)
    table = (np.unique(TABLES["PCMU"]) / 32768).astype(np.float32)
    edges = (table[1:] + table[:-1]) / np.float32(2)
    coded: Samples = table[np.searchsorted(edges, samples)]
    return coded


def _resampled(samples: Samples, rate: int, to: int) -> Samples:
    filter_ = resampler(rate, to)
    count = int(filter_.total(np.array([len(samples)]))[0])
    if count == 0:
        return np.zeros(0, np.float32)
    start, stop = filter_.start(0), max(filter_.stop(count), len(samples))
    padded = np.zeros((1, stop - start), np.float32)
    padded[0, -start : -start + len(samples)] = samples
    there: Samples = filter_(padded, 0, count)[0]
    return there
