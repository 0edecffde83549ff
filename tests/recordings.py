"""Files as recorders, telephones and phones leave them, made here: odd headers, tags, every container that av writes.

Nothing of it is copied from anywhere; the sounds are the caller's.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.codec import TABLES


def int16(x: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Samples in [-1, 1] as 16 bits."""
    return np.round(np.clip(x, -1, 32767 / 32768) * 32768).astype("<i2")


def wav(
    data: bytes,
    rate: int = 8000,
    *,
    size: int | None = None,
    riff: int | None = None,
    channels: int = 1,
    tag: int = 1,
    bits: int = 16,
) -> bytes:
    """A WAV whose header may claim another size than that of its data."""
    size = len(data) if size is None else size
    riff = min(36 + size, 2**32 - 1) if riff is None else riff
    align = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * align, align, bits)
    head = b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", size) + data


def companded(x: NDArray[np.floating[Any]], law: str) -> bytes:
    """G.711: the nearest code of each sample; `law` is PCMU or PCMA."""
    table = TABLES[law].astype(np.int64)
    order = np.argsort(table, kind="stable")
    edges = (table[order][1:] + table[order][:-1]) / 2
    return order[np.searchsorted(edges, int16(x))].astype(np.uint8).tobytes()


def id3v2(padding: int) -> bytes:
    """An ID3v2.3 tag: a title, and a private frame as large as a picture, of bytes that look like frames of MP3."""
    title = b"\x00a talk"
    body = b"TIT2" + struct.pack(">IH", len(title), 0) + title
    blob = b"x\x00" + (b"\xff\xfb\x90\x00" * padding)[:padding]
    body += b"PRIV" + struct.pack(">IH", len(blob), 0) + blob
    n = len(body)
    return b"ID3\x03\x00\x00" + bytes((n >> s) & 0x7F for s in (21, 14, 7, 0)) + body


def tags_behind() -> bytes:
    """APEv2 with header and footer, and ID3v1 behind it."""
    item = b"a recorder's note " * 20
    body = struct.pack("<II", len(item), 0) + b"Comment\x00" + item

    def end(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII", 2000, len(body) + 32, 1, flags) + bytes(8)

    return end(0xA0000000) + body + end(0x80000000) + b"TAG" + b"a talk".ljust(125, b"\x00")


def encode(
    path: Path,
    x: NDArray[np.floating[Any]],
    rate: int,
    codec: str,
    *,
    container: str | None = None,
    options: dict[str, str] | None = None,
    bit_rate: int = 0,
    quality: int | None = None,
    video: bool = False,
) -> Path:
    """Samples (n,) in any codec and container that av writes; with a picture beside them where `video`."""
    import av

    with av.open(str(path), "w", format=container, options=options or {}) as out:
        picture = out.add_stream("mpeg4", rate=5) if video else None
        stream = out.add_stream(codec, rate=rate)
        stream.layout = "mono"
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
            black = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            for packet in [*picture.encode(black), *picture.encode(None)]:
                out.mux(packet)
        if quality is not None:  # a variable bit rate, in FFmpeg's units of 118
            stream.codec_context.flags |= av.codec.context.Flags.qscale
            stream.codec_context.global_quality = 118 * quality
        if bit_rate:
            stream.bit_rate = bit_rate
        wanted = stream.codec_context.format.name if stream.codec_context.format else "s16"
        even = av.AudioResampler(wanted, "mono", rate, frame_size=stream.codec_context.frame_size or 1152)
        whole = av.AudioFrame.from_ndarray(int16(x)[None], format="s16", layout="mono")
        whole.sample_rate, whole.pts = rate, 0
        for frame in [*even.resample(whole), *even.resample(None)]:
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return path


def mp3(
    path: Path, x: NDArray[np.floating[Any]], rate: int = 16000, *, index: bool = False, tags: bool = True
) -> Path:
    """A VBR MP3 as recorders write them: without an index, with tags in front and behind."""
    options = {"write_xing": str(int(index)), "id3v2_version": "0"}
    encode(path, x, rate, "libmp3lame", quality=4, options=options)
    if tags:
        path.write_bytes(id3v2(30_000) + path.read_bytes() + tags_behind())
    return path
