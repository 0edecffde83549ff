"""Receiver operating curves as a small SVG: how much speech is heard for how much else is taken for speech."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

POINTS = np.concatenate(([0.0], np.geomspace(1e-3, 1, 60)))
"""Shares of what is no speech at which curves are drawn."""

Scored = tuple[NDArray[np.float64], NDArray[np.bool_]]
"""Scores, and which of them are of speech."""


def curve(scores: NDArray[np.float64], speech: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the share of speech heard at each of `POINTS`."""
    # Steps where equal scores end: within them only a straight line can be reached.
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    heard = np.append(0.0, np.cumsum(speech[order])[ends] / speech.sum())
    wrong = np.append(0.0, np.cumsum(~speech[order])[ends] / (~speech).sum())
    return np.interp(POINTS, wrong, heard)


def draw(path: Path, panels: dict[str, dict[str, Scored]]) -> None:
    """Draw a panel of curves for each condition."""
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "streamcab"})
    figure, axes = plt.subplots(1, len(panels), figsize=(3.4 * len(panels), 3.6), sharey=True, squeeze=False)
    for at, (title, judges) in zip(axes[0], panels.items(), strict=True):
        for name, (scores, speech) in judges.items():
            at.plot(100 * POINTS, 100 * curve(scores, speech), label=name, linewidth=1.2)
        at.set(title=title, xlabel="taken for speech, % of the rest", xlim=(0, 50), ylim=(40, 100))
        at.grid(alpha=0.3)
    axes[0, 0].set_ylabel("heard, % of speech")
    axes[0, 0].legend(loc="lower right", fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
