"""The codecs of telephones, there and back, for the speech detector's training: (n,) at 8 kHz -> the same.

G.722, AMR and Opus go through `av` (the extra `codecs`), the others through soundfile.
"""

import io
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

RATE = 8000

Floats = NDArray[np.float64]
Coder = Callable[[Floats, np.random.Generator], Floats]

AMR_KBPS = (4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2)


def as_it_is(x: Floats, rng: np.random.Generator) -> Floats:
    """Round to sixteen bits."""
    return x


def through(subtype: str, container: str) -> Coder:
    """Make a coder of one of soundfile's codecs."""

    def code(x: Floats, rng: np.random.Generator) -> Floats:
        file = io.BytesIO()
        soundfile.write(file, x, RATE, format=container, subtype=subtype)
        file.seek(0)
        y, _ = soundfile.read(file, dtype="float64", frames=len(x))
        return np.pad(y, (0, len(x) - len(y)))

    return code


def amr(x: Floats, rng: np.random.Generator) -> Floats:
    """Code by AMR, narrow-band, at one of its eight rates."""
    return _with_av(x, "libopencore_amrnb", "amrnb", RATE, round(float(rng.choice(AMR_KBPS)) * 1000))


def g722(x: Floats, rng: np.random.Generator) -> Floats:
    """Code by G.722 at 64 kb/s; it hears 16 kHz."""
    y = _with_av(resample_poly(x, 2, 1), "g722", "g722", 2 * RATE, 64000)
    return resample_poly(y, 1, 2)


def opus(x: Floats, rng: np.random.Generator) -> Floats:
    """Code by Opus of 6 to 24 kb/s."""
    return _with_av(x, "libopus", "libopus", RATE, int(rng.uniform(6000, 24000)))


def _with_av(x: Floats, encoder: str, decoder: str, rate: int, bits: int) -> Floats:
    """Send x at `rate` through a codec of `av`, cut to its length; the coder's delay is taken off."""
    coder: Any = av.CodecContext.create(encoder, "w")
    coder.sample_rate, coder.layout, coder.format, coder.bit_rate = rate, "mono", "s16", bits
    coder.time_base = Fraction(1, rate)
    coder.open()
    size = coder.frame_size or rate // 50
    padded = np.pad(x, (0, -len(x) % size + 4 * size))
    pcm = np.clip(np.round(padded * 32768), -32768, 32767).astype("<i2")
    packets = []
    for at in range(0, len(pcm), size):
        frame = av.AudioFrame.from_ndarray(pcm[None, at : at + size], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, at, coder.time_base
        packets += coder.encode(frame)
    packets += coder.encode(None)
    back: Any = av.CodecContext.create(decoder, "r")
    back.sample_rate, back.layout = rate, "mono"
    out = [frame for packet in packets for frame in back.decode(packet)]
    parts, decoded = [], rate
    for frame in out:
        part = frame.to_ndarray()[0]
        parts.append(part / 32768 if part.dtype == np.int16 else part.astype(np.float64))
        decoded = frame.sample_rate
    y = np.concatenate(parts)
    if decoded != rate:
        y = resample_poly(y, rate, decoded)
    y = y[_delay(x, y) :][: len(x)]
    return np.pad(y, (0, len(x) - len(y)))


def _delay(x: Floats, y: Floats) -> int:
    """Return by how many samples y lags behind x, up to 40 ms: labels must still fit."""
    n = 1 << (2 * max(len(x), len(y)) - 1).bit_length()
    likeness = np.fft.irfft(np.fft.rfft(y, n) * np.conj(np.fft.rfft(x, n)), n)
    return int(np.argmax(likeness[: len(x) // 20 + 1][: RATE // 12]))


# By how often they are drawn: AMR, Opus and Vorbis cost more than all the rest of a piece.
CODERS: tuple[Coder, ...] = (
    *[as_it_is] * 6,
    *[through("ULAW", "WAV")] * 4,
    *[through("ALAW", "WAV")] * 3,
    *[through("GSM610", "WAV")] * 2,
    *[g722] * 2,
    *[amr] * 2,
    *[opus] * 2,
    through("VORBIS", "OGG"),
)
