"""The feed as lines of text, for logs, pipes and terminals that cannot draw: one line per stream and second.

The lines are for people. When the reader goes away, writing ends quietly. Knows nothing of sockets.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

from rich.cells import cell_len

from streamcab.message import AnyMessage, Prediction, Status
from streamcab.view.board import Board
from streamcab.view.frame import clean, duration, percent
from streamcab.view.words import doubt


class Feed(Protocol):
    """The part of a `streamcab.feed.Subscriber` that the view needs."""

    def drain(self) -> list[AnyMessage]:
        """Return every message that has arrived, without waiting."""


class Writer(Protocol):
    """The destination of lines: a text file, or its wrapper."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def fileno(self) -> int: ...


def lines(
    feed: Feed,
    stream: Writer,
    *,
    every: float = 1.0,
    stop: threading.Event | None = None,
    board: Board | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Board:
    """Write until `stop` is set, Ctrl-C, or the reader is gone; the newest lines are still written then.

    Returns the board, for a `summary`.
    """
    board, stop = board or Board(), stop or threading.Event()
    due = _Due()
    following = clock()
    try:
        while not stop.wait(min(every, 0.1)):
            messages = feed.drain()
            if messages:
                board.add(messages, clock())
                due.take(messages)
            if clock() >= following:
                following = max(following + every, clock())
                due.write(stream)
        messages = feed.drain()
        board.add(messages, clock())
        due.take(messages)
        due.write(stream)
    except KeyboardInterrupt:
        with contextlib.suppress(BrokenPipeError):
            due.write(stream)
    except BrokenPipeError:
        _mute(stream)
    return board


def line(message: Prediction | Status, name_cells: int = 12, label_cells: int = 0) -> str:
    """Format one message as one line."""
    clock = _clock(message.time)
    name = clean(message.stream)
    head = f"{clock}  {name}{' ' * (name_cells - cell_len(name))}  {message.state:<7}"
    if isinstance(message, Status):
        hindered = message.source_state not in ("starting", "live", "ended")
        words = [f"source {message.source_state}" if hindered else "", message.detail or message.source]
        words += [f"samples: {', '.join(message.flaws)}"] if message.flaws else []
        return f"{head}  {clean(': '.join(word for word in words if word))}".rstrip()
    label, sure = "-", ""
    if message.top is not None and message.state != "silent":
        label, sure = clean(message.top), percent(message.confidence or 0.0)
    level = "-" if message.level_db is None else f"{message.level_db:.0f} dB"
    text = (
        f"{head}  {label}{' ' * (label_cells - cell_len(label))}  {sure:>5}"
        f"   voiced {message.voiced_s:5.1f} s   level {level:>7}"
        f"   lag {duration(message.lag_ms):>6}   lost {duration(message.lost_ms):>6}"
    )
    text += f"   {doubt(message)}" if sure and doubt(message) else ""
    return text + (f"   overflows {message.overflows}" if message.overflows else "")


def _clock(unix: float) -> str:
    """Format the time of day; of no day where a stranger's message says so."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(unix))
    except (OverflowError, ValueError, OSError):
        return "--:--:--"


class _Due:
    """Messages that are not written yet: each stream's newest prediction, and statuses of a new state."""

    def __init__(self) -> None:
        self._newest: dict[str, Prediction] = {}
        self._statuses: list[Status] = []
        self._said: dict[str, str] = {}  # stream -> the state and detail that were written last
        self._name_cells, self._label_cells = 8, 2

    def take(self, messages: list[AnyMessage]) -> None:
        for message in messages:
            if isinstance(message, Prediction):
                self._newest[message.stream] = message
            elif isinstance(message, Status):
                said = f"{message.state} {message.source_state} {message.detail} {message.flaws}"
                if self._said.get(message.stream) != said:
                    self._statuses.append(message)
                if message.state == "ended":
                    self._said.pop(message.stream, None)  # names of ended calls do not pile up
                else:
                    self._said[message.stream] = said

    def write(self, stream: Writer) -> None:
        messages: list[Prediction | Status] = [*self._statuses, *self._newest.values()]
        if not messages:
            return
        for message in messages:
            self._name_cells = min(max(self._name_cells, cell_len(message.stream)), 40)
            if isinstance(message, Prediction):
                cells = max((cell_len(clean(label)) for label in message.labels), default=0)
                self._label_cells = min(max(self._label_cells, cells), 24)
        stream.write("".join(line(m, self._name_cells, self._label_cells) + "\n" for m in messages))
        stream.flush()
        self._statuses, self._newest = [], {}


def _mute(stream: Writer) -> None:
    """Discard the buffered lines: their reader is gone, and the interpreter would complain at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
