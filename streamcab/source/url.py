"""Streams of the net: RTSP cameras and phones, Icecast and other HTTP audio, HLS; through PyAV, which is FFmpeg.

Owns the thread that reads, reconnecting with growing pauses. What comes in bursts, as HLS and Icecast send it, is let
through at the pace of the clock. Knows nothing of what is heard.
"""

import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import ConfigError, SourceError, StreamcabError
from streamcab.extras import missing
from streamcab.source.channel import channel_number
from streamcab.source.single import SingleStream, stream_name
from streamcab.text import printable

if TYPE_CHECKING:
    from av.container import InputContainer

SCHEMES = ("rtsp", "rtsps", "http", "https", "icecast")
_NESTED = {"rtsp": "rtsp,rtp,udp,tcp,tls", "http": "http,https,tcp,tls,crypto,httpproxy"}
"""What an address, or a playlist behind it, may lead to: no file of this machine."""
OPEN_S = 10.0
PATIENCE_S, SEGMENT_S = 5.0, 40.0
"""Without data for so long the stream is lost; a playlist of HLS is new only once a segment."""
RETRY_S = (0.5, 30.0)
PACE = 1.01
"""How much faster than the clock a burst is let through: its delay shrinks, and a server's clock may be fast."""
BLOCK_S = 0.1


