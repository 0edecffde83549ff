"""Encodes an explanation as JSON: all that the picture shows, in numbers. Pure: an explanation in, bytes out."""

import json
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamcab.explain.explained import Explained
from streamcab.inference.explanation import Explanation, runs

DIGITS = 5


def record(one: Explained) -> str:
    """Format one object. Lists of a course have a number, or null, for each interval."""
    told = one.explanation
    found: dict[str, Any] = {
        "file": one.name,
        "seconds": round(one.seconds, 6),
        "answer": msgspec.to_builtins(one.answer),
        "explains": "mean of c_t, without the evidence beside it" if one.evidence else "answer",
        "log_odds": _plain(told.log_odds),
        "log_odds_without": {"for": _plain(told.without_pro), "against": _plain(told.without_contra)},
        "strongest": [_stretch(told, i) for i in sorted({*told.pro, *told.contra})],
        "stretches": [_stretch(told, i) for i in range(len(told.stretches))],
        "interval_s": told.interval_s,
        "hears": [
            {"start_s": _time(told, a), "end_s": _time(told, b), "hears": str(told.hears[a])}
            for a, b in runs(told.hears)
        ],
        "voices": [
            {"start_s": _time(told, a), "end_s": _time(told, b), "voice": int(told.voices[a])}
            for a, b in runs(told.voices)
        ],
        "second": _by_label(one.labels, told.second),
        "running": _by_label(one.labels, told.running),
        "attention": [[_plain(a) for a in row] for row in told.attention.tolist()],
    }
    return json.dumps(found, ensure_ascii=True, allow_nan=False) + "\n"


def _stretch(told: Explanation, i: int) -> dict[str, Any]:
    one = told.stretches[i]
    return {
        "start_s": _time(told, one.start),
        "end_s": _time(told, one.stop),
        "voiced_s": _time(told, one.votes),
        "moved": _plain(one.moved),
        "speaks": "for" if one.moved > 0 else "against",
    }


def _time(told: Explanation, k: int) -> float:
    return round(k * told.interval_s, 6)


def _by_label(labels: list[str], values: NDArray[np.float64]) -> dict[str, list[float | None]]:
    columns = values.T.tolist()
    return {label: [_plain(v) for v in column] for label, column in zip(labels, columns, strict=True)}


def _plain(value: float) -> float | None:
    return round(value, DIGITS) if np.isfinite(value) else None
