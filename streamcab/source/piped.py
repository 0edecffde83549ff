"""A file that comes through a pipe, to its end: `classify -`, `classify <(command)`, a named pipe.

WAV is heard as it comes; of what else there is the end is needed, so it is put aside on the disk first. A stream that
may never end is another matter, and for `listen --stdin`. Knows nothing of streams.
"""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from streamcab.errors import AudioError, SourceError
from streamcab.source.decoder import Decoder
from streamcab.source.pcm import read_wav_header
from streamcab.source.wav import WavDecoder

STANDARD = "-"
"""The name of standard input."""


def is_pipe(path: Path) -> bool:
    """Return whether a file can be read once and forwards only."""
    if str(path) == STANDARD:
        return True
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    # What /dev/stdin is depends on what stands behind it.
    return stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or (stat.S_ISCHR(kind) and _is_standard(path))


def _is_standard(path: Path) -> bool:
    return str(path) in ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


class _Recorded:
    """Reads a pipe, and keeps the data so that it can be read again from the start."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.kept = file, b""

    def read(self, n: int) -> bytes:
        data = self._file.read(n)
        self.kept += data
        return data


def open_pipe(path: Path, open_audio: Callable[[Path], Decoder]) -> Decoder:
    """Open audio that comes through a pipe; raises SourceError and AudioError like `open_audio`."""
    try:
        if str(path) == STANDARD or _is_standard(path):
            if sys.stdin is None or sys.stdin.closed or os.isatty(0):
                raise SourceError(
                    f"{path}: standard input is a terminal, or closed: pipe a file into it, as in `cat a.wav |`"
                )
            file: BinaryIO = os.fdopen(os.dup(0), "rb")
        else:
            file = path.open("rb")
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened: {error.strerror}") from None
    recorded = _Recorded(file)
    try:
        return WavDecoder(path, file, read_wav_header(recorded.read))
    except AudioError:
        pass
    except OSError as error:
        file.close()
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
    return _put_aside(path, recorded.kept, file, open_audio)


def _put_aside(path: Path, begun: bytes, file: BinaryIO, open_audio: Callable[[Path], Decoder]) -> Decoder:
    """Read the same by way of a file that nobody sees."""
    try:
        with file, tempfile.NamedTemporaryFile() as whole:
            whole.write(begun)
            shutil.copyfileobj(file, whole)
            whole.flush()
            try:
                decoder = open_audio(Path(whole.name))
            except (AudioError, SourceError) as error:
                raise type(error)(str(error).replace(whole.name, str(path))) from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
    decoder.path = path
    return decoder
