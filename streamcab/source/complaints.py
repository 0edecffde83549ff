"""Captures what libmpg123 writes to standard error, past Python, so that it can be reported once, in our words.

The library offers no way to hear of it, so the descriptor is exchanged while it decodes. What anybody else writes
meanwhile is passed on. Knows nothing of files or samples.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterator

ITS_OWN = re.compile(
    rb"\[src/libmpg123/|(Warning|Note|Error): (Xing|Illegal|Trying to resync|Skipped|Hit end|Real sample|Frankenstein)"
)
"""Beginnings of its lines."""
DAMAGE = b"] error: "
"""Complaints about samples that may sound wrong; the others are about tags and seeking."""
STDERR = 2
_alone = threading.Lock()


class Complaints:
    """The complaints of a decoder about one file.

    Attributes:
        count: Number of complaints.
        damage: Number of those that concern samples.
        first: Text of the first of these.
    """

    def __init__(self) -> None:
        self.count = self.damage = 0
        self.first = ""

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Count the library's lines in this block instead of showing them."""
        with _alone:
            try:
                ours = os.dup(STDERR)
            except OSError:  # there is no standard error
                yield
                return
            kept = os.memfd_create("streamcab-stderr", os.MFD_CLOEXEC)
            try:
                os.dup2(kept, STDERR)
                try:
                    yield
                finally:
                    os.dup2(ours, STDERR)
                if os.lseek(kept, 0, os.SEEK_CUR):
                    self._sort(kept, ours)
            finally:
                os.close(kept)
                os.close(ours)

    def _sort(self, kept: int, ours: int) -> None:
        os.lseek(kept, 0, os.SEEK_SET)
        with open(kept, "rb", closefd=False) as file:
            for line in file:
                if ITS_OWN.match(line):
                    self.count += 1
                    if DAMAGE in line:
                        self.damage += 1
                        self.first = (
                            self.first or line.decode(errors="replace").partition("] error: ")[2].strip()
                        )
                else:
                    with contextlib.suppress(OSError):
                        os.write(ours, line)
