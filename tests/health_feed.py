"""For tests of the commands for operators: a real feed that keeps speaking, and the commands as processes."""

import os
import queue
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from feeding import PATIENCE_S

from streamcab.feed import Publisher
from streamcab.feed.curve import ServerKeys
from streamcab.message import DAEMON, AnyMessage, DaemonStatus, ModelInfo, Prediction, Status

BEAT_S = 0.02


def prediction(stream: str = "mic", top: str | None = "uk", **fields: Any) -> Prediction:
    probs = {} if top is None else {top: 0.75, "us": 0.25}
    given = {
        "time": 1.0,
        "sample": 8_000,
        "rate": 8_000,
        "labels": ["us", "uk"],
        "probs": probs,
        "now": probs,
    }
    given |= {"top": top, "confidence": None if top is None else 0.75, "state": "live", "window_s": 1.0}
    given |= {"voiced_s": 1.0, "heard_s": 1.0, "level_db": -30.0, "lag_ms": 70.0, "lost_ms": 0.0}
    return Prediction(stream=stream, **{**given, "overflows": 0, "model": "5f0c", **fields})


def model(stream: str = "mic", **fields: Any) -> ModelInfo:
    given = {"time": 1.0, "model": "5f0c", "name": "test", "labels": ["us", "uk"], "rate": 8_000}
    given |= {"normaliser": "running", "gate": True, "window_s": 30.0, "licence": "none", "corpus": "none"}
    return ModelInfo(stream=stream, **{**given, **fields})


def daemon(**fields: Any) -> DaemonStatus:
    given = {
        "time": 1.0,
        "streams": 1,
        "pass_ms": 2.0,
        "intervals_per_s": 40.0,
        "lost_ms": 0.0,
        "uptime_s": 9.0,
    }
    return DaemonStatus(stream=DAEMON, **{**given, **fields})


class Speaker:
    """A publisher in a thread of its own: says what `say` is given, and `beat` over and over."""

    def __init__(
        self, endpoint: str = "tcp://127.0.0.1:*", run: str = "a1", keys: ServerKeys | None = None
    ) -> None:
        self._publisher = Publisher(endpoint, run=run, keys=keys)
        self.endpoint = self._publisher.endpoint
        self.beat: Sequence[AnyMessage] = ()
        self._waiting: queue.SimpleQueue[AnyMessage] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._speak)

    def say(self, *messages: AnyMessage) -> None:
        for message in messages:
            self._waiting.put(message)

    def _speak(self) -> None:
        while not self._stop.wait(BEAT_S):
            self._publisher.poll()
            while not self._waiting.empty():
                message = self._waiting.get()
                self._publisher.publish(message)
                if isinstance(message, Status) and message.state == "ended":
                    self._publisher.forget(message.stream)
            for message in self.beat:
                self._publisher.publish(message)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)
        self._publisher.close()


def command(name: str, *words: object, before: str = "") -> list[str]:
    """The words that run one of the commands."""
    code = f"{before}\nfrom streamcab.cli import health\nhealth.{name}.main(prog_name='streamcab {name}')"
    return [sys.executable, "-W", "error", "-c", code, *map(str, words)]


def run(name: str, *words: object, before: str = "") -> subprocess.CompletedProcess[str]:
    """A command to its end."""
    return subprocess.run(
        command(name, *words, before=before), capture_output=True, text=True, timeout=PATIENCE_S
    )


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process, ended with the context by SIGTERM, which it obeys with exit code 0 and no traceback."""
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )
    try:
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=PATIENCE_S)
            assert b"Traceback" not in errors, errors.decode()
            assert process.returncode == 0, errors.decode()
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def printed(process: subprocess.Popen[bytes], pattern: str) -> re.Match[str]:
    """The first line that it prints and that holds `pattern`."""
    assert process.stdout is not None
    deadline = time.monotonic() + PATIENCE_S
    while select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
        line = process.stdout.readline().decode()
        if not line:
            _, errors = process.communicate(timeout=PATIENCE_S)
            raise AssertionError(f"it ended: {errors.decode()}")
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"{pattern!r} was not printed")
