"""A synthetic feed for the tests of the view: messages without audio or a model, and who publishes them.

Owns `prediction`, `status`, `model`, `daemon`, `Talk` and `board_of`. As a script: `publish ENDPOINT STREAMS
HZ` speaks on a feed, `watch ENDPOINT PID_FILE` draws it like `streamcab watch`, `break` draws a broken one.
"""

import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from rich.console import Console

from streamcab.feed import Publisher, Subscriber
from streamcab.message import AnyMessage, DaemonStatus, ModelInfo, Prediction, Status
from streamcab.view import Board, summary, watch

LABELS = ["us", "uk", "australia"]
RATE = 8000


def prediction(stream: str = "mic", at_s: float = 10.0, **changes: Any) -> Prediction:
    """A plain prediction, changed at will."""
    fields: dict[str, Any] = {
        "run": "r1", "seq": 1, "stream": stream, "time": 1_000_000 + at_s, "sample": int(at_s * RATE),
        "rate": RATE, "labels": LABELS, "top": "us", "confidence": 0.87,
        "probs": {"us": 0.87, "uk": 0.09, "australia": 0.04},
        "now": {"us": 0.95, "uk": 0.03, "australia": 0.02}, "state": "live", "window_s": min(at_s, 30.0),
        "voiced_s": 8.4, "heard_s": 8.4, "level_db": -23.0, "lag_ms": 62.0, "lost_ms": 0.0, "overflows": 0,
        "attention": [1 / 40] * 40, "model": "3fa9c1d2e5b60718",
    }  # fmt: skip
    return Prediction(**(fields | changes))


def status(stream: str = "mic", **changes: Any) -> Status:
    fields: dict[str, Any] = {
        "run": "r1", "seq": 1, "stream": stream, "time": 1_000_010.0, "state": "live", "rate": RATE,
        "source": "microphone: USB Audio (48000 Hz)", "captured_s": 10.0, "classified_s": 9.9, "lag_ms": 62.0,
        "lost_ms": 0.0, "overflows": 0,
    }  # fmt: skip
    return Status(**(fields | changes))


def model(**changes: Any) -> ModelInfo:
    fields: dict[str, Any] = {
        "run": "r1", "seq": 1, "stream": "mic", "time": 1_000_000.0, "model": "3fa9c1d2e5b60718",
        "name": "saa8k", "labels": LABELS, "rate": RATE, "normaliser": "running", "gate": True,
        "window_s": 30.0,
        "licence": "CC-BY-NC-SA", "corpus": "saa8k",
    }  # fmt: skip
    return ModelInfo(**(fields | changes))


def daemon(**changes: Any) -> DaemonStatus:
    fields: dict[str, Any] = {
        "run": "r1", "seq": 1, "stream": "daemon", "time": 1_000_000.0, "streams": 1, "pass_ms": 12.0,
        "intervals_per_s": 40.0, "lost_ms": 0.0, "uptime_s": 9.0,
    }  # fmt: skip
    return DaemonStatus(**(fields | changes))


