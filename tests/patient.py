"""A daemon as a process that faults are done to, a caller in real time, and a subscriber that sees what a user sees."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from patience import PATIENCE_S
from serving import STREAMCAB, save_model
from speech import SMALL_STAGES, tiny_model

from streamcab.feed import Subscriber
from streamcab.message import AnyMessage, Prediction
from streamcab.nn.checkpoint import Checkpoint

CALLER = str(Path(__file__).with_name("rtp_caller.py"))
FRESH_MS = 1000.0
"""An answer that is no older than this is one in real time."""


def small_model(folder: Path, labels: tuple[str, ...] = ("au", "uk", "us")) -> Path:
    """A checkpoint of a net that is quick."""
    folder.mkdir(parents=True, exist_ok=True)
    return save_model(Checkpoint(tiny_model(2, stages=SMALL_STAGES, labels=labels), {"name": "tiny"}), folder)


@contextmanager
def calling(port: int, calls: int = 1, first: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """A program that makes calls, as long as the context lasts."""
    with subprocess.Popen(
        [sys.executable, CALLER, "127.0.0.1", str(port), str(calls), str(first)]
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Patient:
    """`streamcab listen --rtp` at `port`; its feed is at `port` + 2, its log in `folder`."""

    def __init__(self, folder: Path, port: int, *words: str, model: Path | None = None) -> None:
        self.port, self.log = port, folder / "log"
        self.endpoint = f"tcp://127.0.0.1:{port + 2}"
        self.model = model or small_model(folder)
        self.command = [
            *STREAMCAB,
            "listen",
            "--quiet",
            "--rtp",
            f"127.0.0.1:{port}",
            "--endpoint",
            self.endpoint,
        ]
        self.command += ["--model", str(self.model), "--log-level", "info", *words]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Begin; who wants to hear of it, listens."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self.command, stderr=log)
        return self.process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever became of the test: nothing of it goes on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def signal(self, number: int) -> None:
        """To the process, as the kernel's or an operator's."""
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> int:
        """As systemd would; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


@contextmanager
def patient(folder: Path, port: int, *words: str, calls: int = 1) -> Iterator[tuple[Patient, Subscriber]]:
    """A daemon that answers a caller in real time, and somebody who listens."""
    with (
        Patient(folder, port, *words) as one,
        calling(port, calls),
        Subscriber(one.endpoint) as feed,
    ):
        one.start()
        recovery_ms(feed)
        yield one, feed
        assert one.end() == 0, one.log.read_text(encoding="utf-8")


def wait_for(
    feed: Subscriber, wanted: Callable[[AnyMessage], bool], seconds: float = PATIENCE_S
) -> AnyMessage:
    """The first wanted message within so many seconds, whatever else is said meanwhile."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        message = feed.recv(left)
        if message is not None and wanted(message):
            return message
    raise AssertionError(f"waited {seconds:g} s in vain")


def fresh(message: AnyMessage) -> bool:
    """An answer in real time, as its own date tells."""
    if not isinstance(message, Prediction) or message.state in ("lost", "ended") or not message.sample:
        return False
    return message.lag_ms < FRESH_MS and abs(time.time() - message.time) * 1000 < FRESH_MS


def recovery_ms(feed: Subscriber, wanted: Callable[[AnyMessage], bool] = fresh) -> float:
    """Milliseconds until an answer in real time is heard."""
    began = time.monotonic()
    wait_for(feed, lambda m: fresh(m) and wanted(m))
    return 1000 * (time.monotonic() - began)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many programs that compute and never rest."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def renice(pid: int, nice: int) -> None:
    """All threads of a process: each has a niceness of its own."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.setpriority(os.PRIO_PROCESS, int(thread), nice)
