"""Whole clips through the same layers as streams: features and c_t of every interval of some samples.

Works in blocks addressed by absolute position, so that an hour needs little more memory than a minute, and the blocks
leave no trace in the result. Serves `classify`, `verify` and training. Knows nothing of files, of windows or of labels.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.detector import Weights
from streamcab.dsp.frontend import FrontEnd, Pooled, front_end
from streamcab.dsp.normalise_offline import normalise_whole
from streamcab.dsp.normalised import NormalisedBatch
from streamcab.inference.engine_output import no_evidence
from streamcab.nn.architecture import Architecture

POOL_S = 10.0
"""Seconds that are resampled and pooled at a time."""
NET_S = 30.0
"""Seconds that go through the net at a time: its widest layer then takes 8 MB."""


def features(
    samples: NDArray[np.float32], rate: int, architecture: Architecture, detector: Weights | None = None
) -> NormalisedBatch:
    """Compute the net's input for a clip, as the engine does for a stream that ended.

    There are zeros before the start and after the end; the last fraction of an interval is left out. A `clip` model
    takes the first `extra["seconds"]` only (paper, section 4).

    Args:
        samples: (n,); NaN is a missing sample.
        rate: Sampling rate of `samples`, in Hz.
        architecture: The net's.
        detector: Weights of the net's speech detector, if it has one.

    Returns:
        K whole intervals, with B = 1; K may be 0.

    Raises:
        ValueError: `detector` is missing, or the net has none.
    """
    arch = architecture
    if (detector is None) != (arch.detector == 0):
        raise ValueError("a net with a detector is fed by that, and one without by none")
    seconds = arch.extra.get("seconds")
    if arch.normaliser == "clip" and seconds is not None:
        samples = samples[: round(seconds * rate)]
    front = front_end(rate, arch.rate, arch.pooled_rate, arch.interval, detector is not None)
    total = int(front.total(np.array([len(samples)]))[0])
    if total == 0:
        none = np.zeros((1, 0))
        return NormalisedBatch(none.astype(np.float32), none.astype(np.uint8), none, none.astype(np.bool_))
    block = arch.intervals(POOL_S)
    blocks = [_pool(samples, front, k, min(block, total - k)) for k in range(0, total, block)]
    pooled = Pooled(
        np.concatenate([b.maxima for b in blocks], 1),
        np.concatenate([b.count for b in blocks]),
        np.concatenate([b.sum for b in blocks], 1),
        np.concatenate([b.square for b in blocks], 1),
        np.concatenate([b.missing for b in blocks], 1),
        None if detector is None else np.concatenate([b.levels for b in blocks if b.levels is not None], 1),
    )
    return normalise_whole(pooled, arch.interval_s, arch.normaliser, detector)


@dataclass(frozen=True)
class IntervalResults:
    """Results for K intervals: c (K, labels), attention alpha (K, classifiers), u (K, summary), and the score of
    accents of none of the labels, other (K, 1), or (K, 0) of a net without it."""

    c: NDArray[np.float32]
    alpha: NDArray[np.float32]
    u: NDArray[np.float32]
    other: NDArray[np.float32]

    @property
    def averaged(self) -> NDArray[np.float32]:
        """c and other side by side, as `Window.add` takes them."""
        return np.concatenate((self.c, self.other), 1)


class ClipNet(Protocol):
    """A net that answers whole clips: any `Runtime`, or torch modules as they are."""

    @property
    def architecture(self) -> Architecture:
        """The net's architecture."""

    def clip(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute c and `other`, attention and u (T / interval, width) of normalised samples x (T,), whole
        intervals."""


def intervals(
    net: ClipNet, samples: NDArray[np.float32], rate: int, detector: Weights | None = None
) -> tuple[IntervalResults, NormalisedBatch]:
    """Compute the results for every interval of samples (n,) at `rate` Hz, and the net's input."""
    heard = features(samples, rate, net.architecture, detector)
    answered = interval_results(net, heard.x[0])
    answered.u[no_evidence(heard.kind[0])] = np.nan
    return answered, heard


def interval_results(net: ClipNet, x: NDArray[np.float32]) -> IntervalResults:
    """Compute the results for normalised pooled samples of one clip, (K * I,)."""
    arch = net.architecture
    size, halo = arch.intervals(NET_S), arch.context
    total = len(x) // arch.interval
    out = np.empty((total, sum(arch.widths)), np.float32)
    for k in range(0, total, size):
        end = min(k + size, total)
        first, last = max(0, k - halo), min(total, end + halo)
        some = net.clip(x[first * arch.interval : last * arch.interval])
        out[k:end] = some[k - first : end - first]
    averaged, alpha, u = np.split(out, np.cumsum(arch.widths)[:2], 1)
    labels = len(arch.labels)
    return IntervalResults(averaged[:, :labels], alpha, u, averaged[:, labels:])


def _pool(samples: NDArray[np.float32], front: FrontEnd, k: int, h: int) -> Pooled:
    """Pool intervals k .. k + h - 1, with zeros where there are no samples."""
    start, stop = front.span(k, h)
    x = np.zeros((1, stop - start), np.float32)
    first, last = max(start, 0), min(stop, len(samples))
    x[0, first - start : last - start] = samples[first:last]
    return front.pool(x, k, h)