class Talk:
    """One speaker: a smooth, repeatable course of probabilities with pauses; `number` chooses it."""

    def __init__(self, stream: str, number: int, labels: list[str] = LABELS) -> None:
        self.stream, self.number, self.labels = stream, number, labels
        self.favourite = (number * 7 // 5) % len(labels)
        self._heard: list[dict[str, float]] = []
        self._voiced = 0.0
        self._last = 0.0

    def at(self, at_s: float, **changes: Any) -> Prediction:
        """What is said at `at_s`; call it with growing times."""
        n, phase = self.number, at_s + self.number * 3.7
        voiced = math.sin(phase * 0.9) + 0.6 * math.sin(phase * 2.3) > -0.75 and n % 11 != 10
        raw = [
            math.exp(
                (2.4 if i == self.favourite else 0.0) + 1.7 * math.sin(phase * (0.31 + 0.07 * i) + 2 * i)
            )
            for i in range(len(self.labels))
        ]
        now = {label: value / sum(raw) for label, value in zip(self.labels, raw, strict=True)}
        if voiced:
            self._heard = [*self._heard[-149:], now]
            self._voiced += at_s - self._last
        self._last = at_s
        probs = (
            {k: sum(h[k] for h in self._heard) / len(self._heard) for k in self.labels} if self._heard else {}
        )
        top = max(probs, key=probs.__getitem__) if probs else None
        weights = [math.exp(2 * math.sin(i * 1.7 + n) + math.sin(at_s * 0.4 + i)) for i in range(40)]
        fields: dict[str, Any] = {
            "labels": self.labels, "probs": probs, "now": now if voiced else {}, "top": top,
            "confidence": probs[top] if top else None, "voiced_s": min(self._voiced, 24.0),
            "heard_s": self._voiced, "state": "silent" if top is None else "warming" if at_s < 3 else "live",
            "level_db": -22 + 6 * math.sin(phase * 5) if voiced else -61.0 + math.sin(phase * 9),
            "lag_ms": 62 + 9 * math.sin(phase) + (n % 17 == 3) * 1400, "lost_ms": 340.0 * (n % 13 == 5),
            "attention": [w / sum(weights) for w in weights],
        }  # fmt: skip
        return prediction(self.stream, at_s, **(fields | changes))


def board_of(streams: int = 1, seconds: float = 40.0, hz: float = 5.0, labels: list[str] = LABELS) -> Board:
    """A board that has heard `streams` talkers for `seconds`; its time is `seconds`."""
    board = Board()
    names = ["mic"]
    if streams > 1:
        names = [f"rtp-10.0.{i // 250}.{i % 250}-5004-{i * 40503 % 65536:04x}" for i in range(streams)]
    talks = [Talk(name, i, labels) for i, name in enumerate(names)]
    for step in range(1, int(seconds * hz) + 1):
        board.add([talk.at(step / hz) for talk in talks], step / hz)
    now = int(seconds * hz) / hz
    board.add([model(labels=labels), *(status(name, state=board.streams[name].state) for name in names)], now)
    return board


def publish(endpoint: str, streams: int, hz: float) -> None:
    """Speak on a feed in real time: the first 30 s again and again, the count of samples goes on."""
    talks = [Talk("mic" if streams == 1 else f"call-{i:04d}", i) for i in range(streams)]
    courses = [[talk.at(step / hz) for step in range(1, int(30 * hz))] for talk in talks]
    pause, began, step = threading.Event(), time.monotonic(), 0
    with Publisher(endpoint) as feed:
        feed.publish(model())
        while True:
            feed.poll()
            at_s = (step + 1) / hz
            for course in courses:
                said = course[step % len(course)]
                feed.publish(replace(said, sample=int(at_s * RATE), time=time.time()))
            if step % max(int(hz), 1) == 0:
                for talk in talks:
                    feed.publish(status(talk.stream, captured_s=at_s))
                feed.publish(daemon(streams=streams, uptime_s=at_s))
            step += 1
            pause.wait(max(began + step / hz - time.monotonic(), 0))


def watch_feed(endpoint: str, pid_file: str) -> None:
    """Draw a feed as `streamcab watch` does, with the summary after it."""
    Path(pid_file).write_text(str(os.getpid()), encoding="utf-8")
    with Subscriber(endpoint) as feed:
        board = watch(feed)
    Console().print(summary(board))


class Breaking:
    """A feed that breaks after some messages."""

    def __init__(self, after: int = 5) -> None:
        self.left = after

    def drain(self) -> list[AnyMessage]:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the feed broke")
        return [prediction(at_s=10 - self.left / 10)]


def test_a_talk_is_repeatable_and_its_probabilities_add_up():
    a, b = Talk("mic", 3), Talk("mic", 3)
    for step in range(1, 50):
        said = a.at(step / 5)
        assert said == b.at(step / 5)
        assert not said.probs or abs(sum(said.probs.values()) - 1) < 1e-9


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["publish", endpoint, streams, hz]:
            publish(endpoint, int(streams), float(hz))
        case ["watch", endpoint, pid_file]:
            watch_feed(endpoint, pid_file)
        case ["break"]:
            watch(Breaking())
