"""Calls as they go: the feed's messages, added up to one row per call and one per 10 s of it.

A `Tally` takes every message in the daemon's inference thread, so most cost it a comparison: a call is told every
5 s and at its end. Knows nothing of databases, sinks or threads.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, inf

import msgspec

from streamcab.message import AnyMessage, Hears, ModelInfo, Prediction, Status

PIECE_S = 10.0
"""Seconds of a piece, counted from the Unix epoch."""
TELL_S = 5.0
"""Seconds between reports on one call."""
EARLIER_S = 2.0
"""How much earlier than a stream is announced its first sample may be."""
DIGITS = 4
"""Of a probability."""


class Piece(msgspec.Struct, frozen=True):
    """Ten seconds of a call, or as much of them as has passed.

    n         Unix time / 10, rounded down        probs  the answer at the end, in the order of the model's labels
    speech_s, audio_s, lost_ms  within the piece  flaws  that were met within it
    voice     the voice that the answer is about
    """

    n: int
    probs: list[float]
    top: str | None
    speech_s: float
    audio_s: float
    lost_ms: float
    hears: Hears
    level_db: float | None
    flaws: list[str]
    voice: int = 1


class CallFacts(msgspec.Struct, frozen=True):
    """The facts of a call from its beginning to `seen`, as in the feed."""

    name: str
    source: str
    state: str
    began: float
    seen: float
    ended: float | None
    audio_s: float
    speech_s: float
    top: str | None
    confidence: float | None
    sure: bool | None
    other: float | None
    probs: dict[str, float]
    model: str
    flaws: list[str]
    snr_db: float | None
    lost_ms: float
    overflows: int
    detail: str
    labels: dict[str, str]


class Call(CallFacts, frozen=True):
    """A call; `number` counts the calls of a run."""

    number: int


class Entry(msgspec.Struct, frozen=True):
    """A report on a call: all of it so far, and its newest pieces, of which the last may still grow."""

    call: Call
    pieces: list[Piece]


Told = Callable[[Entry | ModelInfo], None]


@dataclass(slots=True)
class _Open:
    """A call that goes on.

    origin  when its first sample was          at  up to when it was answered     n  its piece
    heard, audio, lost  as its piece began     due  when it is told next
    wake, wake_sample   until this time, and this sample, there is nothing to do but to remember the newest answer
    """

    number: int
    model: ModelInfo
    due: float
    origin: float = inf
    at: float = -inf
    wake: float = -inf
    wake_sample: float = -inf
    n: int = 0
    heard: float = 0.0
    audio: float = 0.0
    lost: float = 0.0
    newest: Prediction | None = None
    status: Status | None = None
    flaws: dict[str, None] = field(default_factory=dict)
    piece_flaws: dict[str, None] = field(default_factory=dict)
    done: list[Piece] = field(default_factory=list)


class Tally:
    """Adds up the messages of one run, and passes due reports to `told`, which must not block."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._calls = 0
        self._models: set[str] = set()
        self._open: dict[str, _Open] = {}

    def __call__(self, message: AnyMessage) -> None:
        """Take the next message of the feed."""
        if isinstance(message, Prediction):
            self._answer(message)
        elif isinstance(message, Status):
            self._status(message)
        elif isinstance(message, ModelInfo):
            self._begins(message)

    def _begins(self, model: ModelInfo) -> None:
        before = self._open.pop(model.stream, None)
        if before is not None:
            self._tell(before, "ended")
        if model.model not in self._models:
            self._models.add(model.model)
            self._told(model)
        self._calls += 1
        # Calls that begin together are not told together.
        due = model.time + 1.0 + self._calls % 50 / 50 * (TELL_S - 1.0)
        self._open[model.stream] = _Open(self._calls, model, due)

    def _answer(self, p: Prediction) -> None:
        call = self._open.get(p.stream)
        if call is None:
            return
        if p.time < call.wake and p.sample < call.wake_sample:  # of a hundred messages all but two
            call.newest = p
            return
        if call.newest is None:
            # What is read at once seems to have been captured before it was asked for.
            call.origin = max(p.time - _audio(p), call.model.time - EARLIER_S)
            call.n = int(call.origin // PIECE_S)
        at = _reached(call, p)
        if at > (call.n + 1) * PIECE_S and call.newest is not None:
            call.done.append(_piece(call, call.newest))
            _next_piece(call, call.newest, ceil(at / PIECE_S) - 1)
        call.newest = p
        if at >= call.due:
            call.due = at + TELL_S
            self._tell(call, "open")
        call.wake = min(call.due, (call.n + 1) * PIECE_S)
        call.wake_sample = (call.wake - call.origin) * p.rate

    def _status(self, s: Status) -> None:
        call = self._open.get(s.stream)
        if call is None:
            return
        call.status = s
        for flaw in s.flaws:
            call.flaws[flaw] = call.piece_flaws[flaw] = None
        if s.state == "ended":
            del self._open[s.stream]
            self._tell(call, "ended")
        elif s.time >= call.due + TELL_S:  # nothing is heard, and so nothing answered
            call.due = s.time
            self._tell(call, "open", s.time)

    def _tell(self, call: _Open, state: str, at: float | None = None) -> None:
        p, s = call.newest, call.status
        if p is not None:
            _reached(call, p)
            call.done.append(_piece(call, p))
        seen = max(call.at, at or -inf, call.model.time)
        began = min(call.origin, call.model.time) if p is None else call.origin
        entry = Entry(
            Call(
                number=call.number,
                name=call.model.stream,
                source=s.source if s else "",
                state=state,
                began=round(began, 3),
                seen=round(seen, 3),
                ended=round(seen, 3) if state == "ended" else None,
                audio_s=s.captured_s if s else _audio(p),
                speech_s=p.heard_s if p else 0.0,
                top=p.top if p else None,
                confidence=_short(p.confidence) if p else None,
                sure=p.sure if p else None,
                other=_short(p.other) if p else None,
                probs={label: round(x, DIGITS) for label, x in p.probs.items()} if p else {},
                model=call.model.model,
                flaws=list(call.flaws),
                snr_db=p.snr_db if p else None,
                lost_ms=p.lost_ms if p else 0.0,
                overflows=p.overflows if p else 0,
                detail=s.detail if s else "",
                labels=s.call if s else {},
            ),
            call.done,
        )
        call.done = []
        self._told(entry)


def _reached(call: _Open, p: Prediction) -> float:
    """Return the time up to which a call was answered.

    Audio that is read at once has a time of its own, and the clock may be set back.
    """
    call.at = max(p.time, call.origin + _audio(p), call.at)
    return call.at


def _short(x: float | None) -> float | None:
    return None if x is None else round(x, DIGITS)


def _audio(p: Prediction | None) -> float:
    return round(p.sample / p.rate, 3) if p and p.rate else 0.0


def _piece(call: _Open, p: Prediction) -> Piece:
    """Return the piece that a call is in, up to a prediction."""
    return Piece(
        n=call.n,
        probs=[round(p.probs.get(label, 0.0), DIGITS) for label in p.labels] if p.probs else [],
        top=p.top,
        speech_s=round(max(p.heard_s - call.heard, 0.0), 3),
        audio_s=round(max(_audio(p) - call.audio, 0.0), 3),
        lost_ms=round(max(p.lost_ms - call.lost, 0.0), 1),
        hears=p.hears,
        level_db=p.level_db,
        flaws=list(call.piece_flaws),
        voice=p.voice,
    )


def _next_piece(call: _Open, p: Prediction, n: int) -> None:
    call.n = n
    call.heard, call.audio, call.lost = p.heard_s, _audio(p), p.lost_ms
    call.piece_flaws = {}
