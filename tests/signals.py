"""Sounds with known answers, and how tests wait: for what must happen, never for a time.

Knows nothing of streamcab but its rings.
"""

import time
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from patience import PATIENCE_S

from streamcab.source import Line

Samples = NDArray[np.float32]


def tone(hz: float, seconds: float, rate: int, level: float = 0.5) -> Samples:
    """A sine of amplitude `level`: (seconds * rate,)."""
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds: float, rate: int, level: float = 0.1, seed: int = 0) -> Samples:
    """White noise of standard deviation `level`."""
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def ramp(n: int) -> Samples:
    """n samples, each 2**-20 above the last: whatever is lost, doubled or moved shows."""
    return (np.arange(n) * 2.0**-20).astype(np.float32)


def syllables(seconds: float, rate: int, level: float = 0.3, seed: int = 0) -> Samples:
    """Like speech: two syllables a second, harmonics of a moving pitch, with pauses and a little breath."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate)
    t = np.arange(n) / rate
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.3 * t + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 12) if k * 150 < rate / 2)
    envelope = np.clip(np.sin(2 * np.pi * 2 * t), 0, None) * (np.sin(2 * np.pi * 0.21 * t) > -0.7)
    sound = envelope * voice + 0.02 * rng.standard_normal(n)
    return (level * sound / np.abs(sound).max()).astype(np.float32)


def write_wav(path: Path, samples: NDArray[np.floating], rate: int, subtype: str = "PCM_16") -> Path:
    """Samples (n,) or (n, channels) as a file of the format that the name ends in."""
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def peak_hz(samples: Samples, rate: int) -> float:
    """The frequency with the most power."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    spectrum[0] = 0
    return float(spectrum.argmax()) * rate / len(samples)


def newest(line: Line, n: int) -> Samples:
    """The last n samples of a stream."""
    start = np.array([line.bank.written[line.row] - n])
    return line.bank.read(np.array([line.row]), start, n)[0]


def drain(line: Line, step: int | None = None, timeout: float = PATIENCE_S) -> Samples:
    """Read a stream to its end as the engine would, at most `step` samples at a time, making room."""
    bank, row = line.bank, line.row
    deadline = time.monotonic() + timeout
    parts = []
    while True:
        ended = bool(bank.ended[row])
        have = int(bank.written[row] - bank.consumed[row])
        if not have:
            if ended:
                return np.concatenate(parts) if parts else np.zeros(0, np.float32)
            assert time.monotonic() < deadline, f"the stream did not end within {timeout:g} s"
            bank.arrived.wait(0.05)
            bank.arrived.clear()
            continue
        n = min(have, step or have)
        parts.append(bank.read(np.array([row]), bank.consumed[[row]], n)[0])
        bank.consumed[row] += n
