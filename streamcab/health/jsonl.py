"""The feed as files of lines: when one is full it makes room for the next, and the oldest goes.

FILE is the newest, FILE.1 the one before, up to FILE.KEEP. Two writers of one FILE are refused. Lines are whole
whatever happens (linefile.py). Knows nothing of the feed.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from streamcab.errors import StreamcabError
from streamcab.ops.linefile import LineFile


class JsonLinesFile:
    """Appends lines to `path`, and rotates it at `max_bytes`. StreamcabError when it cannot be opened."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self.path, self.max_bytes, self.keep = path, max_bytes, keep
        self.written = 0  # lines
        self.dropped = 0  # lines that a full disk or a missing folder refused
        self.failing = False  # whether the newest were dropped
        try:
            self._file = LineFile(path, alone=True)
        except OSError as error:
            raise StreamcabError(self._why(error)) from None

    def write(self, lines: Sequence[bytes]) -> str:
        """Append `lines`, which bear no line ends. What went wrong in words, else nothing; never raises."""
        wrong, at = "", 0
        self.failing = False
        while at < len(lines):
            try:
                if self._file.renew():
                    wrong = f"{self.path} was removed; a new file is created"
                end = self._fitting(lines, at)
                if end == at:
                    self._rotate()
                    continue
                self._file.append(b"".join(line + b"\n" for line in lines[at:end]))
                self.written += end - at
            except OSError as error:
                end = max(self._fitting(lines, at), at + 1)
                self.dropped += end - at
                self.failing = True
                wrong = f"{self._why(error)}; lines dropped so far: {self.dropped}"
            at = end
        return wrong

    def counters(self) -> dict[str, int]:
        """Return `jsonl-dropped`: lines that could not be written."""
        return {"jsonl-dropped": self.dropped} if self.dropped else {}

    def reopen(self) -> None:
        """Continue in a new file if this one was moved away, as logrotate does."""
        self._file.close()
        try:
            self._file.renew()
        except OSError as error:
            raise StreamcabError(self._why(error)) from None

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _fitting(self, lines: Sequence[bytes], at: int) -> int:
        """Return the end of those from `at` on that the file has room for; a line too long for any gets an empty
        one."""
        end, size = at, self._file.size
        while end < len(lines) and (not size or size + len(lines[end]) + 1 <= self.max_bytes):
            size += len(lines[end]) + 1
            end += 1
        return end

    def _why(self, error: OSError) -> str:
        taken = isinstance(error, BlockingIOError)
        return f"cannot write {self.path}: {'another streamcab writes it' if taken else error.strerror}"

    def _rotate(self) -> None:
        self._file.close()
        older = [self.path.with_name(f"{self.path.name}.{n}") for n in range(1, self.keep + 1)]
        if older:
            for source, target in zip(older[-2::-1], older[:0:-1], strict=True):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(source, target)
            os.replace(self.path, older[0])
        else:
            os.unlink(self.path)
        self._file.renew()
