"""The state of a viewer: the newest message of every stream, and its last 30 seconds.

Owns `Board`, `Stream` and `History`: they take messages, and their size is bounded. Knows nothing of sockets,
terminals or clocks: the caller passes the time, from any clock that only goes forward.
"""

from collections.abc import Iterable
from typing import Literal

from streamcab.message import AnyMessage, DaemonStatus, ModelInfo, Prediction, State, Status

QUIET_S = 3.0  # a feed that has said nothing for so long is called quiet
SPAN_S = 30  # seconds in the strip
_PER_S = 10  # buckets of the strip per second
_BUCKETS = SPAN_S * _PER_S
_HOLD = 12  # a value stands for the buckets since the last one when they are no more than these
_NOTHING, _UNVOICED, _MOST_LABELS = 255, 254, 253

Shown = State | Literal["stalled", "reconnecting"]
"""What is said of a stream: the state of its answer, or of its source where that hinders it."""
Cell = tuple[int, float] | None
"""One cell of a strip: the leading label's number (-1: not heard) and its probability; None: nobody spoke."""


class History:
    """The last 30 s of one stream in 600 bytes: which label led in each tenth of a second, and how clearly.

    Addressed by seconds of the stream, not by a clock, so a file read fast and a call look alike.
    """

    __slots__ = ("_label", "_level", "end")

    def __init__(self) -> None:
        self._label = bytearray([_NOTHING]) * _BUCKETS
        self._level = bytearray(_BUCKETS)
        self.end = -1

    def put(self, at_s: float, label: int | None, probability: float = 0.0) -> None:
        """Record the answer at `at_s` seconds of the stream; None where nobody spoke."""
        bucket = max(0, int(at_s * _PER_S))
        gap = bucket - self.end
        if self.end < 0 or gap > _BUCKETS or gap < 0:
            if gap < 0 <= self.end and gap > -_PER_S:
                return  # an old message that came late
            self._label[:] = bytes([_NOTHING]) * _BUCKETS
            gap = 1
        code = _UNVOICED if label is None else min(label, _MOST_LABELS)
        level = int(255 * min(max(probability, 0.0), 1.0)) if probability == probability else 0
        if gap > _HOLD:
            for i in range(self.end + 1, bucket):
                self._label[i % _BUCKETS] = _NOTHING
            gap = 1
        for i in range(bucket - max(gap, 1) + 1, bucket + 1):
            self._label[i % _BUCKETS] = code
            self._level[i % _BUCKETS] = level
        self.end = bucket

    def cells(self, width: int) -> list[Cell]:
        """The strip in `width` cells, oldest first, on a grid fixed to the stream: so it does not flicker."""
        if self.end < 0:
            return [(-1, 0.0)] * width
        cut = (self.end + 1) % _BUCKETS
        labels, levels = self._label[cut:] + self._label[:cut], self._level[cut:] + self._level[:cut]
        oldest, newest = self.end - _BUCKETS + 1, self.end * width // _BUCKETS
        out: list[Cell] = []
        for cell in range(newest - width + 1, newest + 1):
            last = min(((cell + 1) * _BUCKETS - 1) // width, self.end) - oldest
            here = labels[max(cell * _BUCKETS // width - oldest, 0) : max(last + 1, 0)]
            unheard, pause = here.count(_NOTHING), here.count(_UNVOICED)
            if (unheard + pause) * 2 >= len(here):
                out.append((-1, 0.0) if unheard >= pause else None)
                continue
            while labels[last] >= _UNVOICED:
                last -= 1
            out.append((labels[last], levels[last] / 255))
        return out


class Stream:
    """The newest messages of one stream."""

    __slots__ = (
        "born",
        "ended",
        "heard",
        "history",
        "name",
        "number",
        "prediction",
        "run",
        "state",
        "status",
    )

    def __init__(self, name: str, run: str, now: float, number: int) -> None:
        self.name = name
        self.run = run
        self.number = number  # in order of appearance
        self.born = 0.0  # Unix time of its first sample, as near as the first message tells
        self.heard = now
        self.ended: float | None = None
        self.state: State = "warming"
        self.prediction: Prediction | None = None
        self.status: Status | None = None
        self.history = History()

    @property
    def top(self) -> str | None:
        """The label to show; None in silence and before the first speech."""
        return None if self.prediction is None or self.state == "silent" else self.prediction.top

    @property
    def confidence(self) -> float:
        """The probability of the label to show; 0 without one."""
        return 0.0 if self.top is None or self.prediction is None else self.prediction.confidence or 0.0

    @property
    def shown(self) -> Shown:
        """The state to show. A source that delivers nothing takes precedence over the last answer."""
        if self.status is not None and self.state != "ended":
            if self.status.source_state == "stalled" and self.state != "lost":
                return "stalled"
            if self.status.source_state == "reconnecting" and self.state == "lost":
                return "reconnecting"
        return self.state

    @property
    def doubtful(self) -> bool:
        """Whether the confidence of the answer is below the model's own threshold."""
        return self.top is not None and self.prediction is not None and self.prediction.sure is False

    @property
    def lag_ms(self) -> float:
        """Lag of the newest message, in milliseconds."""
        newest = self.prediction or self.status
        return 0.0 if newest is None else newest.lag_ms

    @property
    def lost_ms(self) -> float:
        """Milliseconds lost since the stream began."""
        return max((m.lost_ms for m in (self.prediction, self.status) if m is not None), default=0.0)

    @property
    def overflows(self) -> int:
        """Overflows of its source since the stream began."""
        return max((m.overflows for m in (self.prediction, self.status) if m is not None), default=0)


class Board:
    """The newest messages of every stream."""

    def __init__(self, *, most: int = 4096, keep_ended_s: float = 8.0, forget_s: float = 15.0) -> None:
        """`most` streams at once; an ended one stays `keep_ended_s`, one that is not heard of `forget_s`."""
        self.streams: dict[str, Stream] = {}
        self.finals: dict[str, Prediction] = {}  # of streams that were forgotten, for the summary
        self.models: dict[str, ModelInfo] = {}
        self.daemon: DaemonStatus | None = None
        self.heard: float | None = None
        self.full = False  # whether a stream was turned away
        self.changes = 0  # grows with everything that may change a picture
        self._labels: dict[str, int] = {}
        self._most, self._keep_ended_s, self._forget_s = most, keep_ended_s, forget_s
        self._numbers = 0
        self._swept = float("-inf")

    def add(self, messages: Iterable[AnyMessage], now: float) -> None:
        """Take a message of the feed."""
        for message in messages:
            self.heard = now
            self.changes += 1
            if isinstance(message, Prediction):
                stream = self._stream(message, now)
                if stream is not None:
                    stream.prediction = message
                    self._put(stream, message)
                    self._turn(stream, message.state, now)
            elif isinstance(message, Status):
                stream = self._stream(message, now)
                if stream is not None:
                    stream.status = message
                    p = stream.prediction
                    # while answers flow they know best; a source's end or loss is the status's to tell
                    if p is None or "lost" in (message.state, stream.state) or message.state == "ended":
                        self._turn(stream, message.state, now)
            elif isinstance(message, ModelInfo):
                self.models.pop(message.model, None)
                self.models[message.model] = message
                _drop_oldest(self.models, 64)
            else:
                self.daemon = message
        self._forget(now)

    def age(self, now: float) -> float | None:
        """Seconds since the last message of the feed; None before the first."""
        return None if self.heard is None else now - self.heard

    def quiet(self, now: float) -> bool:
        """Whether the feed has stopped after it had sent messages."""
        return self.heard is not None and now - self.heard > QUIET_S

    def number(self, label: str) -> int:
        """The number of a label, which determines its colour. It is the same for all streams and never changes."""
        found = self._labels.get(label)
        if found is None:
            found = len(self._labels)
            if found < _MOST_LABELS:
                self._labels[label] = found
        return found

    def labels(self) -> list[str]:
        """All labels seen, ordered by number."""
        return list(self._labels)

    def model(self, stream: Stream) -> ModelInfo | None:
        """The model that classifies a stream, if the feed has announced it."""
        return None if stream.prediction is None else self.models.get(stream.prediction.model)

    def predictions(self) -> dict[str, Prediction]:
        """The newest prediction of every stream that is still remembered."""
        here = {name: s.prediction for name, s in self.streams.items() if s.prediction is not None}
        return {**self.finals, **here}

    def _stream(self, message: Prediction | Status, now: float) -> Stream | None:
        stream = self.streams.get(message.stream)
        if stream is None or stream.run != message.run:
            if stream is None and len(self.streams) >= self._most:
                self._forget(now)
                if not self._drop_ended():
                    self.full = True
                    return None
            self._numbers += 1
            stream = Stream(message.stream, message.run, now, self._numbers)
            stream.born = message.time - _position_s(message)
            self.streams[message.stream] = stream
        stream.heard = now
        return stream

    def _put(self, stream: Stream, p: Prediction) -> None:
        for label in p.labels:
            if label not in self._labels:
                self.number(label)
        at_s = _position_s(p)
        if p.now and p.state != "silent":
            leading = max(p.now, key=p.now.__getitem__)
            stream.history.put(at_s, self.number(leading), p.now[leading])
        else:
            stream.history.put(at_s, None)

    def _turn(self, stream: Stream, state: State, now: float) -> None:
        stream.state = state
        if state != "ended":
            stream.ended = None
        elif stream.ended is None:
            stream.ended = now

    def _forget(self, now: float) -> None:
        if now - self._swept < 0.5:
            return
        self._swept = now
        gone = [
            s
            for s in self.streams.values()
            if now - s.heard > self._forget_s or (s.ended is not None and now - s.ended > self._keep_ended_s)
        ]
        for stream in gone:
            self._drop(stream)

    def _drop_ended(self) -> bool:
        ended = min(
            (s for s in self.streams.values() if s.ended is not None), key=lambda s: s.number, default=None
        )
        if ended is not None:
            self._drop(ended)
        return ended is not None

    def _drop(self, stream: Stream) -> None:
        del self.streams[stream.name]
        self.changes += 1
        self.full = False
        if stream.prediction is not None:
            self.finals.pop(stream.name, None)
            self.finals[stream.name] = stream.prediction
            _drop_oldest(self.finals, 256)


def _position_s(message: Prediction | Status) -> float:
    if isinstance(message, Status):
        return message.captured_s
    return message.sample / message.rate if message.rate > 0 else 0.0


def _drop_oldest(kept: dict[str, ModelInfo] | dict[str, Prediction], most: int) -> None:
    while len(kept) > most:
        del kept[next(iter(kept))]
