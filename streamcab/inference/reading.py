"""The contents of windows at one moment, as a window gives them and the answers are made from them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.inference.acoustics import Quality

NOW_S = 1.0
"""Seconds that `now` looks back on, of a block of attention, and of a pause that is talk still: so `now` is empty in
silence."""


@dataclass(frozen=True)
class Reading:
    """The contents of the windows of B streams at one moment.

    Attributes:
        seen: Intervals so far, (B,).
        voiced: Voiced ones among them, (B,).
        filled: Voiced intervals in the window, (B,).
        mean: The answer, (B, labels).
        votes: Number of votes in it, (B,).
        now: The answer of the newest second, (B, labels).
        now_votes: Number of votes in that, (B,).
        other: Mean score that the accent is of none of the labels, over the votes of `mean`, (B,); None if the model
            has none.
        quality: Acoustic quality of the speech.
        attention: (B, classifiers), if requested.
        voice: Number of the voice that this is about, from 1 on, (B,).
    """

    slots: NDArray[np.intp]
    seen: NDArray[np.int64]
    voiced: NDArray[np.int64]
    filled: NDArray[np.int64]
    mean: NDArray[np.float64]
    votes: NDArray[np.int64]
    now: NDArray[np.float64]
    now_votes: NDArray[np.int64]
    other: NDArray[np.float64] | None
    quality: Quality
    attention: NDArray[np.float64] | None
    voice: NDArray[np.int64]
