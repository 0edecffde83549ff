"""MP3 files, by libsndfile: what decodes is the file, whatever its header makes one believe.

Without an index (Xing, Info or VBRI) the length of an MP3 is an estimate from its first frame, and libsndfile stops
there. So it is shown a file of which the end is far away, and finds the true one by decoding. Where files were put one
behind the other, the index is that of the first: the next begins where it ends. Tags in front and behind are left out.
Knows nothing of streams.
"""

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from streamcab.errors import AudioError
from streamcab.source.complaints import Complaints
from streamcab.source.decoder import Decoder
from streamcab.source.sndfile import Forwards

FAR = 1 << 40
"""Bytes after which a file seems to end."""
SEARCHED = 1 << 16
"""Bytes in which a frame is looked for."""
LONGEST = 2881
"""Bytes of a frame at most."""
AGREE = 3
"""Frame headers in a row that no other bytes are taken for."""
BITRATES = {
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (2, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
}
"""kbit/s, by version (3: MPEG-1, else MPEG-2) and layer as the header codes it (1: III, 2: II, 3: I)."""
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def frame_bytes(head: bytes) -> int:
    """Return the length of the frame that begins with these 4 bytes; 0 when none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    index, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 0 or rate == 3 or index in (0, 15):
        return 0
    hz = RATES[version][rate]
    bits = 1000 * BITRATES[3 if version == 3 else 2, layer][index]
    if layer == 3:
        return (12 * bits // hz + padding) * 4
    return (72 if layer == 1 and version != 3 else 144) * bits // hz + padding


def find_frame(data: bytes) -> int:
    """Return where the first frame begins in some bytes, confirmed by those that follow it; -1 if none does."""
    at = data.find(b"\xff")
    while at >= 0:
        here, agree = at, 0
        while agree < AGREE and (size := frame_bytes(data[here : here + 4])):
            if data[here + 1] != data[at + 1]:
                break
            here, agree = here + size, agree + 1
            if here >= len(data):  # a file of fewer frames
                return at if here == len(data) else -1
        if agree == AGREE:
            return at
        at = data.find(b"\xff", at + 1)
    return -1


def has_index(frame: bytes) -> bool:
    """Return whether this first frame is an index that knows the number of frames."""
    if frame[36:40] == b"VBRI":
        return bool(int.from_bytes(frame[50:54]))
    mono, mpeg1 = frame[3] >> 6 == 3, frame[1] >> 3 & 3 == 3
    at = 4 + ((17 if mono else 32) if mpeg1 else (9 if mono else 17))
    return frame[at : at + 4] in (b"Xing", b"Info") and bool(frame[at + 7 : at + 8] and frame[at + 7] & 1)


def audio_span(file: BinaryIO) -> tuple[int, int]:
    """Return where the frames of a file begin and end: after the tags before them, and before those after them."""
    start, end = 0, file.seek(0, os.SEEK_END)
    while True:
        file.seek(start)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        size = sum((b & 0x7F) << s for b, s in zip(head[6:10], (21, 14, 7, 0), strict=True))
        start += 10 + size + (10 if head[5] & 0x10 else 0)
    while end - start > 128:
        file.seek(end - 128)
        tail = file.read(128)
        if tail[:3] == b"TAG":
            end -= 128
        elif tail[-32:-24] == b"APETAGEX":
            size = int.from_bytes(tail[-20:-16], "little")
            end -= size + (32 if tail[-9] & 0x80 else 0)
        else:
            break
    return min(start, end), max(end, start)


def open_mp3(path: Path, head: bytes) -> Decoder | None:
    """Open the file as MP3; return None when it does not begin as one."""
    likely = head[:3] == b"ID3" or (head[0] == 0xFF) or path.suffix.lower() in (".mp3", ".mp2", ".mpga")
    if not likely:
        return None
    file = path.open("rb")
    start, end = audio_span(file)
    file.seek(start)
    first = find_frame(file.read(min(SEARCHED, end - start)))
    if first >= 0:
        try:
            return Mp3Decoder(path, file, start + first, end)
        except soundfile.LibsndfileError:
            pass
    file.close()
    return None


class _Far(io.RawIOBase):
    """The bytes of a file from `start` to `end`, which seem to go on for long unless `honest`."""

    def __init__(self, file: BinaryIO, start: int, end: int, honest: bool) -> None:
        self._file, self._start, self._size = file, start, end - start
        self._seems = self._size if honest else FAR
        self.at = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self._seems}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        if self._seems == FAR and self.at >= FAR - 128:  # where a tag of the old kind would be: there is none
            view[:] = bytes(len(view))
            n = len(view)
        else:
            n = max(0, min(len(view), self._size - self.at))
            self._file.seek(self._start + min(self.at, self._size))
            n = self._file.readinto(view[:n]) if n else 0  # type: ignore[attr-defined]
        self.at += n
        return n


class Mp3Decoder(Decoder):
    """An MP3, part by part; most have one."""

    def __init__(self, path: Path, file: BinaryIO, start: int, end: int) -> None:
        super().__init__(path)
        self._raw, self._end = file, end
        self._complaints = Complaints()
        self._at = self._holes = 0
        self._begin(start)
        self.rate, self.channels = int(self._file.samplerate), int(self._file.channels)
        self.frames = self._promised

    def _begin(self, start: int) -> None:
        """Open the part that begins at this byte."""
        self._raw.seek(start)
        indexed = has_index(self._raw.read(LONGEST))
        self._start, self._bytes = start, _Far(self._raw, start, self._end, indexed)
        with self._complaints.caught():
            self._file = Forwards(self._bytes)
        self._promised: int | None = int(self._file.frames) if indexed else None
        self._had = 0

    def read(self, size: int) -> NDArray[np.float32]:
        """See Decoder."""
        parts, have = [], 0
        while have < size:
            part = self._some(size - have)
            if not len(part) and not self._next():
                break
            parts.append(part)
            have += len(part)
        if have < size:
            self._tell()
        return np.concatenate(parts) if parts else np.zeros((0, self.channels), np.float32)

    def _some(self, size: int) -> NDArray[np.float32]:
        frames = np.full((size, self.channels), np.nan, np.float32)
        with self._complaints.caught():
            try:
                n = len(self._file.read(out=frames))
            except soundfile.LibsndfileError:
                gone = np.isnan(frames[:, 0])
                n = int(np.argmax(gone)) if gone.any() else size
        self._had += n
        self._at += n
        return frames[:n]

    def _next(self) -> bool:
        """Open what follows this part, a second file or the rest behind a hole; return whether there is any."""
        at = max(self._start + self._bytes.at, self._start + 4)
        found, skipped = -1, 0
        while found < 0 and at + skipped < self._end:
            self._raw.seek(at + skipped)
            found = find_frame(self._raw.read(min(2 * SEARCHED, self._end - at - skipped)))
            skipped += found if found >= 0 else SEARCHED
        if found < 0:
            return False
        whole = self._promised is not None and self._had >= self._promised
        if not whole or skipped > LONGEST:
            self._holes += 1
        self._file.close()
        try:
            self._begin(at + skipped)
        except soundfile.LibsndfileError:
            return False
        if (self._file.samplerate, self._file.channels) != (self.rate, self.channels):
            raise AudioError(
                f"{self.path}: after {self._at / self.rate:.2f} s it goes on at {self._file.samplerate} Hz, "
                f"channels: {self._file.channels}; cut it there, or convert it with `ffmpeg -i FILE out.wav`"
            )
        return True

    def _tell(self) -> None:
        """Note, at the end, what was wrong."""
        if self.notes:
            return
        there = self._at / self.rate
        if self._holes:
            places = "a place" if self._holes == 1 else f"{self._holes} places"
            self.notes.append(f"{places} of it cannot be decoded; the rest, {there:.2f} s, is heard")
        elif self._promised is not None and self._had < self._promised:
            whole = there + (self._promised - self._had) / self.rate
            self.notes.append(f"cut off after {there:.2f} s of {whole:.2f} s; what is there is heard")
        elif damage := self._complaints.damage:
            times = "once" if damage == 1 else f"{damage} times"
            self.notes.append(f"its decoder complained {times} and went on: {self._complaints.first}")

    def close(self) -> None:
        """See Decoder."""
        with self._complaints.caught():
            self._file.close()
        self._raw.close()
