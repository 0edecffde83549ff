"""Sounds that are not speech, made from numbers: the tones of telephones and noises; music is in instruments.py.

Each maker takes how many samples and a random generator, and gives 8 kHz float64 at an RMS of about 1. Frequencies,
cadences and shapes are drawn at random around those of ITU-T E.180 and Q.23, so that no single table is learnt.
"""

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

from streamcab_train.instruments import RATE, Floats, music, unit

Maker = Callable[[int, np.random.Generator], Floats]

CALL_HZ = (330, 350, 375, 400, 412.5, 425, 440, 450, 480, 500, 540, 620, 660, 700, 800, 900)
"""What dial, busy and ringing tones of E.180's national tables are made of."""
ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)


def _sines(n: int, hz: list[float], rng: np.random.Generator) -> Floats:
    t = np.arange(n) / RATE
    x = np.zeros(n)
    for f in hz:
        x += rng.uniform(0.5, 1.0) * np.sin(2 * np.pi * f * t + rng.uniform(0, 6.3))
    edge = min(n // 2, int(rng.uniform(0.0005, 0.008) * RATE))
    if edge:
        x[:edge] *= np.linspace(0, 1, edge)
        x[-edge:] *= np.linspace(1, 0, edge)
    return x


def _repeated(n: int, parts: list[tuple[list[float], float]], rng: np.random.Generator) -> Floats:
    once = np.concatenate([_sines(max(int(s * RATE), 1), hz, rng) for hz, s in parts])
    x = np.tile(once, n // len(once) + 2)
    start = int(rng.integers(0, len(once)))
    return x[start : start + n]


def call_tone(n: int, rng: np.random.Generator) -> Floats:
    """Make a dial, busy, congestion or ringing tone, with a cadence of one to three bursts."""
    hz = [
        float(f) * rng.uniform(0.99, 1.01)
        for f in rng.choice(CALL_HZ, int(rng.integers(1, 4)), replace=False)
    ]
    if rng.random() < 0.2:
        # A ringing tone that is modulated, as in the United Kingdom's and India's tables.
        x = _repeated(n, [(hz, rng.uniform(0.4, 2)), ([], rng.uniform(0.2, 4))], rng)
        return unit(x * (1 + 0.8 * np.sin(2 * np.pi * rng.choice([16, 20, 25, 33]) * np.arange(n) / RATE)))
    if rng.random() < 0.15:
        return unit(_sines(n, hz, rng))
    parts: list[tuple[list[float], float]] = []
    for _ in range(int(rng.integers(1, 4))):
        parts += [(hz, rng.uniform(0.08, 1.2)), ([], rng.uniform(0.05, 0.8))]
    parts[-1] = ([], rng.choice([rng.uniform(0.1, 0.8), rng.uniform(1, 4.5)]))
    return unit(_repeated(n, parts, rng))


def information_tone(n: int, rng: np.random.Generator) -> Floats:
    """Make a special information tone: three rising tones, then a pause."""
    base = np.sort(rng.uniform(700, 2000, 3)) if rng.random() < 0.5 else np.array([950.0, 1400.0, 1800.0])
    long = rng.uniform(0.2, 0.45)
    parts = [([float(f)], long) for f in base]
    return unit(_repeated(n, [*parts, ([], rng.uniform(0.3, 3))], rng))


def dialling(n: int, rng: np.random.Generator) -> Floats:
    """Make DTMF digits (Q.23), or pairs of other frequencies as registers signal."""
    on, off = rng.uniform(0.04, 0.25), rng.uniform(0.04, 0.3)
    rows: tuple[int, ...] = ROWS
    columns: tuple[int, ...] = COLUMNS
    if rng.random() < 0.2:
        rows = columns = (700, 900, 1100, 1300, 1500, 1700)
    parts: list[tuple[list[float], float]] = []
    for _ in range(int(rng.integers(3, 14))):
        parts += [([float(rng.choice(rows)), float(rng.choice(columns))], on), ([], off)]
    if rng.random() < 0.5:
        parts.append(([], rng.uniform(0.2, 2)))
    return unit(_repeated(n, parts, rng))


def beeps(n: int, rng: np.random.Generator) -> Floats:
    """Make beeps, sweeps and warbles: recorders, alarms, machines."""
    t = np.arange(n) / RATE
    rate, f = rng.uniform(0.3, 8), rng.uniform(300, 3000)
    kind = rng.integers(0, 4)
    if kind == 0:
        return unit(_repeated(n, [([f], rng.uniform(0.05, 0.8)), ([], rng.uniform(0.1, 3))], rng))
    wave = np.sin(2 * np.pi * rate * t)
    swing = rng.uniform(0.02, 0.4) * (np.sign(wave) if kind == 1 else wave if kind == 2 else (rate * t) % 1)
    phase = 2 * np.pi * np.cumsum(f * (1 + swing)) / RATE
    x = np.sin(phase)
    for k in range(2, int(rng.integers(2, 6))):
        x += rng.uniform(0, 0.5) * np.sin(k * phase)
    if rng.random() < 0.4:
        x *= (t % rng.uniform(0.5, 3)) < rng.uniform(0.2, 1.5)
    return unit(x)


def data_tone(n: int, rng: np.random.Generator) -> Floats:
    """Make a modem's tone: two-tone signalling or phase shifts of a carrier."""
    baud = float(rng.choice([75, 600, 1200]))
    symbols = rng.integers(0, 4, int(n * baud / RATE) + 2)[(np.arange(n) * baud / RATE).astype(int)]
    f = rng.uniform(1000, 2000)
    if rng.random() < 0.5:
        hz = np.where(symbols % 2, f, f + rng.uniform(400, 1000))
        return unit(np.sin(2 * np.pi * np.cumsum(hz) / RATE))
    return unit(np.sin(2 * np.pi * f * np.arange(n) / RATE + symbols * np.pi / 2))


def coloured(n: int, rng: np.random.Generator, power: float) -> Floats:
    """Make noise whose power falls as 1 / f ** power: 0 is white, 1 pink, 2 brown."""
    f = np.fft.rfftfreq(n, 1 / RATE)
    s = np.fft.rfft(rng.normal(0, 1, n)) / np.maximum(f, 20) ** (power / 2)
    s[f < 20] = 0
    return unit(np.fft.irfft(s, n))


def white(n: int, rng: np.random.Generator) -> Floats:
    """Make white noise."""
    return rng.normal(0, 1, n)


def pink(n: int, rng: np.random.Generator) -> Floats:
    """Make pink noise."""
    return coloured(n, rng, 1.0)


def brown(n: int, rng: np.random.Generator) -> Floats:
    """Make brown noise."""
    return coloured(n, rng, 2.0)


def shaped(n: int, rng: np.random.Generator) -> Floats:
    """Make noise of any slope through one or two random resonances or bands."""
    x = coloured(n, rng, rng.uniform(-1, 2.5))
    for _ in range(int(rng.integers(0, 3))):
        low = rng.uniform(50, 2500)
        x = x * rng.uniform(0, 1) + unit(_band(x, low, min(low * rng.uniform(1.2, 4), 3900)))
    return unit(x)


def _band(x: Floats, low: float, high: float) -> Floats:
    out: Floats = sosfilt(butter(3, (low, high), "bandpass", fs=RATE, output="sos"), x)
    return out


def _slow(n: int, rng: np.random.Generator, hz: float) -> Floats:
    """Return a random walk around 0 with deviation 1 that changes at about `hz` Hz, smoothly or roughly."""
    if rng.random() < 0.5:
        rough = lfilter([1], [1, -np.exp(-2 * np.pi * hz / RATE)], rng.normal(0, 1, n))
        return unit(rough)
    few = rng.normal(0, 1, max(int(n / RATE * hz * 2), 2) + 3)
    return np.interp(np.arange(n), np.linspace(0, n, len(few)), few)


def swelling(n: int, rng: np.random.Generator) -> Floats:
    """Make noise or hum that swells and fades, slowly or as fast as syllables."""
    x = shaped(n, rng) if rng.random() < 0.7 else hum(n, rng)
    if rng.random() < 0.5:
        return unit(x * np.exp(rng.uniform(0.3, 1.5) * _slow(n, rng, rng.uniform(0.2, 6))))
    t = np.arange(n) / RATE
    return unit(x * (1 + rng.uniform(0.3, 1) * np.sin(2 * np.pi * rng.uniform(0.2, 8) * t)))


def hum(n: int, rng: np.random.Generator) -> Floats:
    """Make the hum of mains of 50 or 60 Hz, and of machines, with random harmonics."""
    t = np.arange(n) / RATE
    f = rng.choice([50.0, 60.0, 100.0, 120.0, rng.uniform(30, 400)]) * rng.uniform(0.995, 1.005)
    x = np.zeros(n)
    for k in range(1, int(rng.integers(2, 30))):
        if k * f < 3900:
            x += (
                rng.uniform(0, 1)
                / k ** rng.uniform(0, 1.5)
                * np.sin(2 * np.pi * k * f * t + rng.uniform(0, 6.3))
            )
    return unit(x + rng.uniform(0, 0.1) * rng.normal(0, 1, n))


def engine(n: int, rng: np.random.Generator) -> Floats:
    """Make the sound of an engine or a fan: harmonics of a wandering pitch in rumble."""
    f = rng.uniform(15, 180) * np.exp(rng.uniform(0.02, 0.4) * _slow(n, rng, rng.uniform(0.1, 1.0)))
    phase = 2 * np.pi * np.cumsum(f) / RATE
    x = np.zeros(n)
    for k in range(1, int(rng.integers(6, 40))):
        if k * float(f.max()) < 3900:
            x += rng.uniform(0.2, 1) / k ** rng.uniform(0.3, 1.3) * np.sin(k * phase + rng.uniform(0, 6.3))
    shake = 1 + rng.uniform(0, 0.5) * np.tanh(_slow(n, rng, rng.uniform(1, 12)))
    return unit(unit(x) * shake + rng.uniform(0.05, 1.0) * shaped(n, rng))


def wind(n: int, rng: np.random.Generator) -> Floats:
    """Make gusts over a microphone, with or without a whistle."""
    gust = np.exp(rng.uniform(0.4, 1.3) * _slow(n, rng, rng.uniform(0.3, 2.5)))
    x = coloured(n, rng, rng.uniform(1.2, 2.5)) * gust
    low = rng.uniform(250, 900)
    whistle = unit(_band(rng.normal(0, 1, n), low, low * rng.uniform(1.1, 2.5)))
    return unit(x + rng.uniform(0, 0.8) * whistle * gust ** rng.uniform(1, 2))


def rain(n: int, rng: np.random.Generator) -> Floats:
    """Make a hiss and drops."""
    x = rng.uniform(0.05, 1) * coloured(n, rng, rng.uniform(-0.5, 0.8))
    return unit(x + _strokes(n, rng, rng.uniform(20, 300), 0.004, 600, 3800))


def clicks(n: int, rng: np.random.Generator) -> Floats:
    """Make clicks, knocks, taps and clatter, singly or in trains."""
    x = _strokes(n, rng, rng.uniform(0.7, 14), float(np.exp(rng.uniform(-6.2, -3))), 150, 3500)
    return unit(x + rng.uniform(0, 0.02) * rng.normal(0, 1, n))


def _strokes(n: int, rng: np.random.Generator, per_s: float, decay: float, low: float, high: float) -> Floats:
    x = np.zeros(n + RATE)
    t = np.arange(int(8 * decay * RATE) + 2) / RATE
    for at in rng.integers(0, n, max(int(rng.poisson(per_s * n / RATE)), 1)):
        f, d = rng.uniform(low, high), decay * rng.uniform(0.5, 1.5)
        body = np.exp(-t / d) * (rng.uniform(0, 1) * rng.normal(0, 1, len(t)) + np.sin(2 * np.pi * f * t))
        x[at : at + len(t)] += rng.uniform(0.2, 1) * body[: len(x) - at]
    return x[:n]


def crackle(n: int, rng: np.random.Generator) -> Floats:
    """Make the noise of a bad line: bursts that come and go at random."""
    bursts = np.repeat(rng.random(n // 80 + 1) < rng.uniform(0.02, 0.5), 80)[:n]
    gate = lfilter([0.2], [1, -0.8], bursts.astype(np.float64))
    return unit(shaped(n, rng) * gate + 1e-3 * rng.normal(0, 1, n))


TONES: dict[str, Maker] = {
    "call-tone": call_tone,
    "information-tone": information_tone,
    "dialling": dialling,
    "beeps": beeps,
    "data-tone": data_tone,
}
NOISES: dict[str, Maker] = {
    "white": white,
    "pink": pink,
    "brown": brown,
    "shaped": shaped,
    "swelling": swelling,
    "hum": hum,
    "engine": engine,
    "wind": wind,
    "rain": rain,
    "clicks": clicks,
    "crackle": crackle,
}
MAKERS: dict[str, Maker] = {**TONES, **NOISES, "music": music}
