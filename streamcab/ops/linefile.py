"""A file of lines that lasts for months: its disk fills, somebody moves it away, a crash cuts its last line.

The log, the feed as JSON lines and standard output are written by it. Knows nothing of what is written, nor of what to
do with a line that could not be.
"""

import contextlib
import fcntl
import os
from pathlib import Path


class LineFile:
    """Appends to the file at `path`, created if need be. OSError when it cannot be opened.

    Half a line never becomes part of the next one: a line that a full disk has cut is taken back by the only writer
    of a file, and else ends where it was cut.

    alone  nobody else may write it: BlockingIOError when another process does
    size   bytes that it holds, if `alone`
    """

    def __init__(self, path: Path | None, *, alone: bool = False) -> None:
        self.path, self.size = path, 0
        self._alone, self._torn, self._fd = alone, False, -1
        if path is not None:
            self._open(path)

    @classmethod
    def on(cls, descriptor: int) -> "LineFile":
        """Use an open descriptor that belongs to its owner: it is never reopened or closed."""
        file = cls(None)
        file._fd = descriptor
        return file

    def renew(self) -> bool:
        """Begin the file anew if it is closed or no longer at its path; OSError when it cannot be.

        Returns whether it had been removed, and what it held with it.
        """
        if self.path is None:
            return False
        removed = False
        if self._fd >= 0:
            here = os.fstat(self._fd)
            try:
                if os.path.samestat(os.stat(self.path), here):
                    return False
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError:  # a path that may not be looked at; the file itself can still be written
                return False
            removed = not here.st_nlink
            self.close()
        self._open(self.path)
        return removed

    def append(self, data: bytes) -> None:
        """Append `data`, which is whole lines, completely.

        Raises:
            OSError: It could not be written.
        """
        view = memoryview(b"\n" * self._torn + data)
        whole = len(view)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            if self._alone:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, self.size)
            elif len(view) < whole:
                self._torn = True
            raise
        self._torn = False
        self.size += whole

    def close(self) -> None:
        """Give the file back; `renew` opens it again."""
        if self.path is not None and self._fd >= 0:
            os.close(self._fd)
            self._fd, self.size = -1, 0

    def _open(self, path: Path) -> None:
        # Readable by owner and group only: the times of calls are private.
        flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(path, flags | (os.O_RDWR if self._alone else os.O_WRONLY), 0o640)
        size = 0
        if self._alone:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                size = os.fstat(fd).st_size
                if size and os.pread(fd, 1, size - 1) != b"\n":
                    size += os.write(fd, b"\n")
            except OSError:
                os.close(fd)
                raise
        self._fd, self.size, self._torn = fd, size, False
