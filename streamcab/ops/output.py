"""The standard output of a command that runs for months: its disk may be full for a while.

Lines that cannot be written are dropped whole, counted and reported once, and the daemon goes on. A reader that is gone
is another matter: BrokenPipeError, as usual. Knows nothing of the lines.
"""

import contextlib
import logging
import os
from typing import TextIO

from streamcab.ops.linefile import LineFile

log = logging.getLogger("streamcab.output")


class Output:
    """Text to `stream`, by way of its descriptor where it has one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text: list[str] = []
        self._file: LineFile | None = None
        self._refused = False
        self.dropped = 0  # lines

    def write(self, text: str) -> int:
        """Keep text for the next flush."""
        self._text.append(text)
        return len(text)

    def flush(self) -> None:
        """Write the buffered lines."""
        text = "".join(self._text)
        self._text.clear()
        if not text:
            return
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError):  # no file: a test's, or a notebook's
            self._stream.write(text)
            self._stream.flush()
            return
        try:
            self._file = self._file or LineFile.on(descriptor)
            self._file.append(text.encode(errors="replace"))
        except BrokenPipeError:
            raise
        except OSError as error:
            self.dropped += text.count("\n")
            if not self._refused:
                self._refused = True
                log.warning("the output cannot be written: %s; the feed goes on without it", error.strerror)
            return
        if self._refused:
            self._refused = False
            log.warning("the output can be written again; %d lines of it are missing", self.dropped)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._stream.fileno()

    def give_up(self) -> None:
        """Discard everything from now on, including what the interpreter still holds for this stream."""
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
