"""The samples behind a WAV header, read forwards: the same from a file as from a pipe.

A header is believed as far as the bytes bear it out. A recorder that was killed leaves a size that is 0 or too large,
and one that wrote more than it could count leaves one that is too small: what is there is heard, and `note` says so.
Knows nothing of pipes or threads.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import AudioError
from streamcab.source.decoder import Decoder, Parts
from streamcab.source.pcm import Format, decode, read_wav_header

PIECE = 1 << 16
"""Bytes asked for in one read."""
CHUNKS = frozenset(
    kind.ljust(4).encode()
    for kind in (
        *(
            "LIST",
            "INFO",
            "RIFF",
            "fact",
            "cue",
            "plst",
            "labl",
            "note",
            "ltxt",
            "smpl",
            "inst",
            "bext",
            "iXML",
        ),
        *(
            "axml",
            "chna",
            "id3",
            "ID3",
            "JUNK",
            "junk",
            "PAD",
            "FLLR",
            "PEAK",
            "DISP",
            "acid",
            "cart",
            "_PMX",
        ),
        *("umid", "minf", "elm1", "regn", "afsp", "adtl", "strc", "levl"),
    )
)
"""Kinds of chunk that programs put behind the samples."""
TAGS = (b"TAG", b"ID3", b"APETAGEX")
"""How tags begin that are no chunks."""
UNSAID_S = 0.1
"""So much more than the header claims needs no word."""

Read = Callable[[int], bytes | None]


class WavData:
    """The data of a WAV stream.

    read  up to so many bytes as soon as there are some; b"" at the end; None when nobody wants them any more
    peek  as `read`, for what may follow the end that the header claims; need not wait for ever
    """

    def __init__(self, format: Format, read: Read, peek: Read | None = None) -> None:
        self._format, self._read, self._peek = format, read, peek or read
        self._taken = 0
        self.odd = 0
        """Bytes left over at the end, less than one frame."""
        self.abandoned = False
        """Whether `read` said that nobody wants more."""

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield frames (n, channels), as the bytes come."""
        format, rest, size = self._format, b"", self._format.size
        while True:
            if size is not None and self._taken >= size:
                data = self._behind(size)
                size = None
                if not data:
                    break
            else:
                found = self._read(PIECE if size is None else min(PIECE, size - self._taken))
                if found is None:
                    self.abandoned = True
                    return
                data = found
                if not data:
                    break
            self._taken += len(data)
            data = rest + data
            whole = len(data) - len(data) % format.frame
            rest = data[whole:]
            if whole:
                yield decode(data[:whole], format)
        self.odd = len(rest)

    def _behind(self, size: int) -> bytes:
        """Return the first bytes after the claimed end if they are samples, or else nothing."""
        lacks = -size % self._format.frame
        padding = (
            size % 2 if not lacks else 0
        )  # a chunk of odd size is followed by a byte that does not count
        head = b""
        while len(head) < padding + 8:
            more = self._peek(padding + 8 - len(head))
            if not more:
                break
            head += more
        if len(head) - padding < (lacks or self._format.frame):
            return b""
        for kind in (head[padding:], head):
            if kind.startswith(TAGS) or kind[:4] in CHUNKS:
                return b""
            if self._format.chunks and re.match(rb"[\w .-]{4}", kind):
                return b""
        return head

    @property
    def frames(self) -> int:
        """Frames so far."""
        return self._taken // self._format.frame

    @property
    def note(self) -> str:
        """Return, at the end, what was wrong with the header, in words; or an empty text."""
        format = self._format
        there = self.frames / format.rate
        if not self.frames:
            return ""
        if format.unfinished:
            return (
                "its header claims no samples, as when a recorder is killed; "
                f"all {there:.2f} s that follow are heard"
            )
        if format.size is None:
            return ""
        claimed = format.size // format.frame / format.rate
        if self.frames < format.size // format.frame:
            return f"cut off after {there:.2f} s of {claimed:.2f} s; what is there is heard"
        if there - claimed > UNSAID_S:
            return f"its header claims {claimed:.2f} s, but {there:.2f} s follow; all of it is heard"
        return ""


def open_wav(path: Path, head: bytes) -> Decoder | None:
    """Open the file as uncompressed WAV; return None when it is something else, or a WAV of a rarer kind."""
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:12] != b"WAVE":
        return None
    file = path.open("rb")
    try:
        format = read_wav_header(file.read)
    except AudioError:
        file.close()
        return None
    return WavDecoder(path, file, format)


class WavDecoder(Decoder):
    """An uncompressed WAV file."""

    def __init__(self, path: Path, file: BinaryIO, format: Format) -> None:
        super().__init__(path)
        self._file = file
        self._data = WavData(format, file.read)
        self.rate, self.channels = format.rate, format.channels
        self.floats = format.encoding.startswith("f")
        self.frames = None
        if file.seekable():
            there = os.fstat(file.fileno()).st_size - file.tell()  # `classify - < a.wav` has no path
            self.frames = min(there, format.size or there) // format.frame
        self._parts = Parts(iter(self._data), np.zeros((0, format.channels), np.float32))

    def read(self, size: int) -> NDArray[np.float32]:
        """See Decoder."""
        frames = self._parts.take(size)
        if len(frames) < size and self._data.note and not self.notes:
            self.notes.append(self._data.note)
        return frames

    def close(self) -> None:
        """See Decoder."""
        self._file.close()
