"""Intervals of streams, as the engine gives them and a window takes them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]


class Intervals(NamedTuple):
    """H intervals of B streams.

    Attributes:
        c: Probabilities, (B, H, labels), and one number more where the model tells other accents.
        alpha: Attention, (B, H, classifiers).
        votes: Which count, (B, H).
        u: Numbers for evidence or for voices, (B, H, numbers).
        heard: Kind, power and width of the band, (B, H) each; see `EngineOutput`.
    """

    c: NDArray[np.float32]
    alpha: NDArray[np.float32]
    votes: Flags
    u: NDArray[np.float32] | None
    heard: tuple[NDArray[np.uint8], NDArray[np.float64], Flags] | None

    def part(self, here: slice) -> "Intervals":
        """Return some of the intervals of each stream."""
        u = None if self.u is None else self.u[:, here]
        heard = None
        if self.heard is not None:
            kind, power, wide = self.heard
            heard = kind[:, here], power[:, here], wide[:, here]
        return Intervals(self.c[:, here], self.alpha[:, here], self.votes[:, here], u, heard)
