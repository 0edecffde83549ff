"""A real daemon for a test: in a thread with a subscriber, or as the command in a process of its own."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from patience import PATIENCE_S

from streamcab.audio.ring import Bank
from streamcab.daemon.loop import Daemon
from streamcab.daemon.settings import Settings
from streamcab.feed import Subscriber
from streamcab.message import AnyMessage, Prediction
from streamcab.nn.checkpoint import Checkpoint, save
from streamcab.record.recorder import Recorder
from streamcab.source import Line, Source

ANYWHERE = "tcp://127.0.0.1:*"
STREAMCAB = (sys.executable, "-m", "streamcab")


class Hand:
    """A source that a test writes by hand, as an RTP socket would: rows that come and go."""

    def __init__(self, rate: int = 8000, rows: int = 4, seconds: int = 60, live: bool = True) -> None:
        self.bank = Bank(rate, rows, seconds * rate)
        self.live, self.done = live, False
        self.lines: list[Line] = []
        self.released: list[str] = []
        self.closed = False

    def begin(self, name: str, row: int) -> Line:
        self.bank.reset(row)
        line = Line(name, self.bank, row, f"by hand, row {row}")
        self.lines.append(line)
        return line

    def start(self) -> None:
        pass

    def streams(self) -> list[Line]:
        new, self.lines = self.lines, []
        return new

    def release(self, line: Line) -> None:
        self.released.append(line.name)

    def counters(self) -> dict[str, int]:
        return {"by-hand": 1}

    def close(self) -> None:
        self.closed = True


@contextmanager
def serving(
    checkpoint: Checkpoint, sources: Sequence[Source], recorder: Recorder | None = None, **settings: object
) -> Iterator[Subscriber]:
    """A daemon on a port of its own; ended, and its death raised, with the context."""
    known = Settings(ANYWHERE, **settings)  # type: ignore[arg-type]
    daemon = Daemon(checkpoint, sources, known, recorder=recorder)
    stop = threading.Event()
    died: list[BaseException] = []

    def body() -> None:
        try:
            daemon.run(stop, await_subscriber_s=20)
        except BaseException as error:
            died.append(error)

    thread = threading.Thread(target=body)
    with Subscriber(daemon.endpoint) as feed:
        thread.start()
        try:
            yield feed
        finally:
            stop.set()
            thread.join(PATIENCE_S)
    assert not thread.is_alive(), "the daemon did not end"
    if died:
        raise died[0]


def until(
    feed: Subscriber, wanted: Callable[[AnyMessage], bool], timeout_s: float = PATIENCE_S
) -> list[AnyMessage]:
    """All messages up to and including the first wanted one; AssertionError when none comes in time."""
    heard = []
    while True:
        message = feed.recv(timeout_s)
        assert message is not None, f"silence for {timeout_s:g} s after {heard[-3:]}"
        heard.append(message)
        if wanted(message):
            return heard


def predictions(messages: Sequence[AnyMessage], stream: str | None = None) -> list[Prediction]:
    """The predictions among messages, of one stream or of all."""
    return [m for m in messages if isinstance(m, Prediction) and stream in (None, m.stream)]


def ended(stream: str) -> Callable[[AnyMessage], bool]:
    """For `until`: the last prediction of a stream."""
    return lambda m: isinstance(m, Prediction) and m.stream == stream and m.state == "ended"


def run(
    *words: str | Path,
    stdin: bytes | None = None,
    env: dict[str, str] | None = None,
    timeout: float = PATIENCE_S,
):
    """`streamcab WORDS...` to its end: its exit code, output and errors as text."""
    return subprocess.run(
        [*STREAMCAB, *map(str, words)],
        input=stdin,
        capture_output=True,
        timeout=timeout,
        env=os.environ | (env or {}),
    )


def here(*words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """As `run`, within this process: for the many mistakes that need no torch loaded anew each."""
    from click.testing import CliRunner

    from streamcab.cli import main

    done = CliRunner().invoke(main, [str(w) for w in words], env=env)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout.encode(), done.stderr.encode())


@contextmanager
def running(*words: str | Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """`streamcab WORDS...` as a process, ended with the context."""
    process = subprocess.Popen(
        [*STREAMCAB, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | (env or {}),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def save_model(checkpoint: Checkpoint, folder: Path) -> Path:
    """A checkpoint as a file, for commands."""
    path = folder / "model.safetensors"
    save(checkpoint, path)
    return path
