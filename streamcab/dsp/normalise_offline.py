"""Normalisation of whole clips, offline: by the running normaliser, or by the paper's over the clip.

Knows nothing of sample rates, of sources, or of the net.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.detector import Weights
from streamcab.dsp.frontend import Pooled
from streamcab.dsp.gate import POWER_FLOOR
from streamcab.dsp.normalise import RunningNormaliser
from streamcab.dsp.normalised import NormalisedBatch


def normalise_clip(pooled: Pooled, gated: NDArray[np.uint8], wide: NDArray[np.bool_]) -> NormalisedBatch:
    """Normalise whole clips as the paper does: subtract each clip's mean, divide by its deviation.

    Args:
        pooled: B clips of H intervals.
        gated: Kinds of the intervals, as in `NormalisedBatch`, (B, H).
        wide: As in `NormalisedBatch`, (B, H).

    Returns:
        The normalised clips; digital silence becomes zeros.
    """
    n = np.broadcast_to(pooled.count, pooled.sum.shape).sum(1)
    mean = pooled.sum.sum(1) / n
    variance = pooled.square.sum(1) / n - mean * mean
    scale = np.where(variance > POWER_FLOOR, 1 / np.sqrt(np.maximum(variance, POWER_FLOOR)), 0.0)
    x = (pooled.maxima - mean[:, None, None]) * scale[:, None, None]
    return NormalisedBatch(x.reshape(len(x), -1).astype(np.float32), gated, pooled.power, wide)


def normalise_whole(
    pooled: Pooled, interval_s: float, normaliser: str, detector: Weights | None = None
) -> NormalisedBatch:
    """Normalise one whole stream.

    Args:
        pooled: The stream's H intervals; B is 1.
        interval_s: Seconds per interval.
        normaliser: `running`, as in live use, or `clip`, the paper's; the gate is the same in both.
        detector: Speech detector, if the model has one.
    """
    h, interval = pooled.maxima.shape[1:]
    # In pieces of a second: the detector keeps tables for each length of a push, which grow as its square.
    size = max(round(1 / interval_s), 1)
    state = RunningNormaliser(1, interval, interval_s, size, detector)
    slot = np.zeros(1, np.intp)
    pieces = []
    for k in range(0, h, size):
        state.push(slot, pooled.part(k, min(k + size, h)))
        pieces.append(state.take(slot, int(state.ready[0])))
    state.finish(slot)
    pieces.append(state.take(slot, int(state.ready[0])))
    heard = NormalisedBatch(
        np.concatenate([p.x for p in pieces], 1),
        np.concatenate([p.kind for p in pieces], 1),
        np.concatenate([p.power for p in pieces], 1),
        np.concatenate([p.wide for p in pieces], 1),
    )
    return heard if normaliser == "running" else normalise_clip(pooled, heard.kind, heard.wide)
