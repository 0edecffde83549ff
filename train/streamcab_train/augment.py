"""Augmentation: a recording as it might have sounded in other rooms, on other microphones, lines and codecs.

Corpora differ in their channels, and a net will learn these in place of accents if it can. Every function takes samples
(n,) and returns as many, except `change_speed`. Knows nothing of corpora or of labels.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, resample, sosfilt

Floats = NDArray[np.float32]
Rng = np.random.Generator

CODECS = {
    "ulaw": ("WAV", "ULAW"),
    "alaw": ("WAV", "ALAW"),
    "adpcm": ("WAV", "IMA_ADPCM"),
    "gsm": ("WAV", "GSM610"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
}
"""Container and coding, as libsndfile calls them."""
LOSSY = ("mp3", "opus")
"""Those whose bit rate can be chosen."""
OFTEN = ("ulaw", "alaw", "adpcm", "gsm", "gsm", "mp3", "opus", "opus")
QUIET = 1e-9


@dataclass(frozen=True)
class Augmented:
    """samples (n,), whose time t is the time t * speed of what they were made from."""

    samples: Floats
    speed: float


def augment(x: Floats, rate: int, rng: Rng, voices: Sequence[Floats] = ()) -> Augmented:
    """Make one random version of x (n,) at `rate` Hz; `voices` are what babble is made of."""
    speed = 1.0
    if rng.random() < 0.6:
        speed = float(rng.uniform(0.92, 1.08))
        x = change_speed(x, speed)
    if rng.random() < 0.3:
        x = reverberate(x, rate, rng)
    if rng.random() < 0.8:
        x = equalise(x, rate, rng, float(rng.choice([4, 8, 12])))
    if rng.random() < 0.35:
        x = _filter(x, rate, int(rng.integers(1, 4)), float(rng.uniform(60, 320)), "highpass")
    if rng.random() < 0.25:
        x = _filter(x, rate, int(rng.integers(1, 5)), float(rng.uniform(0.3, 0.475)) * rate, "lowpass")
    kind = rng.random()
    if kind < 0.4:
        x = mix(x, noise(len(x), rate, rng), float(rng.uniform(6, 32)))
    elif kind < 0.55 and voices:
        x = mix(x, babble(len(x), voices, rng), float(rng.uniform(6, 32)))
    if rng.random() < 0.7:
        x = through_codec(x, rate, rng, str(rng.choice(OFTEN)))
    if rng.random() < 0.15:
        x = lose_packets(x, rate, rng)
    return Augmented(x.astype(np.float32), speed)


def change_speed(x: Floats, speed: float) -> Floats:
    """Play x `speed` times as fast: pitch and formants move with it."""
    padded = np.pad(x, (0, -len(x) % 8))
    faster: Floats = resample(padded, max(round(len(padded) / speed), 1)).astype(np.float32)
    return faster


def reverberate(x: Floats, rate: int, rng: Rng) -> Floats:
    """Play x in a room: a decaying noise of 0.1 to 0.7 s behind the direct sound."""
    seconds = rng.uniform(0.1, 0.7)
    n = int(seconds * rate)
    tail = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n)
    tail[: int(rng.uniform(0.001, 0.008) * rate)] = 0
    tail *= 10 ** (rng.uniform(-18, -3) / 20) / (np.sqrt(np.sum(tail**2)) + QUIET)
    tail[0] = 1
    wet: Floats = fftconvolve(x, tail)[: len(x)].astype(np.float32)
    return wet


def equalise(x: Floats, rate: int, rng: Rng, decibels: float) -> Floats:
    """Apply a smooth random frequency response within +-`decibels`."""
    size = 1 << max(len(x) - 1, 1).bit_length()
    points = int(rng.integers(4, 9))
    at, gain = np.sort(rng.uniform(0, rate / 2, points)), rng.uniform(-decibels, decibels, points)
    response = 10 ** (np.interp(np.fft.rfftfreq(size, 1 / rate), at, gain) / 20)
    out: Floats = np.fft.irfft(np.fft.rfft(x, size) * response, size)[: len(x)].astype(np.float32)
    return out


def noise(n: int, rate: int, rng: Rng) -> Floats:
    """Make white to pink noise, sometimes swelling, sometimes with hum."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum *= np.maximum(np.fft.rfftfreq(n), 1 / n) ** -rng.uniform(0, 1)
    t, y = np.arange(n) / rate, np.fft.irfft(spectrum, n)
    if rng.random() < 0.3:
        y = y * (1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.3, 4) * t))
    if rng.random() < 0.2:
        y = y + 3 * _level(y) * np.sin(2 * np.pi * rng.choice([50, 60, 100, 120]) * t)
    return y.astype(np.float32)


def babble(n: int, voices: Sequence[Floats], rng: Rng) -> Floats:
    """Mix one to six of the voices, equally loud."""
    total = np.zeros(n)
    for _ in range(rng.integers(1, 7)):
        voice = voices[int(rng.integers(len(voices)))]
        total += np.roll(np.resize(voice, n), rng.integers(n)) / (_level(voice) + QUIET)
    return total.astype(np.float32)


def mix(x: Floats, other: Floats, decibels: float) -> Floats:
    """Add `other` (n,) to x, `decibels` less loud than x."""
    gain = _level(x) / (_level(other) + QUIET) * 10 ** (-decibels / 20)
    return (x + gain * other).astype(np.float32)


def through_codec(x: Floats, rate: int, rng: Rng, codec: str) -> Floats:
    """Code and decode x, at a random level and, where there is a choice, at a random bit rate."""
    scaled = x / (np.max(np.abs(x), initial=0) + QUIET) * rng.uniform(0.1, 0.95)
    container, coding = CODECS[codec]
    level = {"compression_level": float(rng.uniform(0.5, 0.95))} if codec in LOSSY else {}
    file = io.BytesIO()
    soundfile.write(file, scaled, rate, format=container, subtype=coding, **level)
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    return np.pad(decoded[: len(x)], (0, max(len(x) - len(decoded), 0)))


def lose_packets(x: Floats, rate: int, rng: Rng) -> Floats:
    """Silence a few stretches of 10 to 100 ms."""
    x = x.copy()
    for _ in range(rng.integers(1, 6)):
        start = rng.integers(len(x))
        x[start : start + rng.integers(rate // 100, rate // 10)] = 0
    return x


def _filter(x: Floats, rate: int, order: int, hertz: float, kind: Literal["highpass", "lowpass"]) -> Floats:
    filtered: Floats = sosfilt(butter(order, hertz, kind, fs=rate, output="sos"), x).astype(np.float32)
    return filtered


def _level(x: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(x))))
