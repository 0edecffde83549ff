"""The targets of a trunk for each interval: a teacher's frames, reduced to a few numbers of variance 1.

First principal components, then the directions that distinguish accents: these have little of the variance, but all of
what matters (docs/results/lab-notebook.md). From each frame, the part that its mere position in the clip explains is
subtracted first: a streaming pupil cannot know where a clip began. Knows nothing of the teacher, of labels or of nets.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

PLACES = 200
"""Frames from a clip's start for which the mean is told apart; later ones count as the last of these."""
SMOOTH = 9
"""Frames over which these means are smoothed, but for the first few."""
SHARP = 6
WEAK = 0.03
"""Directions that matter less than this part of the one that matters most are left out."""


@dataclass(frozen=True)
class Components:
    """A frame f at place p becomes (f - place[p] - mean) @ directions.

    place       (PLACES, width)
    mean        (width,)
    directions  (width, numbers), such that each number has a variance of 1
    principal   how many of the numbers are principal components; the others tell accents
    told        the part of the variance that the principal ones tell
    """

    place: Floats
    mean: Floats
    directions: Floats
    principal: int
    told: float

    def __call__(self, frames: Floats) -> Floats:
        """Compute (n, numbers) of the frames (n, width) of one clip from its start."""
        at = np.minimum(np.arange(len(frames)), len(self.place) - 1)
        out: Floats = ((frames - self.place[at] - self.mean) @ self.directions).astype(np.float32)
        return out


def place_means(clips: Iterable[NDArray[np.floating]]) -> Floats:
    """Return the part of a frame that its position explains, (PLACES, width).

    This is how its mean over clips (n, width) differs from the mean over all positions.
    """
    total: Doubles | None = None
    count = np.zeros(PLACES)
    for frames in clips:
        n = min(PLACES, len(frames))
        if total is None:
            total = np.zeros((PLACES, frames.shape[1]))
        total[:n] += frames[:n]
        count[:n] += 1
    if total is None:
        raise ValueError("no clip to take components from")
    heard = count > 0
    mean = total / np.maximum(count, 1)[:, None]
    mean[heard] -= total.sum(0) / count.sum()
    mean[~heard] = mean[heard][-1]
    half = SMOOTH // 2
    padded = np.pad(mean, ((half, half), (0, 0)), mode="edge")
    smooth = np.stack([padded[i : i + PLACES] for i in range(SMOOTH)]).mean(0)
    smooth[:SHARP] = mean[:SHARP]
    found: Floats = smooth.astype(np.float32)
    return found


def fit_components(
    clips: Sequence[NDArray[np.floating]], count: int, telling: Doubles | None = None
) -> Components:
    """Fit components to the frames of clips, each (n, width).

    Args:
        clips: what they are fitted on.
        count: principal components.
        telling: (width, m) directions that tell accents, such as a regression's weights; as many numbers as it takes
            to span them follow.
    """
    place = place_means(clips)
    width = place.shape[1]
    plain = Components(place, np.zeros(width, np.float32), np.eye(width, dtype=np.float32), width, 1.0)
    n, total, square = 0, np.zeros(place.shape[1]), np.zeros((place.shape[1],) * 2)
    for frames in clips:
        x = plain(frames.astype(np.float32)).astype(np.float64)
        n, total, square = n + len(x), total + x.sum(0), square + x.T @ x
    mean = total / n
    covariance = square / n - np.outer(mean, mean)
    variance, vectors = np.linalg.eigh(covariance)
    order = np.argsort(-variance)[:count]
    told = float(variance[order].sum() / variance.sum())
    directions = vectors[:, order]
    if telling is not None:
        spanning, size, _ = np.linalg.svd(telling, full_matrices=False)
        directions = np.column_stack((directions, spanning[:, size > WEAK * size[0]]))
    spread = np.sqrt(np.maximum(np.einsum("ij,ik,kj->j", directions, covariance, directions), 1e-9))
    return Components(
        place, mean.astype(np.float32), (directions / spread).astype(np.float32), len(order), told
    )


def at_intervals(
    frames: NDArray[np.floating], frames_per_s: float, intervals: int, interval_s: float, speed: float
) -> Floats:
    """Interpolate frames (n, width) of a clip to the middles of the intervals of a copy `speed` times as fast."""
    place = (np.arange(intervals) + 0.5) * interval_s * speed * frames_per_s
    before = np.clip(place.astype(np.int64), 0, len(frames) - 1)
    after = np.minimum(before + 1, len(frames) - 1)
    part = np.clip(place - before, 0, 1)[:, None].astype(np.float32)
    found: Floats = frames[before] * (1 - part) + frames[after] * part
    return found
