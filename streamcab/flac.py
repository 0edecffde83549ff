"""One FLAC file that can be read at any moment, also after its writer was killed.

libsndfile writes how long a FLAC is when it closes it; until then it says 0, which most readers take for endless. So
the length of what is safely there is put into the header (STREAMINFO, RFC 9639) after every write. Owns the file and
its descriptor. Knows nothing of streams or folders.
"""

import os
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from streamcab.errors import AudioError

FASTEST = 655_350
"""Hz that FLAC can say."""
BLOCK = 4_096
"""Samples of one frame as libsndfile makes them; the newest may still be in its hands."""
_LENGTH_AT = 18  # rate, channels, depth, and in the low 36 bits the number of samples
_LENGTH = (1 << 36) - 1


class FlacFile:
    """A new file at `path`, one channel of 16 bit at `rate` Hz, for its owner alone (0600).

    AudioError: FLAC has no such rate. OSError: it cannot be made, or is there already.
    """

    def __init__(self, path: Path, rate: int, comment: str = "") -> None:
        if not 1 <= rate <= FASTEST:
            raise AudioError(f"{path}: FLAC knows no {rate} Hz; at most {FASTEST}")
        self.path, self.rate = path, rate
        self.samples = 0
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._file = soundfile.SoundFile(self._fd, "w", rate, 1, "PCM_16", format="FLAC", closefd=False)
            if comment:
                self._file.comment = comment
        except soundfile.LibsndfileError as error:
            os.close(self._fd)
            raise OSError(f"{path}: {error}") from None

    def write(self, samples: NDArray[np.float32]) -> None:
        """Append samples (n,) in [-1, 1]; what is no number becomes silence. OSError when the disk refuses them."""
        exact = np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 32767 / 32768)
        try:
            self._file.write(np.rint(exact * 32768).astype(np.int16))
        except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that all was taken
            raise OSError(f"{self.path}: {error or 'the disk took only a part'}") from None
        self.samples += len(samples)
        self._say_length((self.samples - 1) // BLOCK * BLOCK)

    def close(self) -> None:
        """The rest goes to the disk. OSError when it refuses; a file in which nothing could be written is removed."""
        try:
            self._file.close()
        except soundfile.LibsndfileError as error:
            raise OSError(f"{self.path}: {error}") from None
        finally:
            os.close(self._fd)
            if not self.samples:
                self.path.unlink(missing_ok=True)

    def _say_length(self, samples: int) -> None:
        word = os.pread(self._fd, 8, _LENGTH_AT)
        if len(word) == 8:
            value = int.from_bytes(word, "big") & ~_LENGTH | min(samples, _LENGTH)
            os.pwrite(self._fd, value.to_bytes(8, "big"), _LENGTH_AT)
