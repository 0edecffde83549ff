"""A terminal taken over and given back: alternate screen, hidden cursor, keys without Enter.

Owns `Screen`. Writes only the rows that differ from what stands there, so a picture neither flickers nor
costs much over a slow line (rich's Live rewrites every cell). Where standard input is no terminal, or belongs
to another job, there are no keys. Knows nothing of streams.
"""

import contextlib
import os
import select
import sys
import termios
import threading
import tty
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.control import Control
from rich.segment import Segment, Segments

from streamcab.view.frame import ASCII, Frame
from streamcab.view.keyboard import decode

_BEGIN = Segment("\x1b[?2026h", None, [])  # terminals that know it show the whole picture at once
_END = Segment("\x1b[?2026l", None, [])


class Screen:
    """The terminal behind `console` for as long as the `with` lasts."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.gone = False  # whether the terminal has hung up
        self._keys = _own_terminal()
        self._saved: list[Any] | None = None
        self._shown: list[list[Segment]] = []
        self._size = (0, 0)

    @property
    def has_keys(self) -> bool:
        return self._keys is not None

    def __enter__(self) -> Self:
        try:
            if self._keys is not None:
                self._saved = termios.tcgetattr(self._keys)
                tty.setcbreak(self._keys, termios.TCSANOW)
            self.console.set_alt_screen(True)
            self.console.show_cursor(False)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._shown = []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.console.show_cursor(True)
            self.console.set_alt_screen(False)
            self.console.file.flush()
        if self._saved is not None and self._keys is not None:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._saved)
            self._saved = None

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows now, by the terminal: COLUMNS would keep its value from the start."""
        try:
            columns, rows = os.get_terminal_size(self.console.file.fileno())
        except (AttributeError, OSError, ValueError):
            columns = rows = 0
        return (columns, rows) if columns and rows else (self.console.size.width, self.console.size.height)

    def show(self, frame: Frame) -> None:
        """Write the rows that differ to the screen."""
        size = (frame.width, len(frame.rows))
        if size != self._size:
            self._shown, self._size = [], size
        out: list[Segment] = [] if self._shown else [Control.clear().segment]
        plain = self.console.options.ascii_only
        for y, row in enumerate(frame.rows):
            if y >= len(self._shown) or row != self._shown[y]:
                out.append(Control.move_to(0, y).segment)
                out += [Segment(s.text.translate(ASCII), s.style) for s in row] if plain else row
        self._shown = frame.rows
        if out:
            self.console.print(Segments([_BEGIN, *out, _END]), end="", soft_wrap=True, highlight=False)

    def wait(self, seconds: float) -> list[str]:
        """Wait for keys pressed within `seconds`; ends at the first."""
        if self._keys is None:
            threading.Event().wait(seconds)
            return []
        try:
            if not select.select([self._keys], [], [], max(seconds, 0))[0]:
                return []
            data = os.read(self._keys, 1024)
            if data.endswith(b"\x1b") and select.select([self._keys], [], [], 0.03)[0]:
                data += os.read(self._keys, 1024)  # the rest of a sequence that came in two pieces
        except OSError:
            data = b""
        self.gone = not data
        return decode(data)


def _own_terminal() -> int | None:
    """Return the descriptor of standard input when it is a terminal that this job may read."""
    try:
        fd = sys.stdin.fileno()
        return fd if os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp() else None
    except (AttributeError, OSError, ValueError):
        return None
