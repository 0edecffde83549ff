"""Simple generated music at 8 kHz. Knows nothing of its use."""

import numpy as np
from numpy.typing import NDArray

RATE = 8000

Floats = NDArray[np.float64]


def unit(x: Floats) -> Floats:
    """Scale to an RMS of about 1."""
    return x / max(float(x.std()), 1e-9)


def note(n: int, hz: float, rng: np.random.Generator) -> Floats:
    """Play a plucked, struck, bowed or blown note."""
    t = np.arange(n) / RATE
    f = hz * (1 + rng.uniform(0, 0.006) * np.sin(2 * np.pi * rng.uniform(4, 7) * t))
    phase = 2 * np.pi * np.cumsum(f) / RATE
    bright, decay = rng.uniform(0.3, 0.9), rng.choice([0.0, rng.uniform(0.2, 5)])
    x = np.zeros(n)
    for k in range(1, 12):
        if hz * k < 3900:
            x += bright ** (k - 1) * np.exp(-t * decay * k**0.7) * np.sin(k * phase + rng.uniform(0, 6.3))
    rise, fall = min(n, int(rng.uniform(0.002, 0.08) * RATE)), min(n, int(0.03 * RATE))
    x[:rise] *= np.linspace(0, 1, rise)
    x[n - fall :] *= np.linspace(1, 0, fall)
    return x


def music(n: int, rng: np.random.Generator) -> Floats:
    """Play chords, a bass, a melody and a drum, each there or not, at any speed."""
    x = np.zeros(n + 10 * RATE)
    beat, key = 60 / rng.uniform(50, 180), int(rng.integers(40, 65))
    scale = [0, 2, 4, 5, 7, 9, 11] if rng.random() < 0.6 else [0, 2, 3, 5, 7, 8, 10]
    parts = rng.random(4) < [0.7, 0.6, 0.8, 0.5]
    parts[int(rng.integers(0, 3))] = True

    def put(at: float, midi: int, beats: float, gain: float) -> None:
        y = note(int(beats * beat * RATE) + 1, 440 * 2 ** ((midi - 69) / 12), rng)
        k = int(at * beat * RATE)
        x[k : k + len(y)] += gain * y[: len(x) - k]

    bar, place = 0.0, 7
    while bar * beat * RATE < n:
        root = int(rng.integers(0, 7))
        if parts[0]:
            for third in (0, 2, 4):
                put(
                    bar,
                    key + scale[(root + third) % 7] + 12 * ((root + third) // 7),
                    4,
                    rng.uniform(0.1, 0.4),
                )
        if parts[1]:
            for b in range(0, 4, int(rng.choice([1, 2, 4]))):
                put(bar + b, key - 12 + scale[root], rng.choice([1, 2, 4]), rng.uniform(0.2, 0.6))
        at = 0.0
        while parts[2] and at < 4:
            long = float(rng.choice([0.25, 0.5, 1, 1.5, 2]))
            place = int(np.clip(place + rng.integers(-3, 4), 0, 14))
            put(bar + at, key + 12 + scale[place % 7] + 12 * (place // 7), long, rng.uniform(0.3, 0.9))
            at += long
        for b in np.arange(0, 4, rng.choice([0.5, 1, 2])) if parts[3] else []:
            k = int((bar + b) * beat * RATE)
            t = np.arange(int(0.15 * RATE)) / RATE
            hit = np.exp(-t * rng.uniform(20, 120)) * (
                rng.normal(0, 1, len(t)) + 2 * np.sin(2 * np.pi * 90 * t)
            )
            x[k : k + len(t)] += rng.uniform(0.05, 0.5) * hit[: max(len(x) - k, 0)]
        bar += 4
    return unit(x[:n])
