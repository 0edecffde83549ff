"""From window and counters to a Prediction: what one stream is told, whoever asks.

The daemon and the Python interface build their answers here, so they cannot differ. Knows nothing of clocks or sockets:
times are handed in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.message import Prediction, State
from streamcab.model import Architecture
from streamcab.normalise import DEAF
from streamcab.window import Window

WARM_S = 2.0
"""Voiced seconds before an answer is called `live`."""


@dataclass(frozen=True)
class Standing:
    """What is known of a stream beside its window. Times in Unix seconds, `lag_ms` and `lost_ms` in milliseconds."""

    stream: str
    time: float
    sample: int
    rate: int
    power: float
    lag_ms: float
    lost_ms: float
    overflows: int
    ended: bool = False
    lost: bool = False


class Answers:
    """Predictions for the streams of a window."""

    def __init__(self, architecture: Architecture, window: Window, model: str, attention: bool) -> None:
        self.labels = list(architecture.labels)
        self._interval_s = architecture.interval_s
        self._window = window
        self._model = model
        self._attention = attention

    def of(self, slots: NDArray[np.intp], standings: Sequence[Standing]) -> Iterator[Prediction]:
        """One prediction for each slot, in order."""
        window = self._window
        means, votes = window.mean(slots)
        now_means, now_votes = window.now(slots)
        filled = (window.filled(slots) * self._interval_s).tolist()
        heard = (window.voiced[slots] * self._interval_s).tolist()
        weights = window.attention(slots).round(4).tolist() if self._attention else None
        rows = zip(means.tolist(), votes.tolist(), now_means.tolist(), now_votes.tolist(), strict=True)
        for i, ((mean, n, now, now_n), standing) in enumerate(zip(rows, standings, strict=True)):
            best = max(range(len(mean)), key=mean.__getitem__) if n else None
            yield Prediction(
                stream=standing.stream,
                time=standing.time,
                sample=standing.sample,
                rate=standing.rate,
                labels=self.labels,
                probs=self._named(mean, n),
                now=self._named(now, now_n),
                top=None if best is None else self.labels[best],
                confidence=None if best is None else mean[best],
                state=_state(standing, n, heard[i], bool(window.seen[slots[i]])),
                window_s=round(filled[i], 3),
                voiced_s=round(n * self._interval_s, 3),
                heard_s=round(heard[i], 3),
                level_db=round(10 * log10(standing.power), 1) if standing.power > DEAF else None,
                lag_ms=round(standing.lag_ms, 1),
                lost_ms=round(standing.lost_ms, 1),
                overflows=standing.overflows,
                attention=None if weights is None or not n else weights[i],
                model=self._model,
            )

    def _named(self, mean: list[Any], votes: int) -> dict[str, float]:
        return dict(zip(self.labels, mean, strict=True)) if votes else {}


def _state(standing: Standing, votes: int, heard_s: float, begun: bool) -> State:
    if standing.ended:
        return "ended"
    if standing.lost:
        return "lost"
    if votes == 0:
        return "silent" if begun else "warming"
    return "live" if heard_s >= WARM_S else "warming"
