"""Recording retention: names the files, deletes them by age and total size, and reports how much may still be written.

Owns the limits: bytes of all recordings together, their age, and the free space to keep on the disk. It deletes only
files whose names it could have given, and none that is being written, by any process. Knows nothing of audio.
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from streamcab.clock import BELIEVED_S, MACHINE, Clock, Doubt
from streamcab.errors import StreamcabError
from streamcab.record import flac

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*\.[0-9]{8}T[0-9]{6}\.[0-9]{3}Z\.flac")


@dataclass
class Limits:
    """max_bytes of all recordings together; max_age_s since one was last written; min_free_bytes on the disk."""

    max_bytes: int
    max_age_s: float
    min_free_bytes: int


class Retention:
    """Recordings in `folder`, which is made. StreamcabError: it cannot be written, or the disk is nearly full."""

    def __init__(self, folder: Path, limits: Limits, clock: Clock = MACHINE, processes: int = 1) -> None:
        """`processes` share the room that there is; where there are several, one has found that they may record."""
        self.folder, self.limits, self._processes = folder, limits, processes
        self.doubt = ""  # why nothing is too old, in words
        self._clock, self._doubt = clock, Doubt(clock)
        self.deleted = 0  # files
        self.room = 0  # bytes that may be written before `tidy` must look again
        self.why = ""  # nothing may be written, in words
        trouble = ""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(0, "Permission denied")
            self.tidy(())
        except OSError as error:
            trouble = f"cannot record into {folder}: {error.strerror}"
        if self.why:
            trouble = f"not recorded: {self.why}"
        if trouble and processes == 1:  # one of several rather waits for room: the others hear calls already
            raise StreamcabError(trouble)

    def path(self, stream: str, unix: float) -> Path:
        """Return a new path for a recording of `stream` that begins at this Unix time."""
        while True:
            whole, ms = divmod(round(unix * 1000), 1000)
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(whole))
            path = self.folder / f"{stream}.{stamp}.{ms:03d}Z.flac"
            if not path.exists():
                return path
            unix += 0.001

    def tidy(self, in_use: Container[str]) -> None:
        """Delete recordings that are too old or too many, oldest first, except those `in_use`; update the room left."""
        now, jumped_s = self._clock.time(), self._doubt.jumped_s()
        self.doubt = (
            f"the clock has jumped by {jumped_s / 86_400:+.1f} days: nothing is deleted for its age until it is back "
            f"or has stood so for {BELIEVED_S / 60:g} minutes"
            if jumped_s
            else ""
        )
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        found.append((status.st_mtime, entry.name, status.st_size))
        total = sum(size for _, _, size in found)
        for written, name, size in sorted(found):
            too_old = not jumped_s and now - written > self.limits.max_age_s
            if not too_old and total <= 0.9 * self.limits.max_bytes:
                break
            with contextlib.suppress(FileNotFoundError):
                if name in in_use or flac.in_use(self.folder / name):
                    continue
                os.unlink(self.folder / name)
                self.deleted += 1
            total -= size
        free = shutil.disk_usage(self.folder).free
        least = self.limits.min_free_bytes
        self.room = min(self.limits.max_bytes - total, free - least) // self._processes
        self.why = ""
        if free <= least:
            self.why = f"{self.folder} has {free / 1e9:.2f} GB free, and {least / 1e9:g} GB shall stay free"
        elif self.room <= 0:
            self.why = (
                f"{self.folder} is full: {total / 1e9:.2f} of {self.limits.max_bytes / 1e9:g} GB, all in use"
            )
