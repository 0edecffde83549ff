"""Samples from an audio file: whole, for offline use, or as a stream, paced as live or as fast as it is read.

Owns that samples are numbers, and that what was wrong with a file is said. Knows nothing of formats, of models, or of
the rate that they want.
"""

import logging
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import AudioError, ConfigError, SourceError
from streamcab.source import Line
from streamcab.source.channel import channel_number
from streamcab.source.decoder import Decoder
from streamcab.source.formats import open_audio
from streamcab.source.mixer import Mixer
from streamcab.source.piped import is_pipe
from streamcab.source.single import SingleStream, stream_name, valid

log = logging.getLogger("streamcab.source")

SOUNDS = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})
"""How the names of such files end, in small letters."""
BLOCK = 1 << 16
"""Frames of one read when nobody waits for them."""
PIECES_PER_SECOND = 40


def blocks(file: Decoder, size: int) -> Iterator[NDArray[np.float32]]:
    """Yield the rest of an open file as frames (n, channels), `size` at a time.

    AudioError when it turns out to hold no samples, or what is no number; what came before was yielded.
    """
    at, n = 0, size
    while n == size:
        frames = file.read(size)
        n = len(frames)
        fine = valid(frames).all(1)
        if not fine.all():
            wrong = int(np.argmin(fine))
            raise AudioError(
                f"{file.path}: sample {at + wrong} is {_worst(frames[wrong])}; "
                "export it again, or as 16-bit integers"
            )
        if n:
            yield frames
        at += n
    if not at:
        raise AudioError(f"{file.path}: holds no samples; record or export it again")


def _worst(frame: NDArray[np.float32]) -> np.float32:
    bad: np.float32 = frame[~valid(frame)][0]
    return bad


def samples_of(file: Decoder, mixer: Mixer, size: int = BLOCK) -> Iterator[NDArray[np.float32]]:
    """Yield the same mixed: samples (m, rows), at most `size` at a time."""
    for frames in blocks(file, size):
        yield from _cut(mixer.push(frames), size)
    yield from _cut(mixer.finish(), size)


def _cut(samples: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    for at in range(0, len(samples), size):
        yield samples[at : at + size]


def read_audio(path: Path | str, channel: str = "mix") -> tuple[NDArray[np.float32], int]:
    """Read a whole file: samples (n,) in [-1, 1] of one channel, and their rate in Hz.

    What was wrong with it and is heard all the same becomes a warning in the log. SourceError when it cannot be opened;
    AudioError when it is empty, no audio, or holds NaN or infinity; ConfigError when it has no such channel.
    """
    path = Path(path)
    with open_audio(path) as file:
        mixer = Mixer(channel, file.channels, file.rate)
        if mixer.rows > 1:
            raise ConfigError(
                f"{path}: channel {channel} gives {mixer.rows} channels, and only one is supported here"
            )
        samples = np.concatenate([part[:, 0] for part in samples_of(file, mixer)])
        if notes := [*file.notes, *mixer.told.values()]:
            log.warning("%s: %s", path, "; ".join(notes))
        return samples, file.rate


class AudioFile(SingleStream):
    """One file as a stream.

    pace     "live": by the clock, in pieces of 25 ms; "fast": as the reader makes room, losing nothing
    channel  mix, each, left, right or a number from 1
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
        """Return the stream, once, when its delay is over."""
        return super().streams() if self._due else []

    @property
    def live(self) -> bool:
        """Whether it is paced as live."""
        return self._live

    def start(self) -> None:
        """Check the file and begin to play it. SourceError, AudioError and ConfigError as `read_audio`."""
        if is_pipe(self._path):
            raise SourceError(f"{self._path} is a pipe: use `listen --stdin wav < {self._path}`")
        with open_audio(self._path) as file:
            channel_number(self._channel, file.channels)
            # Only floats can hold NaN, and reading them is cheap; else one block shows that it decodes.
            first = blocks(file, BLOCK)
            for _ in first if file.floats else islice(first, 1):
                pass
            rate, channels = file.rate, file.channels
        self._begin(
            self._name,
            rate,
            f"file {self._path.name}, {rate} Hz, channels: {channels}, channel: {self._channel}",
            {"file": str(self._path)},
            channel=self._channel,
            channels=channels,
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
                if file.rate != rate:
                    raise AudioError(f"{self._path}: changed to {file.rate} Hz while it was played")
                for frames in blocks(file, size):
                    for samples in _cut(self._mixed(frames), size):
                        played += len(samples)
                        if not self._play(samples, began + played / rate):
                            return
                self._note(file.notes)
            again = self._loop
        for samples in _cut(self._mixer.finish(), size):
            played += len(samples)
            if not self._play(samples, began + played / rate):
                return

    def _play(self, samples: NDArray[np.float32], due: float) -> bool:
        """Write samples at their time, or at once; return whether to go on."""
        if self._live:
            # By the clock from the beginning: what one piece is late the next is not.
            self._stop.wait(max(0.0, due - time.monotonic()))
        if self._stop.is_set():
            return False
        if self._live:
            self._write(samples, due)
        else:
            self._pour(samples, time.monotonic())
        return True
