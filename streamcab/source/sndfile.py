"""Decodes with libsndfile: FLAC, OGG, Opus, AIFF and the rarer kinds of WAV.

Owns the meaning of its errors and of its log. Knows nothing of streams.
"""

import os
import re
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from streamcab.source.decoder import Decoder
from streamcab.source.pcm import UNKNOWN_SIZE

UNKNOWN_FRAMES = 1 << 50
"""A FLAC written to a pipe does not know its length; libsndfile then claims some exa-frames."""
PAGE = 65307
"""Bytes of an OGG page at most."""


class Forwards(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is only read forwards.

    soundfile sets the position anew after each read of a file that can be wound; an MP3 then lacks what its next frame
    leans on, and is heard otherwise, depending on how much is read at a time.
    """

    def seekable(self) -> bool:
        """Return False."""
        return False


def open_sndfile(path: Path, _head: bytes) -> Decoder | None:
    """Open the file as libsndfile has it; return None when it knows no such format."""
    try:
        file = Forwards(os.fsencode(path))  # it knows only names that are text
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a name that ends in .raw
        return None
    return SndfileDecoder(path, file)


class SndfileDecoder(Decoder):
    """An open file of libsndfile's."""

    def __init__(self, path: Path, file: soundfile.SoundFile) -> None:
        super().__init__(path)
        self._file = file
        self.rate, self.channels = int(file.samplerate), int(file.channels)
        self.frames = int(file.frames) if file.frames < UNKNOWN_FRAMES else None
        self.floats = file.subtype in ("FLOAT", "DOUBLE")
        self._at = 0
        self._over = False
        self._look(file)

    def _look(self, file: soundfile.SoundFile) -> None:
        """Note what the header promises and the file does not hold."""
        # libsndfile mends a size in silence, but for its log: "data : 288000 (should be 143978)".
        sizes = re.search(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
        if sizes is not None:
            promised, there = int(sizes[1]), int(sizes[2])
            if there < promised < UNKNOWN_SIZE:
                self.notes.append(f"cut off: {there} of {promised} bytes of samples; what is there is heard")
        if file.format == "OGG" and not _ogg_ends(self.path):
            self.notes.append("cut off: its last page is missing; what is there is heard")

    def read(self, size: int) -> NDArray[np.float32]:
        """See Decoder. Where decoding fails, the file ends."""
        if self._over:
            return np.zeros((0, self.channels), np.float32)
        # Filled, since libsndfile's errors do not say how much they left intact.
        frames = np.full((size, self.channels), np.nan, np.float32)
        failed = False
        try:
            n = len(self._file.read(out=frames))
        except soundfile.LibsndfileError:
            failed = True
            gone = np.isnan(frames[:, 0])
            n = int(np.argmax(gone)) if gone.any() else size
        self._at += n
        if failed or n < size:
            self._over = True
            short = self.frames is not None and self._at < self.frames
            if short or failed:
                self._end_early()
        return frames[:n]

    def _end_early(self) -> None:
        if self.notes:
            return
        there = f"{self._at / self.rate:.2f} s"
        whole = f" of {self.frames / self.rate:.2f} s" if self.frames is not None else ""
        self.notes.append(f"cut off or damaged after {there}{whole}; what is there is heard")

    def close(self) -> None:
        """See Decoder."""
        self._file.close()


def _ogg_ends(path: Path) -> bool:
    """Return whether an OGG file ends with a complete page that is marked as the last."""
    with path.open("rb") as raw:
        raw.seek(max(0, path.stat().st_size - 2 * PAGE))
        tail = raw.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return False
    table = tail[at + 27 : at + 27 + tail[at + 26]]
    whole = len(table) == tail[at + 26] and len(tail) >= at + 27 + len(table) + sum(table)
    return whole and bool(tail[at + 5] & 4)
