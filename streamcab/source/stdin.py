"""Samples from a pipe: a WAV stream or raw PCM on standard input.

A pipe can wait, so nothing is lost: when the ring is full the writer at the other end is held up. Knows
nothing of who writes, and does not pace.
"""

import io
import os
import select
import sys
import time
from typing import BinaryIO

from streamcab.errors import AudioError, ConfigError, SourceError
from streamcab.source.channel import channel_number
from streamcab.source.pcm import Format, read_wav_header
from streamcab.source.single import SingleStream
from streamcab.source.wav import WavData

FORMATS = ("wav", "s16le", "f32le")
AFTER_S = 1.0
"""Seconds to wait for more than a WAV header has claimed."""
POLL_MS = 100
"""How soon `close` is noticed while the pipe is silent."""


class Stdin(SingleStream):
    """One stream from standard input, or from any binary file object.

    format    "wav", or "s16le" or "f32le" for raw samples, which need `rate` in Hz and may have `channels`
    channel   mix, left, right or a number from 1
    patience  seconds that `start` waits for a WAV header
    """

    def __init__(
        self,
        format: str = "wav",
        rate: int | None = None,
        channels: int = 1,
        channel: str = "mix",
        name: str | None = None,
        *,
        file: BinaryIO | None = None,
        patience: float = 30.0,
    ) -> None:
        super().__init__()
        if format not in FORMATS:
            raise ConfigError(
                f"no such format of standard input: {format!r}; use one of {', '.join(FORMATS)}"
            )
        if format != "wav" and (rate is None or rate <= 0 or channels <= 0):
            raise ConfigError(
                f"raw {format} needs its rate in Hz (--rate) and its channels, not {rate} and {channels}"
            )
        self._raw = None if format == "wav" else Format(format, rate or 0, channels)
        self._channel = channel
        self._name = name or "stdin"
        self._file = file
        self._patience = patience
        self._poll: select.poll | None = None
        self._fd = -1
        self._odd = 0

    @property
    def live(self) -> bool:
        """False: data in a pipe can wait."""
        return False

    def start(self) -> None:
        """Read the header, if there is one, and begin. SourceError, AudioError, ConfigError."""
        if self._file is None:
            if sys.stdin is None or sys.stdin.closed:
                raise SourceError("standard input is closed: pipe audio into it")
            if sys.stdin.isatty():
                raise SourceError(
                    "standard input is a terminal: pipe audio into it, as in `ffmpeg -i FILE -f wav - |`"
                )
            self._file = sys.stdin.buffer
        if isinstance(self._file, io.BufferedReader | io.FileIO):
            # A read through Python's buffer blocks until it is full, and nothing frees it.
            self._fd = self._file.fileno()
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLIN)
        if self._raw is not None:
            self._format = self._raw
        else:
            deadline = time.monotonic() + self._patience
            try:
                self._format = read_wav_header(lambda n: self._exactly(n, deadline))
            except AudioError as error:
                raise AudioError(f"{self._name}: {error}") from None
        channel_number(self._channel, self._format.channels)
        f = self._format
        self._begin(
            self._name,
            f.rate,
            f"standard input, {f.encoding}, {f.rate} Hz, channels: {f.channels}, channel: {self._channel}",
            channel=self._channel,
            channels=f.channels,
        )

    def _fetch(self, limit: int, deadline: float | None = None) -> bytes | None:
        """Read up to `limit` bytes as soon as there are some; b"" at the end; None if closed or too late."""
        assert self._file is not None
        while not self._stop.is_set():
            if self._poll is None:
                return self._file.read(limit)
            if self._poll.poll(POLL_MS):
                try:
                    return os.read(self._fd, limit)
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise AudioError(f"{self._name}: cannot be read: {error.strerror}") from None
            if deadline is not None and time.monotonic() > deadline:
                return None
        return None

    def _exactly(self, n: int, deadline: float) -> bytes:
        """Read n bytes, fewer only at the end; raise SourceError when they do not come."""
        got = b""
        while len(got) < n:
            more = self._fetch(n - len(got), deadline)
            if more is None:
                raise SourceError(
                    f"{self._name}: no WAV header in {self._patience:g} s; is something piped in?"
                )
            if not more:
                break
            got += more
        return got

    def _capture(self) -> None:
        f = self._format
        data = WavData(f, self._fetch, lambda n: self._fetch(n, time.monotonic() + AFTER_S))
        for frames in data:
            self._pour(self._mixed(frames), time.monotonic())
            if self._stop.is_set():
                return
        self._odd = data.odd
        if data.abandoned:
            return
        self._pour(self._mixer.finish(), time.monotonic())
        if not data.frames:
            raise AudioError(f"{self._name}: no samples arrived; is the program that writes them failing?")
        self._note([data.note] if data.note else [])

    def counters(self) -> dict[str, int]:
        """Return the counters of every stream, and `odd_bytes`: left over at the end, less than one frame."""
        return super().counters() | {"odd_bytes": self._odd}
