"""The course of one call: its answers from its first second on, coarser with age, in a bounded number of bytes.

Addressed by seconds of the call, not by a clock. Knows nothing of messages, names or labels.
"""

import struct
from collections.abc import Sequence

LEVELS = ((1.0, 300), (10.0, 360), (60.0, 1440))
"""Seconds per point, and how many points are kept: 5 minutes, an hour, a day."""
FULL = 200
"""The byte of probability 1."""
HEARS = ("speech", "sound", "silence")

_HEAD = struct.Struct("<IBbBB")  # bucket, hears, dB, flaws, voice
_NO_DB = -128


class Course:
    """The course of one call, second by second. `labels` is the number of probabilities of a point."""

    __slots__ = ("_first", "_levels", "_size", "flaws")

    def __init__(self, labels: int) -> None:
        self._size = _HEAD.size + labels
        self._levels = [bytearray() for _ in LEVELS]
        self._first = -1.0  # second: what was before it is not known
        self.flaws: list[str] = []  # met so far; a point has a bit for each of the first eight

    def put(
        self,
        at_s: float,
        probs: Sequence[float],
        hears: str,
        level_db: float | None,
        flaws: Sequence[str] = (),
        voice: int = 1,
    ) -> None:
        """Note the answer at `at_s` seconds of the call; `probs` is empty where nothing was answered."""
        if self._first < 0:
            self._first = max(0.0, float(int(at_s)))
        bits = 0
        for flaw in flaws:
            if flaw not in self.flaws and len(self.flaws) < 8:
                self.flaws.append(flaw)
            if flaw in self.flaws:
                bits |= 1 << self.flaws.index(flaw)
        db = _NO_DB if level_db is None else max(-127, min(127, round(level_db)))
        answer = bytes(min(FULL, max(0, round(p * FULL))) for p in probs)
        labels = self._size - _HEAD.size
        answer = answer.ljust(labels, b"\0")[:labels]
        self._add(0, at_s, HEARS.index(hears), db, bits, min(voice, 255), answer)

    def _add(
        self, level: int, at_s: float, hears: int, db: int, bits: int, voice: int, answer: bytes
    ) -> None:
        (step, most), points = LEVELS[level], self._levels[level]
        bucket = max(0, int(at_s / step))
        if points:
            last, hears0, db0, bits0, voice0 = _HEAD.unpack_from(points, len(points) - self._size)
            if bucket < last:
                return
            if bucket == last:
                hears, db, bits = min(hears, hears0), max(db, db0), bits | bits0
                answer = answer if any(answer) else bytes(points[_HEAD.size - self._size :])
                del points[-self._size :]
            elif level + 1 < len(LEVELS):
                before = bytes(points[_HEAD.size - self._size :])
                self._add(level + 1, last * step, hears0, db0, bits0, voice0, before)
        points += _HEAD.pack(bucket, hears, db, bits, voice) + answer
        if len(points) > most * self._size:
            del points[: self._size]

    def points(self) -> dict[str, list[float] | list[int | None] | list[list[int]]]:
        """Return the points as columns, the oldest first.

        Columns: `t` seconds of the call, `step` seconds that the point stands for, `probs` in 200ths (an empty list:
        no answer), `hears` index into `HEARS`, `db`, `flaws` as bits, and `voice`, the newest in it.
        """
        found: list[tuple[float, float, list[int], int, int | None, int, int]] = []
        until = float("inf")
        for (step, _), points in zip(LEVELS, self._levels, strict=True):
            here = []
            for at in range(0, len(points), self._size):
                bucket, hears, db, bits, voice = _HEAD.unpack_from(points, at)
                start, end = max(bucket * step, self._first), (bucket + 1) * step
                if start < until:
                    answer = list(points[at + _HEAD.size : at + self._size])
                    decibels = None if db == _NO_DB else db
                    said = answer if any(answer) else []
                    here.append((start, end - start, said, hears, decibels, bits, voice))
            if here:
                # A point of a coarser level ends where the finer ones begin.
                at_s, own, *rest = here[-1]
                here[-1] = (at_s, min(own, until - at_s), *rest)
                until = here[0][0]
            found = here + found
        names = ("t", "step", "probs", "hears", "db", "flaws", "voice")
        return {name: [point[i] for point in found] for i, name in enumerate(names)}  # type: ignore[misc]
