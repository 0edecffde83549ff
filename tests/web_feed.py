"""Calls as a daemon tells of them, for tests of the page: by hand, or a whole feed of them."""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from streamcab.feed import Publisher
from streamcab.message import DaemonStatus, ModelInfo, Prediction, Status

LABELS = ["uk", "us", "in"]


def model(stream: str = "mic", labels: Sequence[str] = LABELS, **fields: Any) -> ModelInfo:
    given = {"time": 1000.0, "model": "ab12" * 4, "name": "tiny", "rate": 8000, "normaliser": "running"}
    given |= {"gate": True, "window_s": 30.0, "licence": "none", "corpus": "none", "run": "r1"}
    return ModelInfo(stream=stream, labels=list(labels), **{**given, **fields})


def answer(
    stream: str = "mic", at_s: float = 5.0, probs: Sequence[float] = (0.7, 0.2, 0.1), **fields: Any
) -> Prediction:
    """The answer at `at_s` seconds of a call that began at Unix time 1000."""
    by_label = dict(zip(LABELS, probs, strict=True)) if probs else {}
    top = max(by_label, key=lambda label: by_label[label]) if by_label else None
    given = {"time": 1000.0 + at_s, "sample": int(at_s * 8000), "rate": 8000, "labels": LABELS, "run": "r1"}
    given |= {"probs": by_label, "now": by_label, "top": top, "confidence": by_label[top] if top else None}
    given |= {"state": "live", "window_s": 30.0, "voiced_s": at_s / 2, "heard_s": at_s / 2, "level_db": -24.0}
    given |= {"lag_ms": 80.0, "lost_ms": 0.0, "overflows": 0, "model": "ab12" * 4, "hears": "speech"}
    return Prediction(stream=stream, **{**given, **fields})


def status(stream: str = "mic", **fields: Any) -> Status:
    given = {"time": 1001.0, "state": "live", "source": "test", "rate": 8000, "captured_s": 1.0, "run": "r1"}
    given |= {"classified_s": 1.0, "lag_ms": 70.0, "lost_ms": 0.0, "overflows": 0}
    return Status(stream=stream, **{**given, **fields})


def shares(number: int, at_s: float) -> list[float]:
    """Probabilities that move slowly, another way for each call."""
    weights = [math.exp(2.2 * math.sin(number * (i + 1.7) + at_s / (25 + 9 * i))) for i in range(len(LABELS))]
    return [w / sum(weights) for w in weights]


class Calls:
    """A feed of calls that began before it: the next half second of them, as often as it is asked."""

    def __init__(self, publisher: Publisher, count: int) -> None:
        self.publisher, self.count, self.turn = publisher, count, 0
        self.began = [time.time() - 5 - number % 240 for number in range(count)]

    def names(self) -> Iterator[str]:
        return (f"call-{number:04d}" for number in range(self.count))

    def begin(self) -> None:
        for name, began in zip(self.names(), self.began, strict=True):
            self.publisher.publish(model(name, time=began))

    def go_on(self) -> None:
        now = time.time()
        for number, name in enumerate(self.names()):
            at_s = now - self.began[number]
            quiet = number % 17 == 3
            hears = "silence" if quiet else ("speech", "sound", "speech")[(number + self.turn // 6) % 3]
            probs = () if quiet else shares(number, at_s)
            flaws = ["noisy"] if number % 13 == 5 else []
            self.publisher.publish(answer(name, at_s, probs, time=now, hears=hears, flaws=flaws))
            if (self.turn + number) % 2 == 0:
                where = f"RTP from 192.0.2.{number % 250}:{4000 + number}"
                self.publisher.publish(
                    status(name, time=now, source=where, captured_s=at_s, hears=hears, flaws=flaws)
                )
            if number % 50 == 0:
                self.publisher.poll()
        self.publisher.publish(
            DaemonStatus(
                stream="daemon", time=now, streams=self.count, pass_ms=9.0, intervals_per_s=40.0 * self.count,
                lost_ms=0.0, uptime_s=60.0,
            )
        )  # fmt: skip
        self.publisher.poll()
        self.turn += 1


@contextmanager
def feed_of(count: int, every_s: float = 0.5) -> Iterator[Publisher]:
    """A feed of so many live calls, in a thread of its own."""
    over = threading.Event()
    with Publisher("tcp://127.0.0.1:*") as publisher:
        calls = Calls(publisher, count)

        def run() -> None:
            calls.begin()
            while not over.is_set():
                due = time.monotonic() + every_s
                calls.go_on()
                while (left := due - time.monotonic()) > 0 and not over.wait(min(left, 0.02)):
                    publisher.poll()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield publisher
        finally:
            over.set()
            thread.join()
