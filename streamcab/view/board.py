"""The state of a viewer: the newest message of every stream, and its last 30 seconds.

Owns `Board` and `Stream`: they take messages, and their size is bounded. Knows nothing of sockets,
terminals or clocks: the caller passes the time, from any clock that only goes forward.
"""

from collections.abc import Iterable
from typing import Literal

from streamcab.message import AnyMessage, DaemonStatus, ModelInfo, Prediction, State, Status
from streamcab.view.history import MOST_LABELS, History

QUIET_S = 3.0  # a feed that has said nothing for so long is called quiet

Shown = State | Literal["stalled", "reconnecting"]
"""The state shown for a stream: that of its answer, or of its source if that prevents an answer."""


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

    def __init__(self, *, most: int = 4096, keep_ended_s: float = 30.0, forget_s: float = 15.0) -> None:
        """`most` streams at once; an ended one stays `keep_ended_s`, one that is not heard of `forget_s`."""
        self.streams: dict[str, Stream] = {}
        self.finals: dict[str, Prediction] = {}  # of streams that were forgotten, for the summary
        self.models: dict[str, ModelInfo] = {}
        self.daemon: DaemonStatus | None = None
        self.heard: float | None = None
        self.full = False  # whether a stream was turned away
        self.ended = 0  # streams, since the viewer began
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
        """Return the seconds since the last message of the feed; None before the first."""
        return None if self.heard is None else now - self.heard

    def quiet(self, now: float) -> bool:
        """Return whether the feed has stopped after it had sent messages."""
        return self.heard is not None and now - self.heard > QUIET_S

    def number(self, label: str) -> int:
        """Return the number of a label, which determines its colour. It is the same for all streams and never
        changes."""
        found = self._labels.get(label)
        if found is None:
            found = len(self._labels)
            if found < MOST_LABELS:
                self._labels[label] = found
        return found

    def labels(self) -> list[str]:
        """Return all labels seen, ordered by number."""
        return list(self._labels)

    def model(self, stream: Stream) -> ModelInfo | None:
        """Return the model that classifies a stream, if the feed has announced it."""
        return None if stream.prediction is None else self.models.get(stream.prediction.model)

    def predictions(self) -> dict[str, Prediction]:
        """Return the newest prediction of every stream that is still remembered."""
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
        answer = None if p.top is None or p.state == "silent" else self.number(p.top)
        stream.history.put(_position_s(p), answer, p.confidence or 0.0, spoken=bool(p.now))

    def _turn(self, stream: Stream, state: State, now: float) -> None:
        stream.state = state
        if state != "ended":
            stream.ended = None
        elif stream.ended is None:
            stream.ended = now
            self.ended += 1

    def _forget(self, now: float) -> None:
        if now - self._swept < 0.5:
            return
        self._swept = now
        gone = [
            s
            for s in self.streams.values()
            if now - (s.heard if s.ended is None else s.ended)
            > (self._forget_s if s.ended is None else self._keep_ended_s)
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
