"""A FLAC file that is readable at any moment, even after its writer was killed.

libsndfile writes the length of a FLAC file only when it closes it. Until then the header says 0, which most readers
take for endless. So the length written so far is put into the header (STREAMINFO, RFC 9639) after every write. Owns
the file and its descriptor. Knows nothing of streams or folders.
"""

import fcntl
import os
from contextlib import suppress
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
        self._safe = 0  # of them, as the header says
        self._disk = _Disk(path)
        try:
            self._file = soundfile.SoundFile(self._disk, "w", rate, 1, "PCM_16", format="FLAC")
            if comment:
                self._file.comment = comment
        except soundfile.LibsndfileError as error:
            self._disk.close()
            raise OSError(f"{path}: {error}") from None

    def write(self, samples: NDArray[np.float32]) -> None:
        """Append samples (n,) in [-1, 1]; NaN becomes silence. OSError when the disk refuses them."""
        try:
            self._file.write(pcm16(samples))
        except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that all was taken
            raise self._disk.refusal(error) from None
        self.samples += len(samples)
        self._safe = (self.samples - 1) // BLOCK * BLOCK
        self._disk.say_length(self._safe)

    def close(self) -> None:
        """Write the rest to the disk. OSError when it refuses: `samples` is then what can be read. A file in which
        nothing could be written is removed."""
        try:
            self._file.close()
            if self._disk.error is not None:
                self.samples = self._safe
                raise self._disk.refusal()
        except soundfile.LibsndfileError as error:
            self.samples = self._safe
            raise self._disk.refusal(error) from None
        finally:
            self._disk.close()
            if not self.samples:
                self.path.unlink(missing_ok=True)


def pcm16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Convert samples in [-1, 1] to 16 bit. Louder samples are clipped; NaN becomes silence."""
    exact = np.rint(samples * np.float32(32768))
    np.clip(exact, -32768, 32767, out=exact)
    exact[np.isnan(exact)] = 0
    whole: NDArray[np.int16] = exact.astype(np.int16)
    return whole


def in_use(path: Path) -> bool:
    """Return whether a process is writing this FlacFile; False on file systems without locks."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    finally:
        os.close(fd)
    return False


class _Disk:
    """The file as libsndfile sees it. Given a descriptor, libsndfile would sync each file to the disk at its end:
    5 ms each, 5 s for a thousand calls that end together. Here the system writes it out in its own time.
    """

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None  # the newest: nothing may be raised through libsndfile
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # some file systems know no locks
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until it is closed, or this process ends
        self._at = self._size = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, n: int) -> bytes:
        data = os.pread(self._fd, n, self._at)
        self._at += len(data)
        return data

    def write(self, data: bytes) -> int:
        """Write, and return how many bytes the disk accepted."""
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], self._at + done)
        except OSError as error:
            self.error = error
        self._at += done
        self._size = max(self._size, self._at)
        return done

    def say_length(self, samples: int) -> None:
        """Write the length into the header, if there is one yet."""
        word = os.pread(self._fd, 8, _LENGTH_AT)
        if len(word) == 8:
            value = int.from_bytes(word, "big") & ~_LENGTH | min(samples, _LENGTH)
            os.pwrite(self._fd, value.to_bytes(8, "big"), _LENGTH_AT)

    def refusal(self, other: Exception | None = None) -> OSError:
        """Return why the disk refused the data, in words; `other` is libsndfile's own error."""
        if self.error is not None:
            return OSError(self.error.errno, self.error.strerror, str(self._path))
        return OSError(f"{self._path}: {other or 'the disk took only a part'}")

    def close(self) -> None:
        os.close(self._fd)
