"""Samples from an audio file: whole, for offline use, or as a stream, paced as live or as fast as it is read.

Owns what is asked of a file before it is trusted: that it is there, is audio, is whole and holds numbers.
Knows nothing of models or of the rate that they want.
"""

import os
import re
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from streamcab.errors import AudioError, ConfigError, SourceError
from streamcab.source import Line
from streamcab.source.channel import channel_number, pick_channel
from streamcab.source.pcm import UNKNOWN_SIZE
from streamcab.source.single import SingleStream, stream_name, valid

READABLE = "WAV, FLAC, OGG, Opus or MP3"
SOUNDS = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})
"""How the names of such files end, in small letters."""
UNKNOWN_FRAMES = 1 << 50
"""A FLAC written to a pipe does not know its length; libsndfile then claims some exa-frames."""
SEEK_FAILED = 39
"""libsndfile's error of such a FLAC at its proper end, when the position is set past it."""
MP3_SLACK = 2 * 1152
BLOCK = 1 << 16
"""Frames of one read when nobody waits for them."""
PIECES_PER_SECOND = 40


def open_audio(path: Path) -> soundfile.SoundFile:
    """Open a file whose length, as far as its header tells, is all there.

    SourceError when it cannot be opened; AudioError when it is empty, cut off or no audio.
    """
    if not path.exists():
        raise SourceError(f"{path}: no such file")
    if not path.is_file():
        raise SourceError(f"{path}: not a file; give the path of an audio file ({READABLE})")
    try:
        with path.open("rb") as raw:
            empty = not raw.read(1)
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened: {error.strerror}") from None
    if empty:
        raise AudioError(f"{path}: the file is empty")
    try:
        file = soundfile.SoundFile(os.fsencode(path))  # it knows only names that are text
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a name that ends in .raw
        why = getattr(error, "error_string", "").strip().rstrip(".")
        raise AudioError(
            f"{path}: not audio that can be read as {READABLE}{f' ({why})' if why else ''}; "
            f"convert it with `ffmpeg -i FILE out.wav`"
        ) from None
    try:
        _refuse_cut(path, file)
    except AudioError:
        file.close()
        raise
    return file


