"""Fits the model that distinguishes voices: a linear discriminant of the trunk's output, and the variances that it
leaves.

Knows nothing of audio, of files or of streams.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.inference.voices import BLOCK, NEWEST

SHRINKAGE = 0.05
"""Part of the mean variance that is added to each direction's, within voices."""
MOST = 10
"""Pieces of a voice from which on it counts no more."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """v = weight h + bias: weight (numbers, features), bias (numbers,); variances (numbers,) as in nn/voice.py."""

    weight: Floats
    bias: Floats
    between: Floats
    drift: Floats
    within: Floats


def blocks_of(h: NDArray[np.floating]) -> Floats:
    """Return means of whole blocks of the intervals (n, features) of a clip that vote: (n / BLOCK, features)."""
    whole = len(h) // BLOCK
    found: Floats = h[: whole * BLOCK].reshape(whole, BLOCK, h.shape[1]).mean(1, dtype=np.float64)
    return found


def fit(clips: Sequence[Floats], groups: Sequence[str], numbers: int) -> Fitted:
    """Fit the discriminant to the blocks (n, features) of clips, by the group of each clip.

    It is fitted to pieces of NEWEST blocks, as long as the stretches that are compared. Of its numbers, `within` is the
    variance of blocks within pieces, `drift` the additional variance of pieces within a voice, `between` the rest.
    """
    pieces = [_pieces(clip) for clip in clips]
    x = np.concatenate(pieces)
    # No more numbers than there are features.
    numbers = min(numbers, x.shape[1])
    whose = np.repeat(np.unique(np.asarray(groups), return_inverse=True)[1], [len(p) for p in pieces])
    means, counts = _means(x, whose)
    several = counts[whose] > 1
    residual = x[several] - means[whose[several]]
    free = several.sum() - (counts > 1).sum()
    inside = residual.T @ residual / free
    inside += SHRINKAGE * np.trace(inside) / len(inside) * np.eye(len(inside))
    share = np.minimum(counts, MOST).astype(np.float64)
    centre = (means * share[:, None]).sum(0) / share.sum()
    outside = ((means - centre) * share[:, None]).T @ (means - centre) / share.sum()
    unroot = np.linalg.inv(np.linalg.cholesky(inside))
    _, direction = np.linalg.eigh(unroot @ outside @ unroot.T)
    weight = direction[:, ::-1][:, :numbers].T @ unroot
    # What is left of it, number by number.
    y = [(clip - centre) @ weight.T for clip in clips]
    own = [_whole(b) for b in y]
    within = np.concatenate([(b - b.mean(1, keepdims=True)).reshape(-1, numbers) for b in own])
    within_var = (within**2).sum(0) / (len(within) * (1 - 1 / NEWEST))
    piece = (x - centre) @ weight.T
    piece_means, _ = _means(piece, whose)
    piece_var = ((piece - piece_means[whose])[several] ** 2).sum(0) / free
    drift = np.maximum(piece_var - within_var / NEWEST, 0.05 * piece_var)
    voice_var = (piece_means**2 * share[:, None]).sum(0) / share.sum()
    between = np.maximum(
        voice_var - piece_var * (share / np.maximum(counts, 1)).sum() / share.sum(), 0.05 * voice_var
    )
    return Fitted(weight, -weight @ centre, between, drift, within_var)


def _whole(blocks: Floats) -> Floats:
    """Return the blocks of whole pieces (n, NEWEST, features)."""
    n = len(blocks) // NEWEST
    return blocks[: n * NEWEST].reshape(n, NEWEST, blocks.shape[1])


def _pieces(blocks: Floats) -> Floats:
    found: Floats = _whole(blocks).mean(1)
    return found


def _means(x: Floats, whose: NDArray[np.intp]) -> tuple[Floats, NDArray[np.int64]]:
    """Return the mean (voices, features) of each, and how many they are of."""
    counts = np.bincount(whose)
    total = np.zeros((len(counts), x.shape[1]))
    np.add.at(total, whose, x)
    return total / np.maximum(counts, 1)[:, None], counts
