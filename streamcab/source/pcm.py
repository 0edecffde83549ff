"""Bytes of uncompressed audio as samples, and the WAV header that says which bytes they are.

For streams: a header is read forwards, once, and sizes that a writer to a pipe could not know are taken as
unknown. Knows nothing of files, pipes or threads.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import AudioError
from streamcab.rtp.codec import TABLES

UNKNOWN_SIZE = 0x7FFF0000
"""Data sizes from here on (and 0) are "until the end": ffmpeg writes 0xFFFFFFFF, sox just below 2**31."""
LONGEST_HEADER = 1 << 20
PCM, FLOAT, A_LAW, MU_LAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
ENCODINGS = {
    (PCM, 8): "u8",
    (PCM, 16): "s16le",
    (PCM, 24): "s24le",
    (PCM, 32): "s32le",
    (FLOAT, 32): "f32le",
    (FLOAT, 64): "f64le",
    (A_LAW, 8): "alaw",
    (MU_LAW, 8): "mulaw",
}
WIDTHS = {"alaw": 1, "mulaw": 1, "u8": 1, "s16le": 2, "s24le": 3, "s32le": 4, "f32le": 4, "f64le": 8}


@dataclass(frozen=True)
class Format:
    """The layout of samples in the bytes of a stream.

    Attributes:
        encoding: A key of WIDTHS.
        rate: In Hz.
        size: Bytes of the data, or None: until the stream ends.
        unfinished: Whether the header says 0 bytes, as a recorder does until it is stopped.
        chunks: Whether the header says that other chunks follow the data.
    """

    encoding: str
    rate: int
    channels: int
    size: int | None = None
    unfinished: bool = False
    chunks: bool = False

    @property
    def frame(self) -> int:
        """Bytes of one sample of every channel."""
        return WIDTHS[self.encoding] * self.channels


def decode(data: bytes, format: Format) -> NDArray[np.float32]:
    """Decode whole frames of bytes to samples in [-1, 1): (n, channels). Floats are taken as they are."""
    flat: NDArray[np.float32]
    match format.encoding:
        case "u8":
            flat = (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) * np.float32(2**-7)
        case "s16le":
            flat = np.frombuffer(data, "<i2").astype(np.float32) * np.float32(2**-15)
        case "s24le":
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            flat = wide.view("<i4")[:, 0].astype(np.float32) * np.float32(2**-31)
        case "alaw" | "mulaw":
            table = TABLES["PCMA" if format.encoding == "alaw" else "PCMU"].astype(np.float32)
            flat = table[np.frombuffer(data, np.uint8)] * np.float32(2**-15)
        case "s32le":
            flat = np.frombuffer(data, "<i4").astype(np.float32) * np.float32(2**-31)
        case "f32le":
            flat = np.frombuffer(data, "<f4").astype(np.float32)
        case _:
            with np.errstate(
                over="ignore"
            ):  # a double beyond float32 becomes infinite, and is refused as such
                flat = np.frombuffer(data, "<f8").astype(np.float32)
    return flat.reshape(-1, format.channels)


def read_wav_header(read: Callable[[int], bytes]) -> Format:
    """Read up to the first byte of the data; `read(n)` returns n bytes, fewer only at the end of the stream.

    AudioError when it is no WAV stream, or one of an encoding that has to be converted.
    """
    start = read(12)
    if not start:
        raise AudioError("no data; is something piped in?")
    if start[:4] not in (b"RIFF", b"RF64", b"BW64") or start[8:12] != b"WAVE":
        raise AudioError("not a WAV stream; for raw samples give the format, s16le or f32le, and the rate")
    format, real = None, None
    taken = len(start)
    while True:
        head = read(8)
        if len(head) < 8:
            raise AudioError(
                "the WAV stream ends inside its header; is the program that writes it still running?"
            )
        kind, size = struct.unpack("<4sI", head)
        taken += 8
        if kind == b"data":
            break
        taken += size + size % 2
        if taken > LONGEST_HEADER:
            raise AudioError("no samples in the first MiB of the WAV stream: it is damaged")
        body = read(size + size % 2)
        if kind == b"fmt ":
            format = _format(body)
        elif kind == b"ds64" and len(body) >= 16:  # RF64: sizes of 64 bits
            (real,) = struct.unpack("<Q", body[8:16])
    if format is None:
        raise AudioError("the WAV stream has samples before their format: it is damaged")
    if size == 0xFFFFFFFF and real:
        return replace(format, size=real, chunks=True)
    (riff,) = struct.unpack("<I", start[4:8])
    known = None if size == 0 or size >= UNKNOWN_SIZE else size
    return replace(format, size=known, unfinished=size == 0, chunks=riff >= taken + size)


def _format(body: bytes) -> Format:
    """Parse the chunk `fmt `."""
    if len(body) < 16:
        raise AudioError(
            "the WAV stream ends inside its header; is the program that writes it still running?"
        )
    tag, channels, rate, _, align, bits = struct.unpack("<HHIIHH", body[:16])
    if tag == EXTENSIBLE and len(body) >= 26:
        tag = struct.unpack("<H", body[24:26])[0]
    if channels == 0 or rate == 0 or align % channels:
        raise AudioError(f"an invalid WAV header: {channels} channels, {rate} Hz, {align} bytes a frame")
    # 20 valid bits lie left-justified in 24: the container decides.
    encoding = ENCODINGS.get((tag, 8 * align // channels))
    if encoding is None:
        raise AudioError(
            f"WAV encoding {tag:#x} of {bits} bits is neither PCM, float nor G.711; "
            "convert it with `ffmpeg -i - -c:a pcm_s16le -f wav -`"
        )
    return Format(encoding, rate, channels)
