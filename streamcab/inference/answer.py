"""Builds a Prediction from a window and counters, for everyone who asks.

The daemon and the Python interface build their answers here, so they cannot differ. Knows nothing of clocks or sockets:
times are passed in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamcab.dsp.gate import POWER_FLOOR
from streamcab.inference.acoustics import Quality
from streamcab.inference.reading import Reading
from streamcab.message import Prediction, State
from streamcab.nn.architecture import Architecture
from streamcab.nn.confidence import BARE, Confidence, odds_of

WARM_S = 2.0
"""Voiced seconds before an answer is called `live`."""

AUDIBLE = 1e-6
"""Power, -60 dB of full scale: anything louder that is not speech is called sound."""
LARGEST_DB = 60.0
"""No estimate of a ratio to noise is given beyond this."""

STATES: tuple[State, ...] = ("warming", "live", "silent", "lost", "ended")
WARMING, LIVE, SILENT, LOST, ENDED = range(len(STATES))

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """The state of a stream outside its window. Other fields are as in `message.Prediction`.

    Attributes:
        time: Unix time at which its newest used sample was captured, in seconds.
        sample: Samples used so far, at `rate` Hz.
        power: Mean square of its newest intervals; full scale is 1.
        ended: Whether this is its last message.
        lost: Whether its source is gone.
    """

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
    duty: float = 1.0


@dataclass(frozen=True)
class Standings:
    """The same of n streams, as columns (n,); `written` is how many samples there are."""

    stream: Sequence[str]
    time: Floats
    written: NDArray[np.int64]
    sample: NDArray[np.int64]
    rate: NDArray[np.int64]
    power: Floats
    lag_ms: Floats
    lost_ms: Floats
    overflows: NDArray[np.int64]
    ended: NDArray[np.bool_]
    lost: NDArray[np.bool_]
    duty: Floats

    @classmethod
    def of(cls, standings: Sequence[Standing]) -> "Standings":
        """Put streams one by one as columns."""
        return cls(
            stream=[s.stream for s in standings],
            time=np.array([s.time for s in standings], np.float64),
            written=np.array([s.sample for s in standings], np.int64),
            sample=np.array([s.sample for s in standings], np.int64),
            rate=np.array([s.rate for s in standings], np.int64),
            power=np.array([s.power for s in standings], np.float64),
            lag_ms=np.array([s.lag_ms for s in standings], np.float64),
            lost_ms=np.array([s.lost_ms for s in standings], np.float64),
            overflows=np.array([s.overflows for s in standings], np.int64),
            ended=np.array([s.ended for s in standings], np.bool_),
            lost=np.array([s.lost for s in standings], np.bool_),
            duty=np.array([s.duty for s in standings], np.float64),
        )


class PredictionBuilder:
    """Predictions of a model; `model` is the hash of its checkpoint."""

    def __init__(self, architecture: Architecture, model: str, confidence: Confidence = BARE) -> None:
        self.labels = list(architecture.labels)
        self._interval_s = architecture.interval_s
        # Models that hear level were taught to believe what they heard.
        self._weighs = architecture.detector > 0
        self._model = model
        self._confidence = confidence

    def of(self, reading: Reading, standings: Sequence[Standing] | Standings) -> Iterator[Prediction]:
        """Yield one prediction for each stream of a reading, in order."""
        now = standings if isinstance(standings, Standings) else Standings.of(standings)
        votes, n = reading.votes, len(reading.slots)
        # The same answers, so the first label stays first.
        means, recent = self._confidence(reading.mean), self._confidence(reading.now)
        if self._weighs:
            means, recent = (_weighed(p, reading.quality.weight) for p in (means, recent))
        heard_s = reading.voiced.astype(np.float64) * self._interval_s
        weights = [None] * n if reading.attention is None else reading.attention.round(4).tolist()
        level = (10 * np.log10(np.maximum(now.power, POWER_FLOOR))).round(1).tolist()
        best = zip(means.argmax(1).tolist(), means.max(1).tolist(), strict=True)
        some, loud = (votes > 0).tolist(), (now.power > POWER_FLOOR).tolist()
        leading = [
            (self.labels[i], p) if voted else (None, None) for (i, p), voted in zip(best, some, strict=True)
        ]
        other = self._other(reading)
        # Whole columns as Python's own numbers: taken one by one they would cost more than all the rest.
        columns: dict[str, Sequence[object]] = {
            "stream": now.stream,
            "time": now.time.tolist(),
            "sample": now.sample.tolist(),
            "rate": now.rate.tolist(),
            "labels": [self.labels] * n,
            "probs": self._named(means, votes),
            "now": self._named(recent, reading.now_votes),
            "top": [label for label, _ in leading],
            "confidence": [p for _, p in leading],
            "sure": self._sure(leading, other),
            "state": self._states(reading, now, heard_s),
            "window_s": (reading.filled * self._interval_s).round(3).tolist(),
            "voiced_s": (votes * self._interval_s).round(3).tolist(),
            "heard_s": heard_s.round(3).tolist(),
            "level_db": [db if audible else None for db, audible in zip(level, loud, strict=True)],
            "lag_ms": now.lag_ms.round(1).tolist(),
            "lost_ms": now.lost_ms.round(1).tolist(),
            "overflows": now.overflows.tolist(),
            "attention": [row if voted else None for row, voted in zip(weights, some, strict=True)],
            "model": [self._model] * n,
            "hears": self._hears(reading, now),
            "snr_db": _snr(reading.quality),
            "flaws": _flaws(reading.quality),
            "duty": now.duty.round(2).tolist(),
            "voice": reading.voice.tolist(),
            "other": other,
        }
        for row in zip(*columns.values(), strict=True):
            fields: dict[str, Any] = dict(zip(columns, row, strict=True))
            yield Prediction(**fields)

    @staticmethod
    def _hears(reading: Reading, now: Standings) -> list[str]:
        sound = np.where(now.power > AUDIBLE, "sound", "silence")
        found: list[str] = np.where(reading.now_votes > 0, "speech", sound).tolist()
        return found

    def _sure(
        self, leading: list[tuple[str, float] | tuple[None, None]], other: Sequence[float | None]
    ) -> Sequence[bool | None]:
        if self._confidence.abstain_below is None:
            return [None] * len(leading)
        both = zip(leading, other, strict=True)
        return [None if p is None else self._confidence.sure(p, x) for (_, p), x in both]

    @staticmethod
    def _other(reading: Reading) -> Sequence[float | None]:
        if reading.other is None:
            return [None] * len(reading.slots)
        both = zip(odds_of(reading.other).tolist(), reading.votes.tolist(), strict=True)
        return [x if n else None for x, n in both]

    def _named(self, means: Floats, votes: NDArray[np.int64]) -> list[dict[str, float]]:
        """Name each row of means (n, labels) by label; nothing where nothing voted."""
        rows = zip(means.tolist(), votes.tolist(), strict=True)
        return [dict(zip(self.labels, mean, strict=True)) if n else {} for mean, n in rows]

    @staticmethod
    def _states(reading: Reading, now: Standings, heard_s: Floats) -> list[State]:
        code = np.where(heard_s >= WARM_S, LIVE, WARMING)
        unheard = reading.votes == 0
        code[unheard] = np.where(reading.seen[unheard] > 0, SILENT, WARMING)
        # In rising order of what counts.
        code[now.lost] = LOST
        code[now.ended] = ENDED
        return [STATES[i] for i in code.tolist()]


def withheld(prediction: Prediction, flaws: Sequence[str]) -> Prediction:
    """Return the same without its answer, which samples with these flaws do not deserve."""
    state: State = "silent" if prediction.state == "live" else prediction.state
    nothing: dict[str, Any] = {"probs": {}, "now": {}, "voiced_s": 0.0}
    nothing |= dict.fromkeys(("top", "confidence", "sure", "other", "attention", "snr_db"))
    return replace(prediction, **nothing, state=state, hears="sound", flaws=list(flaws))


def _weighed(p: Floats, weight: Floats) -> Floats:
    """Draw probabilities (B, labels) towards knowing nothing where they are worth less than 1, weight (B,)."""
    even = 1 / p.shape[1]
    return np.where(p.any(1, keepdims=True), even + weight[:, None] * (p - even), p)


def _snr(quality: Quality) -> list[float | None]:
    rounded = np.clip(quality.snr_db, -LARGEST_DB, LARGEST_DB).round(1).tolist()
    return [None if snr != snr else snr for snr in rounded]


def _flaws(quality: Quality) -> list[list[str]]:
    """Return the flaws by stream; a list each, since a message keeps it."""
    both = zip(quality.noisy.tolist(), quality.narrow.tolist(), strict=True)
    return [["noisy"] * noisy + ["narrow-band"] * narrow for noisy, narrow in both]
