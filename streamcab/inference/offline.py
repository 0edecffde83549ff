"""Whole clips through the same layers as streams: features and c_t of every interval of some samples.

Works in blocks, addressed by absolute position, so that an hour needs little more memory than a minute and
the blocks leave no trace. Serves `classify`, `verify` and training. Knows nothing of files, of windows or of
labels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from streamcab.dsp.detector import Weights
from streamcab.dsp.frontend import FrontEnd, Pooled, front_end
from streamcab.dsp.normalise import MISSING, NormalisedBatch, normalise_whole
from streamcab.nn.cabcnn import Architecture, CabCnn, detector_of

POOL_S = 10.0
"""Seconds that are resampled and pooled at a time."""
NET_S = 30.0
"""Seconds that go through the net at a time: its widest layer then takes 8 MB."""


def features(
    samples: NDArray[np.float32], rate: int, architecture: Architecture, detector: Weights | None = None
) -> NormalisedBatch:
    """What the net hears of samples (n,) at `rate` Hz: K whole intervals, as a `NormalisedBatch` of B = 1; K may be 0.

    As the engine hears a stream that ended: zeros before the start and after the end, the last fraction of an
    interval left out, NaN is a missing sample. A `clip` model hears the first `extra["seconds"]` of it
    (paper, section 4). `detector`: the weights of the model's, where it has one.
    """
    arch = architecture
    if (detector is None) != (arch.detector == 0):
        raise ValueError("a model with a detector is fed by that, and one without by none")
    seconds = arch.extra.get("seconds")
    if arch.normaliser == "clip" and seconds is not None:
        samples = samples[: round(seconds * rate)]
    front = front_end(rate, arch.rate, arch.pooled_rate, arch.interval, detector is not None)
    total = int(front.total(np.array([len(samples)]))[0])
    if total == 0:
        none = np.zeros((1, 0))
        return NormalisedBatch(none.astype(np.float32), none.astype(np.uint8), none, none.astype(np.bool_))
    block = max(1, round(POOL_S / arch.interval_s))
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
    """K intervals: c (K, labels), attention alpha (K, classifiers), u (K, summary)."""

    c: NDArray[np.float32]
    alpha: NDArray[np.float32]
    u: NDArray[np.float32]


def intervals(
    model: CabCnn, samples: NDArray[np.float32], rate: int
) -> tuple[IntervalResults, NormalisedBatch]:
    """Every interval of samples (n,), answered, and what was heard.

    The model is used as it stands (`eval()` is the caller's) and where it stands.
    """
    heard = features(samples, rate, model.architecture, detector_of(model))
    answered = interval_results(model, heard.x[0])
    answered.u[heard.kind[0] == MISSING] = np.nan
    return answered, heard


@torch.inference_mode()
def interval_results(model: CabCnn, x: NDArray[np.float32]) -> IntervalResults:
    """The answers to normalised pooled samples of one clip (K * I,)."""
    arch = model.architecture
    size, halo = max(1, round(NET_S / arch.interval_s)), _reach(arch)
    device = next(model.parameters()).device
    total = len(x) // arch.interval
    labels, classifiers, summary = arch.widths
    out = np.empty((total, labels + classifiers + summary), np.float32)
    for k in range(0, total, size):
        end = min(k + size, total)
        first, last = max(0, k - halo), min(total, end + halo)
        piece = torch.from_numpy(x[first * arch.interval : last * arch.interval]).to(device)
        some = model.read(model.distiller(piece.unsqueeze(0)))
        out[k:end] = some[0, k - first : end - first].cpu().numpy()
    both = labels + classifiers
    return IntervalResults(out[:, :labels], out[:, labels:both], out[:, both:])


def _reach(arch: Architecture) -> int:
    """Intervals on each side beyond which no sample touches an a_t."""
    samples, unit = 0, 1
    for stage in arch.stages:
        samples += (stage.kernel + stage.pool - 2) * unit
        unit *= stage.stride
    return -(-samples // arch.interval)


def _pool(samples: NDArray[np.float32], front: FrontEnd, k: int, h: int) -> Pooled:
    """Intervals k .. k + h - 1, with zeros where there are no samples."""
    start, stop = front.span(k, h)
    x = np.zeros((1, stop - start), np.float32)
    first, last = max(start, 0), min(stop, len(samples))
    x[0, first - start : last - start] = samples[first:last]
    return front.pool(x, k, h)