class NetStream(SingleStream):
    """One address as a stream, at the rate that it has first.

    retry     shortest and longest pause, in seconds, between attempts to connect again
    patience  seconds without data after which the stream is lost; HLS has its own
    """

    def __init__(
        self,
        url: str,
        channel: str = "mix",
        name: str | None = None,
        *,
        retry: tuple[float, float] = RETRY_S,
        patience: float = PATIENCE_S,
    ) -> None:
        super().__init__()
        self._parts = _checked(url)
        scheme = {"icecast": "http"}.get(self._parts.scheme, self._parts.scheme)
        self._url = self._parts._replace(scheme=scheme).geturl()
        self._channel, self._name = channel, name
        self._retry, self._patience = retry, patience
        self._rate = 0  # Hz; 0 until the first connection settles it
        self._attempts = self._reconnected = 0
        self._last = 0.0  # when the newest samples were due; 0 before the first
        self._ends = False  # whether the opened stream has an end of its own

    @property
    def live(self) -> bool:
        """True: the net does not wait."""
        return True

    @property
    def shown(self) -> str:
        """The address without user, password and query."""
        parts = self._parts
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
        return printable(f"{parts.scheme}://{host}{port}{parts.path}")

    def start(self) -> None:
        """Connect. SourceError when nothing can be heard there, ConfigError when it has no such channel."""
        self._container = self._open()
        stream = self._container.streams.audio[0]
        self._rate = int(stream.codec_context.sample_rate)
        channels = int(stream.codec_context.channels)
        try:
            channel_number(self._channel, channels)
            shape = f"{stream.codec_context.name} {self._rate} Hz"
            name = stream_name(f"{self._parts.hostname}{self._parts.path}".removesuffix("/"))
            self._begin(
                self._name or name,
                self._rate,
                f"{self.shown}, {shape}, channels: {channels}, channel: {self._channel}",
                {"url": self.shown},
                channel=self._channel,
                channels=channels,
            )
        except StreamcabError:
            self._container.close()
            raise

    def counters(self) -> dict[str, int]:
        """Return the counters of every stream, and `reconnected`: how often the stream returned."""
        return super().counters() | {"reconnected": self._reconnected}

    # -- opening ---------------------------------------------------------------------------------------------

    def _open(self) -> "InputContainer":
        try:
            import av
        except ImportError:
            raise missing("av", f"--url {self.shown}") from None
        av.logging.set_level(av.logging.PANIC)
        options = {"protocol_whitelist": _NESTED["rtsp" if self._url.startswith("rtsp") else "http"]}
        if self._url.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        try:
            container = av.open(
                self._url, options=options, timeout=(OPEN_S, self._read_s), metadata_errors="replace"
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"cannot open {self.shown}: {_line(error)}", secrets=[self.shown]) from None
        if not container.streams.audio:
            container.close()
            raise SourceError(f"{self.shown} has no sound", secrets=[self.shown])
        self._ends = bool(container.duration)
        return container

    @property
    def _read_s(self) -> float:
        """Return how long a read may take, in seconds."""
        return SEGMENT_S if self._parts.path.endswith(".m3u8") else self._patience

    # -- the thread ------------------------------------------------------------------------------------------

    def _capture(self) -> None:
        container: InputContainer | None = self._container
        while container is not None:
            try:
                why = self._listen(container)
            finally:
                container.close()
            if self._stop.is_set() or self._ends:
                return
            self._move("lost", f"{why}; it is taken up again when it returns")
            container = self._reopen()

    def _listen(self, container: "InputContainer") -> str:
        """Write the samples that arrive until the source is closed or the stream breaks off; return why, in words."""
        import av

        block = round(BLOCK_S * self._rate)
        origin, let_through, back = time.monotonic(), 0, self.line.state != "starting"
        try:
            for frames in _decoded(container, self._rate):
                for at in range(0, len(frames), block):
                    part = frames[at : at + block]
                    let_through += len(part)
                    due = origin + let_through / (PACE * self._rate)
                    now = time.monotonic()
                    if now > due:  # it comes as it is sent, or late
                        origin += now - due
                    elif self._stop.wait(due - now):
                        return ""
                    self._take(part, back)
                    back = False
                if self._stop.is_set():
                    return ""
        except (av.FFmpegError, OSError, ValueError) as error:
            return _line(error)
        return "the server has ended it"

    def _take(self, frames: NDArray[np.float32], back: bool) -> None:
        now = time.monotonic()
        if back:
            gap = round((now - self._last) * self._rate) - len(frames)
            if self._last and gap > 0:
                for row in range(self._bank.rows):
                    self._bank.skip(row, gap, now - len(frames) / self._rate)
            self._attempts = 0
            self._reconnected += 1
        self._last = now
        self._write(self._mixed(frames), now)
        if back:
            lost = int(self._bank.skipped[0]) / self._rate
            self._move("live", f"{lost:.1f} s have been lost since it began")

    def _reopen(self) -> "InputContainer | None":
        """Try until the stream opens; None when the source was closed meanwhile, or there is no more to come."""
        shortest, longest = self._retry
        while True:
            pause = min(longest, shortest * 2**self._attempts)
            self._attempts = min(self._attempts + 1, 30)
            # Jittered: after a power cut a hundred machines ask one server.
            if self._stop.wait(pause * random.uniform(0.5, 1.0)):
                return None
            self._move("reconnecting", self.line.detail)
            try:
                container = self._open()
            except StreamcabError as error:
                self.line.detail = printable(str(error))
                continue
            if not self._ends:
                return container
            container.close()  # what had no end has got one: all of it has been heard
            return None


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise ConfigError(f"--url is not an address such as rtsp://HOST/PATH or http://HOST/PATH: {url!r}")
    return parts


def _decoded(container: "InputContainer", rate: int) -> Iterator[NDArray[np.float32]]:
    """Yield frames (n, channels) of the first sound track, at one rate."""
    import av

    resampler: Any = None
    form: tuple[str, int] | None = None
    for packet in container.demux(container.streams.audio[0]):
        try:
            decoded = packet.decode()
        except av.error.InvalidDataError:  # joined in the middle of a frame
            continue
        for frame in decoded:
            if form != (frame.layout.name, frame.sample_rate):
                form = (frame.layout.name, frame.sample_rate)
                resampler = av.AudioResampler("fltp", frame.layout, rate)
            for even in resampler.resample(frame):
                yield np.ascontiguousarray(even.to_ndarray().T)


def _line(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(text).partition("\n")[0] or type(error).__name__
