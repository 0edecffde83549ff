"""The view on a terminal: draws the feed, handles keys and signals, and restores the terminal.

Owns the loop and its pace. Pictures are made in one.py and fleet.py, the terminal is screen.py's.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console

from streamcab.view.board import Board
from streamcab.view.fleet import render_fleet, table_rows
from streamcab.view.frame import Frame
from streamcab.view.keyboard import HINT, render_keys
from streamcab.view.one import render_one
from streamcab.view.plain import Feed, lines
from streamcab.view.screen import Screen
from streamcab.view.view_state import ViewState, sort
from streamcab.view.waiting import render_waiting

PACE_ONE_S, PACE_FLEET_S = 0.1, 0.2  # seconds between two pictures
SORT_S = 1.0  # seconds that an order of rows stands, so that rows can be read


def drawable(console: Console) -> bool:
    """Return whether the view can draw on this console; otherwise use `lines`.

    A terminal without TERM counts as dumb.
    """
    return console.is_terminal and not console.is_dumb_terminal and named(console._environ)


def named(environ: Mapping[str, str]) -> bool:
    """Return whether TERM names a terminal whose escape codes are known."""
    return bool(environ.get("TERM", "").strip())


def watch(
    feed: Feed,
    console: Console | None = None,
    *,
    stop: threading.Event | None = None,
    caption: str | Callable[[], str] = "",
    board: Board | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Board:
    """Draw the feed until q, Ctrl-C or `stop`, and return the board, for a `summary`.

    `caption` is shown at the top, asked for again each time when it is a function. SIGTERM ends the
    process with 143 once the terminal is clean, unless the caller has a handler (which then sets `stop`).
    Where nothing can be drawn it writes `lines` instead.
    """
    console, stop, board = console or Console(), stop or threading.Event(), board or Board()
    if not drawable(console):
        return lines(feed, console.file, stop=stop, board=board, clock=clock)
    signals, screen = _Signals(), Screen(console)
    try:
        with signals, screen:
            _Loop(feed, screen, board, caption, clock).run(stop, signals)
    except KeyboardInterrupt:
        pass  # from a handler of the caller's: the terminal is clean by now
    except OSError:
        if not screen.gone and not _hung_up(console):
            raise
    if signals.caught == signal.SIGTERM:
        raise SystemExit(128 + signal.SIGTERM)
    return board


class _Loop:
    def __init__(
        self,
        feed: Feed,
        screen: Screen,
        board: Board,
        caption: str | Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self.feed, self.screen, self.board, self.clock = feed, screen, board, clock
        self.caption: Callable[[], str] = caption if callable(caption) else lambda: caption
        self.view_state = ViewState()
        self.hint = HINT if screen.has_keys else ""
        self.began = clock()
        self.names: list[str] = []
        self._sorted = (float("-inf"), "", "", 0)
        self._drawn: tuple[Any, ...] = ()

    def run(self, stop: threading.Event, signals: "_Signals") -> None:
        while not stop.is_set() and not signals.caught and not self.screen.gone:
            if signals.suspend:
                signals.stop_here(self.screen)
                self._drawn = ()
            messages = self.feed.drain()
            now = self.clock()
            if messages:
                self.board.add(messages, now)
            self._sort(now)
            self._draw(now)
            if not self._keys(now + self._pace()):
                return

    def _keys(self, until: float) -> bool:
        """Wait for the next picture; a key brings it forward. False: quit."""
        keys = self.screen.wait(max(until - self.clock(), 0.001))
        return all(self.view_state.key(key, self.names, self.view_state.shown(self.board)) for key in keys)

    def _pace(self) -> float:
        return PACE_FLEET_S if self.view_state.shown(self.board) == "fleet" else PACE_ONE_S

    def _sort(self, now: float) -> None:
        at, sorting, needle, count = self._sorted
        same = (sorting, needle) == (self.view_state.sorting, self.view_state.filter)
        # a new stream shows at once while they are few; among many the order waits for its second
        if same and now - at < SORT_S and (count == len(self.board.streams) or count > 50):
            return
        self.names = sort(self.board, self.view_state)
        self._sorted = (now, self.view_state.sorting, self.view_state.filter, len(self.board.streams))

    def _draw(self, now: float) -> None:
        """Draw if anything has changed."""
        size = self.screen.size
        caption, age = self.caption(), self.board.age(now)
        seconds = int(now - self.began if age is None else age if self.board.quiet(now) else 0)
        seen = (size, caption, seconds, self.board.changes, str(self.view_state), self._sorted[0])
        if seen != self._drawn:
            self._drawn = seen
            self.screen.show(self._picture(size, now, caption))

    def _picture(self, size: tuple[int, int], now: float, caption: str) -> Frame:
        if self.view_state.help:
            return render_keys(size)
        if not self.board.streams:
            return render_waiting(self.board, size, now, caption=caption, hint=self.hint, since=self.began)
        if self.view_state.shown(self.board) == "one":
            name = self.view_state.stream(self.names)
            if name is None or name not in self.board.streams:
                name = next(iter(self.board.streams))
            return render_one(self.board, name, size, now, caption=caption, hint=self.hint)
        self.view_state.per_page = table_rows(size[1])
        return render_fleet(
            self.board, size, now, self.view_state, names=self.names, caption=caption, hint=self.hint
        )


class _Signals:
    """SIGINT, SIGTERM and SIGTSTP noted, so that no picture is torn; a second SIGTERM is obeyed at once.

    Only in the main thread, and only where the caller has left Python's own handlers in place.
    """

    def __init__(self) -> None:
        self.caught = 0
        self.suspend = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number, usual in (
                (signal.SIGINT, signal.default_int_handler),
                (signal.SIGTERM, signal.SIG_DFL),
                (signal.SIGTSTP, signal.SIG_DFL),
            ):
                if signal.getsignal(number) == usual:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stop_here(self, screen: Screen) -> None:
        """Handle Ctrl-Z: give the terminal back, stop, and take it again when we are continued."""
        self.suspend = False
        screen.__exit__(None, None, None)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._note)
        screen.__enter__()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTSTP:
            self.suspend = True
        elif self.caught:
            raise SystemExit(128 + number)
        else:
            self.caught = number


def _hung_up(console: Console) -> bool:
    """Return whether the error means that the terminal is gone."""
    try:
        return not os.isatty(console.file.fileno())
    except (OSError, ValueError):
        return True
