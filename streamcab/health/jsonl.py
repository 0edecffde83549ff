"""A file of lines: when it is full it makes room for the next, and the oldest goes.

FILE is the newest, FILE.1 the one before, up to FILE.KEEP. Owns these files: two writers of one FILE are
refused. JsonLinesFile are whole whatever happens: what a full disk has cut is taken back, what a crash has cut is
closed by the next start. A file that is no longer at its path is begun anew there. Knows nothing of the feed.
"""

import contextlib
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from streamcab.errors import StreamcabError


class JsonLinesFile:
    """Appends lines to `path`, and rotates it at `max_bytes`. StreamcabError when it cannot be opened."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self.path, self.max_bytes, self.keep = path, max_bytes, keep
        self.written = 0  # lines
        self.dropped = 0  # lines that a full disk or a missing folder refused
        self.failing = False  # whether the newest were dropped
        self._fd = -1
        self._size = 0
        self._open()

    def write(self, lines: Sequence[bytes]) -> str:
        """Append `lines`, which bear no line ends. What went wrong in words, else nothing; never raises."""
        wrong = self._leave_if_gone()
        self.failing = False
        at = 0
        while at < len(lines):
            end, size = at, 0
            while end < len(lines) and (
                end == at or self._size + size + len(lines[end]) + 1 <= self.max_bytes
            ):
                size += len(lines[end]) + 1
                end += 1
            try:
                if self._fd < 0:
                    self._open()
                if self._size and self._size + size > self.max_bytes:
                    self._rotate()
                    continue
                self._append(b"".join(line + b"\n" for line in lines[at:end]))
                self.written += end - at
            except (OSError, StreamcabError) as error:
                self.dropped += end - at
                self.failing = True
                why = str(error) if isinstance(error, StreamcabError) else f"{self.path}: {error.strerror}"
                wrong = f"{why}; lines dropped so far: {self.dropped}"
            at = end
        return wrong

    def counters(self) -> dict[str, int]:
        """`jsonl-dropped`: lines that could not be written."""
        return {"jsonl-dropped": self.dropped} if self.dropped else {}

    def reopen(self) -> None:
        """Go on in a new file if somebody moved this one away, such as logrotate."""
        self.close()
        self._open()

    def close(self) -> None:
        """Give the file back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _leave_if_gone(self) -> str:
        """Close a file that is no longer at its path: what would be written there nobody would find."""
        if self._fd < 0:
            return ""
        here = os.fstat(self._fd)
        try:
            if os.path.samestat(os.stat(self.path), here):
                return ""
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:  # a path that may not be looked at; the file itself can still be written
            return ""
        self.close()
        return "" if here.st_nlink else f"{self.path} was removed; it is begun anew"

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            # Half a line would make the next one unreadable too.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)

    def _open(self) -> None:
        try:
            # Of the owner and the group alone: who speaks how is nobody else's business.
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StreamcabError(f"cannot write {self.path}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                size += os.write(fd, b"\n")
        except OSError as error:
            os.close(fd)
            taken = isinstance(error, BlockingIOError)
            why = "another streamcab writes it" if taken else error.strerror
            raise StreamcabError(f"cannot write {self.path}: {why}") from None
        self._fd, self._size = fd, size

    def _rotate(self) -> None:
        self.close()
        older = [self.path.with_name(f"{self.path.name}.{n}") for n in range(1, self.keep + 1)]
        if older:
            for source, target in zip(older[-2::-1], older[:0:-1], strict=True):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(source, target)
            os.replace(self.path, older[0])
        else:
            os.unlink(self.path)
        self._open()
