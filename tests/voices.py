"""Voices as numbers: streams of v_t that are told apart easily, and what reads them."""

import numpy as np
from numpy.typing import NDArray

from streamcab.nn.voice import Metric

NUMBERS = 6
METRIC = Metric(np.full(NUMBERS, 4.0), np.full(NUMBERS, 0.1), np.full(NUMBERS, 0.3), 8.0)


def voice(who: int) -> NDArray[np.float64]:
    """What is constant of a voice, (NUMBERS,)."""
    return np.random.default_rng(1000 + who).normal(0, 2, NUMBERS)


def speaking(who: int, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """n intervals of a voice, (n, NUMBERS)."""
    return (voice(who) + rng.normal(0, 1.0, (n, NUMBERS))).astype(np.float32)
