"""Decodes with FFmpeg, if the package av is installed: AAC, AMR, WebM, the sound of video files, and others.

Only formats that consist of one file are opened: a playlist could name others, on this machine or in the network. Knows
nothing of streams.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.source.decoder import Decoder, Parts

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,amr,amrnb,amrwb,asf,avi,caf,flac,flv,mp3,mpeg,mpegts,ogg,wav,w64,aiff,"
    "au,ac3,eac3,dts,tta,wv,ape,mpc,mpc8,tak,rm,mxf,nut,voc,xwma,nsv,wtv,dv,ivf,oma,spdif,truehd,sox"
)
"""Demuxers that read one file and no other."""
OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}


def installed() -> bool:
    """Return whether the package av is installed."""
    return find_spec("av") is not None


def open_av(path: Path, _head: bytes) -> Decoder | None:
    """Open the first sound track of a file; return None when FFmpeg finds none, or is not there."""
    if not installed():
        return None
    import av

    av.logging.set_level(av.logging.PANIC)
    file = path.open("rb")
    try:
        # From an open file: of a name FFmpeg would make a protocol.
        container = av.open(file, options=OPTIONS, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError):  # FFmpeg's own errors, and a seek to nowhere
        file.close()
        return None
    try:
        return AvDecoder(path, file, container)
    except (LookupError, av.FFmpegError, OSError, ValueError):
        container.close()
        file.close()
        return None


class AvDecoder(Decoder):
    """The first sound track of a container."""

    def __init__(self, path: Path, file: Any, container: Any) -> None:
        """LookupError when it holds no sound."""
        super().__init__(path)
        self._file, self._container = file, container
        decoded = self._decoded()
        first = next(decoded, None)
        if first is None:
            raise LookupError("no sound")
        self._parts = Parts(decoded, first)

    def _decoded(self) -> Iterator[NDArray[np.float32]]:
        """Yield frames (n, channels), as the packets come."""
        import av

        if not self._container.streams.audio:
            return
        resampler, at = None, 0
        stream = self._container.streams.audio[0]
        damaged = 0
        packets = self._container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                frames = packet.decode()
            except (av.FFmpegError, OSError):
                damaged += 1
                if damaged > at + 100:  # nothing of it can be decoded
                    break
                continue
            for frame in frames:
                if resampler is None:
                    self.rate, self.channels = int(frame.sample_rate), len(frame.layout.channels)
                    resampler = av.AudioResampler("fltp", frame.layout, frame.sample_rate)
                for even in resampler.resample(frame):
                    at += 1
                    yield np.ascontiguousarray(even.to_ndarray().T)
        if resampler is not None:
            for even in resampler.resample(None):
                yield np.ascontiguousarray(even.to_ndarray().T)
        if damaged:
            many = f"{damaged} packets" if damaged > 1 else "a packet"
            self.notes.append(f"{many} of it cannot be decoded; the rest is heard")

    def read(self, size: int) -> NDArray[np.float32]:
        """See Decoder."""
        return self._parts.take(size)

    def close(self) -> None:
        """See Decoder."""
        self._container.close()
        self._file.close()