def _refuse_cut(path: Path, file: soundfile.SoundFile) -> None:
    """AudioError when the header promises what the file does not hold."""
    # libsndfile mends a size in silence, but for its log: "data : 288000 (should be 143978)".
    sizes = re.search(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if sizes is not None:
        promised, there = int(sizes[1]), int(sizes[2])
        if there < promised < UNKNOWN_SIZE:
            raise AudioError(
                f"{path}: cut off: {there} of {promised} bytes of samples; fetch or record it again"
            )
    if file.format == "OGG" and not _ogg_ends(path):
        raise AudioError(f"{path}: cut off: its last page is missing; mend it with `ffmpeg -i FILE out.wav`")
    if file.frames == 0:
        raise AudioError(f"{path}: holds no samples; record or export it again")


def _ogg_ends(path: Path) -> bool:
    """Whether an OGG file ends with a whole page that says that it is the last."""
    with path.open("rb") as raw:
        raw.seek(max(0, path.stat().st_size - 2 * 65307))  # a page is at most 65307 bytes
        tail = raw.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return False
    table = tail[at + 27 : at + 27 + tail[at + 26]]
    whole = len(table) == tail[at + 26] and len(tail) >= at + 27 + len(table) + sum(table)
    return whole and bool(tail[at + 5] & 4)


def blocks(path: Path, file: soundfile.SoundFile, channel: str, size: int) -> Iterator[NDArray[np.float32]]:
    """The rest of an open file as samples of one channel, `size` at a time.

    AudioError when it turns out cut off, damaged, or to hold what is no number; what came before was yielded.
    """
    rate, at = file.samplerate, 0
    while True:
        # Filled, since libsndfile's errors do not say how much they left intact.
        frames = np.full((size, file.channels), np.nan, np.float32)
        failed = 0
        try:
            n = len(file.read(out=frames))
        except soundfile.LibsndfileError as error:
            failed = error.code
            gone = np.isnan(frames[:, 0])
            n = int(np.argmax(gone)) if gone.any() else size
        samples = pick_channel(frames[:n], channel)
        fine = valid(samples)
        if not fine.all():
            wrong = int(np.argmin(fine))
            raise AudioError(
                f"{path}: sample {at + wrong} is {samples[wrong]}; export it again, or as 16-bit integers"
            )
        if n:
            yield samples
        at += n
        known = file.frames < UNKNOWN_FRAMES
        if failed and (known or failed != SEEK_FAILED):
            raise AudioError(f"{path}: cut off or damaged after {at / rate:.2f} s; fetch or record it again")
        if n < size or failed:
            # The length of an MP3 without an index is an estimate.
            slack = MP3_SLACK if file.format in ("MP3", "MPEG") else 0
            if known and at < file.frames - slack:
                raise AudioError(
                    f"{path}: cut off after {at / rate:.2f} s "
                    f"of {file.frames / rate:.2f} s; fetch or record it again"
                )
            return


def read_audio(path: Path | str, channel: str = "mix") -> tuple[NDArray[np.float32], int]:
    """A whole file: samples (n,) in [-1, 1] of one channel, and their rate in Hz.

    SourceError when it cannot be opened; AudioError when it is empty, cut off, damaged, no audio, or holds
    NaN or infinity; ConfigError when it has no such channel.
    """
    path = Path(path)
    with open_audio(path) as file:
        channel_number(channel, file.channels)
        parts = list(blocks(path, file, channel, BLOCK))
        if not parts:
            raise AudioError(f"{path}: holds no samples; record or export it again")
        return np.concatenate(parts), int(file.samplerate)


class AudioFile(SingleStream):
    """One file as a stream.

    pace     "live": by the clock, in pieces of 25 ms; "fast": as the reader makes room, losing nothing
    channel  mix, left, right or a number from 1
    name     of the stream; the file's own by default
    loop     begin again at the end; the stream goes on
    delay_s  begin so many seconds after `start`
    """

    def __init__(
        self,
        path: Path | str,
        pace: Literal["live", "fast"] = "live",
        channel: str = "mix",
        name: str | None = None,
        loop: bool = False,
        delay_s: float = 0.0,
    ) -> None:
        super().__init__()
        if pace not in ("live", "fast"):
            raise ConfigError(f"no such pace: {pace!r}; use live or fast")
        self._path = Path(path)
        self._live = pace == "live"
        self._channel = channel
        self._name = name or stream_name(self._path.stem)
        self._loop = loop
        self._delay_s = delay_s
        self._due = False

    def streams(self) -> list[Line]:
        """The stream, once, when its delay is over."""
        return super().streams() if self._due else []

    @property
    def live(self) -> bool:
        """Whether it is paced as live."""
        return self._live

    def start(self) -> None:
        """Check the file and begin to play it. SourceError, AudioError and ConfigError as `read_audio`.

        What only decoding all of it would find (a FLAC or MP3 cut off) ends the stream where it is met.
        """
        with open_audio(self._path) as file:
            channel_number(self._channel, file.channels)
            # Only floats can hold NaN, and reading them is cheap; else one block shows that it decodes.
            first = blocks(self._path, file, self._channel, BLOCK)
            for _ in first if file.subtype in ("FLOAT", "DOUBLE") else islice(first, 1):
                pass
            rate, channels = int(file.samplerate), int(file.channels)
        shown = os.fsencode(self._path.name).decode(errors="backslashreplace")
        self._begin(
            self._name,
            rate,
            f"file {shown}, {rate} Hz, channels: {channels}, channel: {self._channel}",
            {"file": str(self._path)},
        )

    def _capture(self) -> None:
        rate = self.line.bank.rate
        self._stop.wait(self._delay_s)
        self._due = True
        began = time.monotonic()
        played = 0
        size = max(1, rate // PIECES_PER_SECOND) if self._live else BLOCK
        again = True
        while again:
            # Opened anew for each round: a FLAC of unknown length cannot be wound back.
            with open_audio(self._path) as file:
                if file.samplerate != rate:
                    raise AudioError(f"{self._path}: changed to {file.samplerate} Hz while it was played")
                for samples in blocks(self._path, file, self._channel, size):
                    played += len(samples)
                    if self._live:
                        # By the clock from the beginning: what one piece is late the next is not.
                        due = began + played / rate
                        self._stop.wait(max(0.0, due - time.monotonic()))
                    if self._stop.is_set():
                        return
                    if self._live:
                        self._write(samples, due)
                    else:
                        self._pour(samples, time.monotonic())
            if not played:
                raise AudioError(f"{self._path}: holds no samples; record or export it again")
            again = self._loop
