"""The answer of one stream over its last 30 s, for the strip. Its size is fixed.

Addressed by seconds of the stream, not by a clock, so a file read fast and a call look alike. Knows labels by their
numbers only.
"""

SPAN_S = 30
"""Seconds in the strip."""
MOST_LABELS = 253
"""Labels that are told apart."""
_PER_S = 10  # buckets per second
_BUCKETS = SPAN_S * _PER_S
_HOLD = 12  # a value stands for the buckets since the last one when they are no more than these
_NOTHING, _NO_ANSWER = 255, 254

Cell = tuple[int, float] | None
"""One cell of a strip: the answer's number and probability; 0.0: it stands, without speech.

(-1, 0.0): not heard. None: heard, and there was no answer.
"""


class History:
    """The last 30 s of one stream in 600 bytes: the answer in each tenth of a second, and how likely it was."""

    __slots__ = ("_label", "_level", "end")

    def __init__(self) -> None:
        self._label = bytearray([_NOTHING]) * _BUCKETS
        self._level = bytearray(_BUCKETS)
        self.end = -1

    def put(self, at_s: float, label: int | None, probability: float = 0.0, *, spoken: bool = True) -> None:
        """Record the answer at `at_s` seconds of the stream; `label` None: there is none."""
        bucket = max(0, int(at_s * _PER_S))
        gap = bucket - self.end
        if self.end < 0 or gap > _BUCKETS or gap < 0:
            if gap < 0 <= self.end and gap > -_PER_S:
                return  # an old message that came late
            self._label[:], self._level[:] = bytes([_NOTHING]) * _BUCKETS, bytes(_BUCKETS)
            gap = 1
        code = _NO_ANSWER if label is None else min(label, MOST_LABELS)
        likely = min(max(probability, 0.0), 1.0) if probability == probability else 0.0
        level = max(1, int(255 * likely)) if spoken and label is not None else 0
        if gap > _HOLD:
            for i in range(self.end + 1, bucket):
                self._label[i % _BUCKETS], self._level[i % _BUCKETS] = _NOTHING, 0
            gap = 1
        for i in range(bucket - max(gap, 1) + 1, bucket + 1):
            self._label[i % _BUCKETS], self._level[i % _BUCKETS] = code, level
        self.end = bucket

    def cells(self, width: int) -> list[Cell]:
        """Draw the strip in `width` cells, oldest first, on a grid fixed to the stream: so it does not flicker."""
        if self.end < 0:
            return [(-1, 0.0)] * width
        cut = (self.end + 1) % _BUCKETS
        labels, levels = self._label[cut:] + self._label[:cut], self._level[cut:] + self._level[:cut]
        oldest, newest = self.end - _BUCKETS + 1, self.end * width // _BUCKETS
        out: list[Cell] = []
        for cell in range(newest - width + 1, newest + 1):
            last = min(((cell + 1) * _BUCKETS - 1) // width, self.end) - oldest
            first = max(cell * _BUCKETS // width - oldest, 0)
            here = labels[first : max(last + 1, 0)]
            unheard, without = here.count(_NOTHING), here.count(_NO_ANSWER)
            if (unheard + without) * 2 >= len(here):
                out.append((-1, 0.0) if unheard >= without else None)
                continue
            while labels[last] >= _NO_ANSWER:
                last -= 1
            answer = labels[last]
            if levels[first : last + 1].count(0) * 2 > last + 1 - first:
                out.append((answer, 0.0))
                continue
            while not levels[last]:
                last -= 1
            out.append((answer, levels[last] / 255))
        return out
