"""Explains the answer to one call: how far each second, or each 10 s, moved the log odds of its answer.

The input is what the feed and the store have: `now` of each second, and the answers of a course.
`inference/explanation.py` works on the intervals themselves, of files. Pure, and bounded.
"""

import struct
from collections.abc import Sequence
from itertools import pairwise
from math import log
from typing import Any

KEPT = 120
"""Seconds of talk, of all voices: a window may be as long and still be told whole."""
FULL = 200
"""The byte of probability 1."""
TINY = 1 / (4 * FULL)

_HEAD = struct.Struct("<IB")  # second, voice


class Said:
    """The newest seconds of talk, each by itself; `labels` is the number of probabilities of a second."""

    __slots__ = ("_newest", "_seconds", "_size")

    def __init__(self, labels: int) -> None:
        self._size = _HEAD.size + labels
        self._seconds = bytearray()
        self._newest = -1

    def put(self, at_s: float, now: Sequence[float], temperature: float, voice: int = 1) -> None:
        """Note `now`, in the order of the labels, of the second before `at_s`; empty where nobody spoke."""
        second = int(at_s) - 1
        if not now or second <= self._newest or second < 0:
            return
        self._newest = second
        # The temperature belongs to the mean of many, and is taken off what is averaged.
        powers = [max(p, 0.0) ** temperature for p in now]
        total = sum(powers) or 1.0
        self._seconds += _HEAD.pack(second, min(voice, 255)) + bytes(round(p / total * FULL) for p in powers)
        if len(self._seconds) > KEPT * self._size:
            del self._seconds[: self._size]

    def told(
        self, label: int | None, window_s: float, temperature: float, voice: int = 1
    ) -> dict[str, Any] | None:
        """Return how far each second of talk in the voice's window moved the answer: log odds, minus those without it.

        None if there is no answer, or nothing to compare a second with.
        """
        heads = (
            (at, *_HEAD.unpack_from(self._seconds, at)) for at in range(0, len(self._seconds), self._size)
        )
        rows = [
            (second, self._seconds[at + _HEAD.size : at + self._size])
            for at, second, whose in heads
            if whose == min(voice, 255)
        ][-max(int(window_s), 2) :]
        if label is None or len(rows) < 2:
            return None
        total = [sum(said[i] for _, said in rows) for i in range(self._size - _HEAD.size)]
        whole = _log_odds(total, label, temperature)
        without = [
            _log_odds([t - s for t, s in zip(total, said, strict=True)], label, temperature)
            for _, said in rows
        ]
        return {
            "by": "leaving out",
            "t": [float(second) for second, _ in rows],
            "step": [1.0] * len(rows),
            "moved": [round(whole - less, 3) for less in without],
        }


def moved(
    starts: Sequence[float], steps: Sequence[float], answers: Sequence[Sequence[float]], label: int | None
) -> dict[str, Any] | None:
    """Return how far the answer moved from one stretch to the next; empty `answers` mean that there was none."""
    rows = [row for row in zip(starts, steps, answers, strict=True) if len(row[2])]
    if label is None or len(rows) < 2:
        return None
    # Before the first there was nothing to go by.
    odds = [_log_odds([1.0] * len(rows[0][2]), label), *(_log_odds(answer, label) for _, _, answer in rows)]
    return {
        "by": "since before",
        "t": [start for start, _, _ in rows],
        "step": [step for _, step, _ in rows],
        "moved": [round(b - a, 3) for a, b in pairwise(odds)],
    }


def _log_odds(shares: Sequence[float], label: int, temperature: float = 1.0) -> float:
    total = sum(shares) or 1.0
    powers = [max(share / total, TINY) ** (1 / temperature) for share in shares]
    return log(powers[label]) - log(sum(powers) - powers[label])
