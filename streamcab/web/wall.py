"""The table behind the page: the newest state of every call, the last hour of all, and what changed since a tick.

Takes messages and makes JSON; its size is bounded. Knows nothing of sockets, threads, browsers or clocks: the caller
passes the time, from any clock that only goes forward. Whatever is text here was made printable.
"""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

import msgspec

from streamcab.message import AnyMessage, DaemonStatus, ModelInfo, Prediction, Status
from streamcab.web.course import HEARS, Course
from streamcab.web.line import STATES, Line, flaws, shown
from streamcab.web.told import KEPT, Said

MOST_LIVE, MOST_OVER, MOST_LABELS = 20_000, 1_000, 64
"""Calls that go on and calls that have ended, and labels of all models together."""
SLICE_S, SLICES = 10, 360
"""The ribbon: seconds of a slice, and how many are kept."""
QUIET_S = 15.0
"""After which a stream that says nothing is taken to have ended unheard: a daemon speaks of each every second."""
encode = msgspec.json.encode


class Wall:
    """The state of all calls. Each `tick` tells what has changed; `whole` tells everything."""

    def __init__(self) -> None:
        self.number = 0  # of the newest tick
        self.labels: list[str] = []
        self.unshown = 0  # messages of streams beyond the bound
        self.daemon: DaemonStatus | None = None
        self.lines: dict[int, Line] = {}
        self._numbers: dict[str, int] = {}  # of the labels
        self._open: dict[str, Line] = {}
        self._over: deque[Line] = deque()
        self._lately: dict[str, Line] = {}  # the newest ended call of each name
        self._touched: dict[int, Line] = {}
        self._gone: list[int] = []
        self._calls = 0
        self._told_labels = 0
        self._ribbon: deque[list[int]] = deque(maxlen=SLICES)
        self._slice: int | None = None
        self._looked = 0.0

    def take(self, messages: Iterable[AnyMessage], now: float) -> None:
        """Take messages of the feed, in their order."""
        for message in messages:
            if isinstance(message, DaemonStatus):
                self.daemon = message
                continue
            line = self._open.get(message.stream)
            if line is not None and (line.run != message.run or isinstance(message, ModelInfo)):
                if line.run == message.run and line.model is None:
                    pass  # its first message overtook the model
                else:
                    self._end(line)
                    line = None
            line = line or self._again(message)
            if line is None:
                if getattr(message, "state", "") == "ended":
                    self._last_words(message)
                    continue
                line = self._begin(message, now)
                if line is None:
                    continue
            line.heard = now
            self._touched[line.id] = line
            if isinstance(message, Prediction):
                self._answer(line, message)
            elif isinstance(message, Status):
                self._status(line, message)
            else:
                self._model(line, message)

    def tick(self, now: float, at: float) -> dict[str, Any]:
        """Return what has changed since the last tick. `at`: Unix time."""
        if now - self._looked >= 1.0:
            self._looked = now
            for line in [line for line in self._open.values() if now - line.heard > QUIET_S]:
                self._end(line)
                line.given_up = True
        self.number += 1
        rows, intros = [], []
        for line in self._touched.values():
            if (intro := self._intro(line)) != line.intro:
                line.intro = intro
                intros.append(intro)
            if (row := self._row(line)) != line.row:
                line.row = row
                rows.append(row)
        self._touched.clear()
        changed: dict[str, Any] = self._head(at) | {"rows": rows}
        if intros:
            changed["new"] = intros
        if self._gone:
            changed["gone"], self._gone = self._gone, []
        if self._told_labels != len(self.labels):
            changed["labels"], self._told_labels = self.labels, len(self.labels)
        if (piece := self._piece(at)) is not None:
            changed["ribbon"] = [piece]
        return changed

    def whole(self, at: float) -> dict[str, Any]:
        """Return everything, as of the last tick."""
        return self._head(at) | {
            "whole": True,
            "labels": self.labels,
            "new": [line.intro for line in self.lines.values() if line.intro],
            "rows": [line.row for line in self.lines.values() if line.row],
            "ribbon": list(self._ribbon),
        }

    def call(self, id: int) -> dict[str, Any] | None:
        """Return all that is known of one call; None if it is not here."""
        line = self.lines.get(id)
        if line is None:
            return None
        p, s, m = line.answer, line.status, line.model
        return {
            "id": line.id,
            "name": line.name,
            "source": shown(s.source) if s else "",
            "platform": line.platform,
            "state": line.shown_state,
            "detail": shown(s.detail) if s else "",
            "began": line.began,
            "length": line.length,
            "labels": [self.labels[i] for i in line.labels],
            "numbers": line.labels,
            "probs": p.probs if p else {},
            "now": p.now if p else {},
            "top": p.top if p else None,
            "confidence": p.confidence if p else None,
            "sure": p.sure if p else None,
            "other": p.other if p else None,
            "speech_s": p.heard_s if p else 0.0,
            "window_s": p.window_s if p else 0.0,
            "hears": p.hears if p else s.hears if s else "silence",
            "flaws": flaws(line),
            "level_db": p.level_db if p else None,
            "snr_db": p.snr_db if p else None,
            "lag_ms": p.lag_ms if p else s.lag_ms if s else None,
            "lost_ms": max(p.lost_ms if p else 0.0, s.lost_ms if s else 0.0),
            "rate": p.rate if p else s.rate if s else None,
            "attention": p.attention if p else None,
            "duty": p.duty if p else None,
            "voice": p.voice if p else None,
            "model": {"name": shown(m.name), "hash": shown(m.model), "licence": shown(m.licence)}
            if m
            else None,
            "course": line.course.points() if line.course else None,
            "flaw_names": line.course.flaws if line.course else [],
            "told": self._told(line),
        }

    def _told(self, line: Line) -> dict[str, Any] | None:
        p, m = line.answer, line.model
        number = self._numbers.get(p.top) if p and p.top and p.state != "silent" else None
        if line.said is None or number not in line.labels:
            return None
        window_s, temperature = (m.window_s, m.temperature) if m else (float(KEPT), 1.0)
        return line.said.told(line.labels.index(number), window_s, temperature, p.voice if p else 1)

    def _begin(self, message: AnyMessage, now: float) -> Line | None:
        if len(self._open) >= MOST_LIVE:
            self.unshown += 1
            return None
        self._calls += 1
        began = message.time
        if isinstance(message, Prediction) and message.rate:
            began -= message.sample / message.rate
        elif isinstance(message, Status):
            began -= message.captured_s
        line = Line(self._calls, message.stream, message.run, now, began)
        self._open[message.stream] = self.lines[line.id] = line
        return line

    def _end(self, line: Line) -> None:
        self._open.pop(line.key, None)
        p = line.answer
        line.state = "ended"
        line.length = p.sample / p.rate if p and p.rate else line.status.captured_s if line.status else 0.0
        self._touched[line.id] = line
        self._over.append(line)
        self._lately[line.key] = line
        while len(self._over) > MOST_OVER:
            old = self._over.popleft()
            del self.lines[old.id]
            if self._lately.get(old.key) is old:
                del self._lately[old.key]
            self._touched.pop(old.id, None)
            self._gone.append(old.id)

    def _again(self, message: AnyMessage) -> Line | None:
        """Return the call that was given up, of which there is news after all: the daemon or the way to it had
        stalled."""
        line = self._lately.get(message.stream)
        if line is None or not line.given_up or line.run != message.run or isinstance(message, ModelInfo):
            return None
        self._over.remove(line)
        line.given_up, line.length = False, None
        line.state = line.answer.state if line.answer else "warming"
        self._open[line.key] = line
        return line

    def _last_words(self, message: AnyMessage) -> None:
        """Take the status of a call whose last answer ended it already; a late joiner gets it in that order."""
        line = self._lately.get(message.stream)
        if line is not None and isinstance(message, Status) and line.run == message.run:
            line.hear_of(message)
            self._touched[line.id] = line

    def _model(self, line: Line, model: ModelInfo) -> None:
        line.model = model
        self._learn(line, model.labels)

    def _learn(self, line: Line, labels: list[str]) -> None:
        for label in labels:
            if label not in self._numbers and len(self.labels) < MOST_LABELS:
                self._numbers[label] = len(self.labels)
                self.labels.append(shown(label))
        line.labels = [self._numbers[label] for label in labels if label in self._numbers]
        line.course, line.said = Course(len(line.labels)), Said(len(line.labels))

    def _answer(self, line: Line, p: Prediction) -> None:
        if line.course is None:
            self._learn(line, p.labels)
        assert line.course is not None
        assert line.said is not None
        line.answer, line.state = p, p.state
        if p.rate:
            known = [label for label in p.labels if label in self._numbers]
            probs = [p.probs.get(label, 0.0) for label in known] if p.probs and p.state != "silent" else []
            line.course.put(p.sample / p.rate, probs, p.hears, p.level_db, flaws(line), p.voice)
            now = [p.now.get(label, 0.0) for label in known] if p.now else []
            line.said.put(p.sample / p.rate, now, line.model.temperature if line.model else 1.0, p.voice)
        if p.state == "ended":
            self._end(line)

    def _status(self, line: Line, s: Status) -> None:
        line.hear_of(s)
        if s.state == "ended":
            self._end(line)
        elif line.answer is None:
            line.state = s.state

    def _intro(self, line: Line) -> list[Any]:
        """Return the fields of a call that seldom change."""
        source = shown(line.status.source) if line.status else ""
        return [line.id, line.name, source, round(line.began, 1), line.platform]

    def _row(self, line: Line) -> list[Any]:
        """Return the fields of a call that often change: words as numbers, values rounded as shown."""
        p, s = line.answer, line.status
        top = confidence = sure = None
        probs: list[int] = []
        if p is not None and p.top is not None and p.state != "silent":
            top, sure = self._numbers.get(p.top), p.sure
            confidence = None if p.confidence is None else round(p.confidence * 100)
            probs = [0] * (max(line.labels, default=-1) + 1)
            for label, x in p.probs.items():
                if (n := self._numbers.get(label)) is not None and n < len(probs):
                    probs[n] = round(x * 100)
        return [
            line.id,
            STATES.index(line.shown_state),
            top,
            confidence,
            sure,
            int(p.heard_s if p else s.speech_s if s else 0.0),
            HEARS.index(p.hears if p else s.hears if s else "silence"),
            flaws(line),
            probs,
            None if line.length is None else round(line.length, 1),
        ]

    def _head(self, at: float) -> dict[str, Any]:
        d = self.daemon
        told = None if d is None else [round(d.pass_ms), round(d.lost_ms), round(d.uptime_s), shown(d.detail)]
        return {"n": self.number, "at": round(at, 2), "daemon": told}

    def _piece(self, at: float) -> list[int] | None:
        """Return the slice of the ribbon that begins now: its time, the calls without an answer, and those of each
        label."""
        slice = int(at // SLICE_S)
        if slice == self._slice:
            return None
        self._slice = slice
        counts = Counter(line.row[2] for line in self._open.values() if line.row)
        piece = [slice * SLICE_S, counts.pop(None, 0), *(counts[i] for i in range(len(self.labels)))]
        self._ribbon.append(piece)
        return piece
