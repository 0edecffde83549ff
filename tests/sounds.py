"""What arrives besides clean speech, made from fixed seeds: tones, music, noises, the project's clips in noise.

Everything is float64 at 8 kHz, full scale being 1. None of these makers, nor its numbers, had a part in the training of
the speech detector. Tones follow ITU-T E.180, Q.23 and T.30.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, resample_poly, sosfilt

RATE = 8000
CLIPS = Path(__file__).parents[1] / "streamcab" / "clips"

Sound = NDArray[np.float64]


@cache
def clip(name: str) -> Sound:
    """One of the project's clips."""
    x, rate = soundfile.read(CLIPS / f"{name}.ogg", dtype="float64")
    y: Sound = resample_poly(x, RATE, rate)
    return y


def speech(names: str) -> Sound:
    """Clips by name, one after another."""
    return np.concatenate([clip(name) for name in names.split()])


def level(x: Sound, db: float) -> Sound:
    """With an RMS of so many dB of full scale, over what is not nearly silent."""
    loud = np.abs(x) > 1e-3 * np.abs(x).max()
    return x * 10 ** (db / 20) / np.sqrt(np.mean(x[loud] ** 2))


def voiced_power(x: Sound) -> float:
    """Power over the 20 ms frames that lie less than 25 dB below the loudest: pauses do not count."""
    e = (x[: len(x) // 160 * 160].reshape(-1, 160) ** 2).mean(1)
    return float(e[e > e.max() * 10**-2.5].mean())


def in_noise(x: Sound, noise: Sound, snr_db: float) -> Sound:
    """Speech with noise under all of it; the ratio is that of the power while it is spoken."""
    noise = noise[: len(x)] / np.sqrt(np.mean(noise[: len(x)] ** 2))
    y = x + noise * np.sqrt(voiced_power(x)) * 10 ** (-snr_db / 20)
    return y * min(1.0, 0.7 / np.abs(y).max())


def floor(n: int, db: float = -75.0) -> Sound:
    """The noise of a line."""
    return 10 ** (db / 20) * np.random.default_rng(3).normal(0, 1, n)


def white(seconds: float, seed: int) -> Sound:
    """White noise."""
    return np.random.default_rng(seed).normal(0, 1, round(seconds * RATE))


def coloured(seconds: float, seed: int, power: float) -> Sound:
    """Power falls as 1 / f ** power: 1 is pink, 2 is brown."""
    n = round(seconds * RATE)
    f = np.fft.rfftfreq(n, 1 / RATE)
    s = np.fft.rfft(white(seconds, seed)) / np.maximum(f, 20) ** (power / 2)
    s[f < 20] = 0
    x = np.fft.irfft(s, n)
    return x / x.std()


def band(x: Sound, low: float, high: float) -> Sound:
    """Nothing below `low` or above `high` Hz, of which 0 and 4000 are no limits."""
    kind, limits = (
        ("lowpass", high)
        if low <= 0
        else ("highpass", low)
        if high >= RATE / 2
        else ("bandpass", (low, high))
    )
    y: Sound = sosfilt(butter(6, limits, kind, fs=RATE, output="sos"), x)
    return y


def slow(n: int, seed: int, hz: float) -> Sound:
    """A wandering value around 0 with deviation 1, changing at about so many Hz."""
    x = lfilter([1], [1, -np.exp(-2 * np.pi * hz / RATE)], np.random.default_rng(seed).normal(0, 1, n))
    return x / x.std()


def street(seconds: float, seed: int) -> Sound:
    """Traffic: rumble, tyres of cars that pass, an engine that is revved."""
    n = round(seconds * RATE)
    t = np.arange(n) / RATE
    rng = np.random.default_rng(seed)
    x = 0.4 * coloured(seconds, seed + 1, 1.5)
    tyres = band(white(seconds, seed + 2), 300, 2500)
    for _ in range(int(seconds / 3)):
        x += 2.5 * tyres * np.exp(-(((t - rng.uniform(0, seconds)) / rng.uniform(0.4, 1.2)) ** 2))
    f = 28 + 9 * np.clip(slow(n, seed + 3, 0.3), -1.5, 2)
    phase = 2 * np.pi * np.cumsum(f) / RATE
    engine = sum(np.sin(k * phase + k * k) / k**0.7 for k in range(1, 24))
    return x + 0.25 * engine * (1 + 0.4 * slow(n, seed + 4, 4))


def wind(seconds: float, seed: int) -> Sound:
    """Gusts over a microphone."""
    n = round(seconds * RATE)
    gust = np.exp(0.9 * slow(n, seed, 0.5))
    whistle = band(white(seconds, seed + 1), 400, 900)
    return coloured(seconds, seed + 2, 1.6) * gust + 0.8 * whistle * gust**2


def keyboard(seconds: float, seed: int, per_s: float = 6.0) -> Sound:
    """Key strokes: a click when pressed and a softer one when let go."""
    n = round(seconds * RATE)
    rng = np.random.default_rng(seed)
    x = 1e-3 * rng.normal(0, 1, n)
    at = 0.2
    while at < seconds - 0.3:
        for delay, loud in ((0.0, 1.0), (rng.uniform(0.06, 0.11), 0.4)):
            k, m = int((at + delay) * RATE), int(0.03 * RATE)
            t = np.arange(m) / RATE
            f = rng.uniform(900, 3200)
            stroke = np.exp(-t * 220) * (rng.normal(0, 1, m) + np.sin(2 * np.pi * f * t))
            x[k : k + m] += loud * rng.uniform(0.5, 1.0) * stroke[: n - k]
        at += rng.exponential(1 / per_s) + 0.05
    return x


def hum(seconds: float, hz: float = 50.0) -> Sound:
    """Mains: the fundamental and its harmonics."""
    t = np.arange(round(seconds * RATE)) / RATE
    parts = (1, 0.5, 0.7, 0.2, 0.4, 0.1, 0.25)
    return np.sum([a * np.sin(2 * np.pi * hz * (k + 1) * t + k) for k, a in enumerate(parts)], 0)


def swelling(x: Sound, hz: float = 0.7) -> Sound:
    """The same, louder and softer by turns."""
    return x * (1 + 0.8 * np.sin(2 * np.pi * hz * np.arange(len(x)) / RATE))


def sines(hz: Sequence[float], seconds: float) -> Sound:
    """Sines together, with soft edges; none are silence."""
    t = np.arange(round(seconds * RATE)) / RATE
    x = sum((np.sin(2 * np.pi * f * t) for f in hz), np.zeros(len(t)))
    edge = min(len(t) // 2, round(0.002 * RATE))
    if len(hz) and edge:
        x[:edge] *= np.linspace(0, 1, edge)
        x[-edge:] *= np.linspace(1, 0, edge)
    return x


def cadence(parts: Sequence[tuple[Sequence[float], float]], seconds: float, db: float = -15.0) -> Sound:
    """(frequencies in Hz, seconds) again and again; no frequency is silence."""
    once = np.concatenate([sines(hz, s) for hz, s in parts])
    n = round(seconds * RATE)
    x = np.tile(once, n // len(once) + 1)[:n]
    return level(x, db) + 10 ** (-75 / 20) * white(seconds, 1)


_KEYS = {
    key: (row, column)
    for row, keys in zip((697, 770, 852, 941), ("123A", "456B", "789C", "*0#D"), strict=True)
    for key, column in zip(keys, (1209, 1336, 1477, 1633), strict=True)
}


def dtmf(digits: str, seconds: float, on: float = 0.1, off: float = 0.1) -> Sound:
    """Dialling, ITU-T Q.23."""
    return cadence([part for d in digits for part in ((_KEYS[d], on), ((), off))], seconds)


def fsk(bits: Sequence[int], baud: float, mark: float, space: float) -> Sound:
    """Bits as one of two tones, of continuous phase; a 1 is `mark`."""
    at = (np.arange(int(len(bits) * RATE / baud)) * baud // RATE).astype(int)
    f = np.where(np.asarray(bits)[at], mark, space)
    return np.sin(2 * np.pi * np.cumsum(f) / RATE)


def fax(seed: int) -> Sound:
    """ITU-T T.30: three calling tones, the answer (CED), then V.21 preamble and frames at 300 bit/s."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(2):
        parts += [sines((1100,), 0.5), np.zeros(3 * RATE)]
    parts += [sines((2100,), 3.0), np.zeros(int(0.075 * RATE))]
    for _ in range(3):
        flags = [0, 1, 1, 1, 1, 1, 1, 0] * 37
        parts += [fsk(flags + rng.integers(0, 2, 330).tolist(), 300, 1650, 1850), np.zeros(RATE // 2)]
    x = np.concatenate(parts)
    return level(x, -15) + 10 ** (-75 / 20) * white(len(x) / RATE, 2)


def howler(seconds: float) -> Sound:
    """The tone of a receiver left off its hook."""
    return cadence([((1400, 2060, 2450, 2600), 0.1), ((), 0.1)], seconds, -8.0)


def note(midi: float, seconds: float, rng: np.random.Generator, bright: float) -> Sound:
    """A plucked or bowed note by additive synthesis."""
    t = np.arange(round(seconds * RATE)) / RATE
    f = 440 * 2 ** ((midi - 69) / 12) * (1 + 0.002 * np.sin(2 * np.pi * 5.2 * t))
    phase = 2 * np.pi * np.cumsum(f) / RATE
    x = np.zeros(len(t))
    for k in range(1, 10):
        if f[0] * k < 0.47 * RATE:
            x += np.sin(k * phase + rng.uniform(0, 6)) * bright ** (k - 1) * np.exp(-t * 0.5 * k)
    rise, fall = min(len(t), int(0.02 * RATE)), min(len(t), int(0.06 * RATE))
    x[:rise] *= np.linspace(0, 1, rise)
    x[-fall:] *= np.linspace(1, 0, fall)
    return x


def music(
    seconds: float, seed: int, bpm: float = 96, key: int = 57, minor: bool = False, drums: float = 0.15
) -> Sound:
    """Four chords round and round with a bass, a random melody and a soft drum."""
    rng = np.random.default_rng(seed)
    scale = (0, 2, 3, 5, 7, 8, 10) if minor else (0, 2, 4, 5, 7, 9, 11)
    beat, n = 60 / bpm, round(seconds * RATE)
    x = np.zeros(n + 8 * RATE)

    def put(at: float, y: Sound, gain: float) -> None:
        k = round(at * RATE)
        x[k : k + len(y)] += gain * y

    bar, at, place = 0, 0.0, 7
    roots = rng.permutation([0, 3, 4, 5])
    while at < seconds:
        root = int(roots[bar % 4])
        for third in (0, 2, 4):
            degree = root + third
            put(at, note(key + scale[degree % 7] + 12 * (degree // 7), 4 * beat, rng, 0.55), 0.25)
        put(at, note(key - 12 + scale[root], 2 * beat, rng, 0.4), 0.4)
        b = 0.0
        while b < 4:
            long = float(rng.choice([0.5, 1.0, 1.5]))
            place = int(np.clip(place + rng.integers(-2, 3), 3, 14))
            put(
                at + b * beat,
                note(key + 12 + scale[place % 7] + 12 * (place // 7 - 1), long * beat, rng, 0.7),
                0.6,
            )
            b += long
        for b in range(4):
            t = np.arange(int(0.1 * RATE)) / RATE
            put(at + b * beat, rng.normal(0, 1, len(t)) * np.exp(-t * 60), drums)
        at += 4 * beat
        bar += 1
    return level(x[:n], -20)


SOUNDS: dict[str, Callable[[], Sound]] = {
    "busy": lambda: cadence([((480, 620), 0.5), ((), 0.5)], 12),
    "ringing": lambda: cadence([((400, 450), 0.4), ((), 0.2), ((400, 450), 0.4), ((), 2.0)], 15),
    "special information": lambda: cadence(
        [((913.8,), 0.274), ((1370.6,), 0.274), ((1776.7,), 0.38), ((), 2.5)], 13.7
    ),
    "dialling": lambda: dtmf("0123456789*#", 9.6),
    "fax": lambda: fax(1),
    "music on hold": lambda: music(20, 2, bpm=94, key=54),
    "street": lambda: level(street(12, 25), -22),
    "wind": lambda: level(wind(12, 26), -22),
    "keyboard": lambda: level(keyboard(12, 7), -25) + floor(12 * RATE),
    "hum": lambda: level(swelling(hum(12)), -25) + floor(12 * RATE),
    "howler": lambda: howler(10),
    "dial tone": lambda: cadence([((350, 440), 1.0)], 10),
    "music in minor": lambda: music(20, 9, bpm=132, key=60, minor=True, drums=0.4),
}
"""What is no speech, by name."""
