"""One worker as the pool sees it: a process with its orders, and what it reports.

The orders go to its standard input, as do new settings; it ends when that closes, even if the pool was killed. It
reports to a socket as a service does to systemd, tells of its calls on standard output, and leaves its newest messages
in memory that outlives it. Knows nothing of other workers.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from streamcab.calls import Entry
from streamcab.config.setting import decode
from streamcab.config.tree import Listen
from streamcab.message import ModelInfo
from streamcab.rtp.reuseport import Shared
from streamcab.workers.last_words import LastWords, reserve

HUNG_S = 60.0
"""A worker that has not answered for so long, though audio waits, hangs. On a machine without time to spare a pass at
the start of many calls takes 10 s and more, and another start would make that worse."""
ABORT_S = 5.0
"""How long a worker that hangs has to log where, before it is killed."""
START_S = 120.0
"""How long it may take to load, from a cold disk on a busy machine."""
PROGRAM = "streamcab.cli.worker"


class Orders(msgspec.Struct, frozen=True):
    """The orders of a worker at its start.

    Attributes:
        index: Its number, from 1 on.
        workers: How many there are.
        floor: Numbers of its messages begin above this.
        run: Identifies the daemon in the feed.
        endpoint: Where it publishes.
        names: Folder of the names in use.
        words: Descriptor of the memory for its newest messages.
        sockets: The sockets that it reads.
        room: Descriptor of the memory of `Room`.
        tells: Whether it reports on its calls.
        suffix: Ending of the names of its streams.
        settings: Those of `listen`, with its share of `max_streams` and threads.
    """

    index: int
    workers: int
    run: str
    floor: int
    endpoint: str
    names: str
    words: int
    sockets: Shared
    room: int
    tells: bool
    suffix: str
    settings: dict[str, Any]


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a worker's standard output: one of these."""

    entry: Entry | None = None
    model: ModelInfo | None = None
    error: str = ""


def packed(settings: Listen) -> dict[str, Any]:
    """Return settings as plain values."""
    plain: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=str)
    return plain


def unpacked(settings: dict[str, Any]) -> Listen:
    """Return settings from plain values."""
    return msgspec.convert(settings, Listen, dec_hook=decode)


# msgspec prepares a type when it is first used: two threads that did so at once would end the process.
msgspec.json.Decoder(Listen, dec_hook=decode)
_told = msgspec.json.Decoder(Told).decode


class Worker:
    """A process of `program` that follows these orders, `orders.words` aside; `told` takes what it tells, in a thread.

    ready    whether it has ever served          text    its state, in words
    error    why it could not start, in words    began   monotonic time of its start
    """

    def __init__(
        self,
        orders: Orders,
        folder: Path,
        streams: int,
        told: Callable[[Entry | ModelInfo], None],
        program: str = PROGRAM,
    ) -> None:
        self.orders = orders
        self.ready, self.text, self.error = False, "", ""
        self.began = self._alive = time.monotonic()
        self._aborted: float | None = None
        fd = reserve(streams)
        self.words = LastWords(fd)
        path = folder / f"notify-{orders.index}"
        path.unlink(missing_ok=True)
        self._reports = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._reports.bind(str(path))
        self._reports.setblocking(False)
        tty = sys.stderr is not None and sys.stderr.isatty()
        environment = {k: v for k, v in os.environ.items() if k != "WATCHDOG_PID"}
        environment |= {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(round(HUNG_S * 1e6))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if tty else None,  # the view may have the terminal
            pass_fds=[fd, orders.room, *orders.sockets.rtp, *orders.sockets.rtcp],
            env=environment,
            start_new_session=True,  # a terminal's Ctrl-C ends the pool, which ends its workers
        )
        self._send(msgspec.json.encode(msgspec.structs.replace(orders, words=fd)))
        os.close(fd)
        self._threads = [threading.Thread(target=self._hear, args=(told,), daemon=True)]
        if tty:
            self._threads.append(threading.Thread(target=self._copy_errors, daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def look(self, now: float) -> None:
        """Take its reports, and kill it if it hangs; PYTHONFAULTHANDLER logs where, as under systemd."""
        with suppress(BlockingIOError):
            while True:
                for field in self._reports.recv(4096).decode(errors="replace").split("\n"):
                    name, _, value = field.partition("=")
                    if name == "READY":
                        self.ready, self._alive = True, now
                    elif name == "WATCHDOG":
                        self._alive = now
                    elif name == "STATUS":
                        self.text = value
        if now - self._alive > (HUNG_S if self.ready else START_S) and self.code is None:
            if self._aborted is None:
                self._aborted = now
                self._process.send_signal(signal.SIGABRT)
            elif now - self._aborted > ABORT_S:  # it is stopped, or waits for a disk
                self._process.kill()

    def retune(self, settings: Listen) -> None:
        """Give it new settings, of which it applies those that can change."""
        self._send(msgspec.json.encode(packed(settings)))

    def finish(self) -> None:
        """Ask it to end."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def kill(self) -> None:
        """End it at once, and wait for that."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Wait for its end, and release what belongs to it."""
        self._process.wait()
        self.finish()
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._reports.close()
        self.words.close()

    def reason(self) -> str:
        """Return why it ended, in words."""
        code = self.code
        if code is None or code >= 0:
            return f"exit code {code}"
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except OSError:  # it has ended, which the pool finds
            pass

    def _hear(self, told: Callable[[Entry | ModelInfo], None]) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            try:
                one = _told(text)
            except msgspec.DecodeError:  # cut by its end
                continue
            if one.error:
                self.error = one.error
            if one.model is not None:
                told(one.model)
            if one.entry is not None:
                told(one.entry)

    def _copy_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with suppress(OSError):
                os.write(2, line)
