"""Pieces of ten seconds for the speech detector: speech, sounds and both, through rooms, noises, lines and codecs.

What is speech is known, since the speech was clean before it was mixed. Everything is drawn from one random generator,
so a seed gives the same pieces. Knows nothing of nets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from streamcab_train.instruments import RATE, Floats
from streamcab_train.material import INTERVAL, Clip, Material
from streamcab_train.phone_codecs import CODERS
from streamcab_train.sounds import MAKERS, NOISES

SECONDS = 10
LENGTH = SECONDS * RATE


@dataclass(frozen=True)
class Piece:
    """A mixture, x (LENGTH,), and the probability of speech in each of its intervals."""

    x: NDArray[np.float32]
    speech: NDArray[np.float32]
    kind: str


def voiced_power(x: Floats) -> float:
    """Return the power over the intervals that lie less than 25 dB below the loudest: pauses do not count."""
    e = (x[: len(x) // INTERVAL * INTERVAL].reshape(-1, INTERVAL) ** 2).mean(1)
    return float(e[e >= e.max() * 10**-2.5].mean())


def piece(material: Material, rng: np.random.Generator, only: Sequence[str] = ()) -> Piece:
    """Make one piece of any sort; with `only`, one without speech, recorded or by these makers."""
    draw = 0.6 if only else rng.random()
    if draw < 0.47:
        x, speech = _talk(material, rng, LENGTH)
        x, kind = _background(x, material, rng), "speech"
    elif draw < 0.87:
        x, kind = _sound(material, rng, LENGTH, only or tuple(MAKERS))
        x = _level(x, rng.uniform(-45, -8)) + _line(LENGTH, rng)
        speech = np.zeros(LENGTH // INTERVAL, np.float32)
    else:
        n = int(rng.uniform(2, 8) * RATE) // INTERVAL * INTERVAL
        talk, said = _talk(material, rng, n)
        other, name = _sound(material, rng, LENGTH - n)
        parts = [_level(talk, rng.uniform(-40, -12)), _level(other, rng.uniform(-40, -12))]
        labels = [said, np.zeros(len(other) // INTERVAL, np.float32)]
        turn = 1 if rng.random() < 0.6 else -1
        x = np.concatenate(parts[::turn]) + _line(LENGTH, rng)
        speech, kind = np.concatenate(labels[::turn]), f"speech+{name}"
    return Piece(degrade(x, rng), speech, kind)


def babble(speech: Sequence[Clip], rng: np.random.Generator, n: int) -> Floats:
    """Mix many voices, so that none is understood."""
    x = np.zeros(n)
    for _ in range(int(rng.integers(8, 24))):
        y = np.concatenate([speech[int(rng.integers(len(speech)))].x for _ in range(2)])
        y = np.roll(np.tile(y, n // len(y) + 1), int(rng.integers(len(y))))[:n]
        x += rng.uniform(0.4, 1.0) * y / max(float(y.std()), 1e-6)
    mixed: Floats = x / x.std()
    return mixed


def another_voice(clip: Clip, rng: np.random.Generator) -> Clip:
    """Play a clip slower or faster, so lower or higher, half of the time: voices that no corpus has."""
    if rng.random() < 0.5:
        return clip
    step = int(rng.integers(17, 25))
    x = resample_poly(clip.x, 20, step).astype(np.float32)
    n = len(x) // INTERVAL
    at = ((np.arange(n) + 0.5) * step / 20).astype(int)
    return Clip(x[: n * INTERVAL], clip.speech[np.minimum(at, len(clip.speech) - 1)])


def microphone(x: Floats, rng: np.random.Generator) -> Floats:
    """Apply a smooth response within +-10 dB."""
    points = np.array([0, 150, 400, 1000, 2000, 4000])
    response = np.interp(np.fft.rfftfreq(len(x), 1 / RATE), points, rng.uniform(-10, 10, len(points)))
    y: Floats = np.fft.irfft(np.fft.rfft(x) * 10 ** (response / 20), len(x))
    return y


def _talk(material: Material, rng: np.random.Generator, n: int) -> tuple[Floats, NDArray[np.float32]]:
    """Make clips with pauses, perhaps in a room: (n,), and what of it is speech."""
    x, speech = np.zeros(n), np.zeros(n // INTERVAL, np.float32)
    at = int(rng.uniform(0, 1.5) * RATE) // INTERVAL if rng.random() < 0.7 else 0
    while at < len(speech):
        clip = another_voice(material.speech[int(rng.integers(len(material.speech)))], rng)
        start = int(rng.integers(0, max(len(clip.speech) - 160, 1))) if rng.random() < 0.4 else 0
        h = min(len(clip.speech) - start, len(speech) - at)
        part = clip.x[start * INTERVAL : (start + h) * INTERVAL].astype(np.float64)
        gain = 10 ** (rng.uniform(-6, 6) / 20) / max(np.sqrt(voiced_power(part)), 1e-4)
        x[at * INTERVAL : (at + h) * INTERVAL] += part * gain
        speech[at : at + h] = clip.speech[start : start + h]
        at += h + int(rng.choice([0, rng.uniform(0, 40), rng.uniform(40, 160)]))
    if rng.random() < 0.4:
        decay = np.exp(rng.uniform(np.log(0.02), np.log(0.25)))
        t = np.arange(int(6 * decay * RATE)) / RATE
        room = rng.normal(0, 1, len(t)) * np.exp(-t / decay) * rng.uniform(0.02, 0.25)
        room[0] = 1.0
        x = fftconvolve(x, room)[:n]
    if rng.random() < 0.6:
        x = microphone(x, rng)
    return x, speech


def _sound(
    material: Material, rng: np.random.Generator, n: int, makers: Sequence[str] = tuple(MAKERS)
) -> tuple[Floats, str]:
    """Make a sound that is no speech."""
    draw = rng.random()
    if material.sounds and draw < 0.55:
        parts, have = [], 0
        while have < n:
            s = material.sounds[int(rng.integers(len(material.sounds)))]
            first = int(rng.integers(0, max(len(s) - n, 1)))
            part = s[first : first + n].astype(np.float64)
            part = part / max(np.sqrt(voiced_power(part)), 1e-4)
            gap = np.zeros(int(rng.choice([0, rng.uniform(0, 2)]) * RATE))
            parts += [part, gap]
            have += len(part) + len(gap)
        return np.concatenate(parts)[:n], "recorded"
    if material.speech and draw < 0.6:
        return babble(material.speech, rng, n), "babble"
    name = str(rng.choice(list(makers)))
    x = MAKERS[name](n, rng)
    if rng.random() < 0.25:
        x = x + rng.uniform(0, 0.7) * MAKERS[str(rng.choice(list(makers)))](n, rng)
        name += "+"
    return x, name


def _background(x: Floats, material: Material, rng: np.random.Generator) -> Floats:
    """Put a noise under all of the speech, or nearly none, at a level of its own."""
    power = voiced_power(x)
    draw = rng.random()
    if draw < 0.2 or power == 0:
        return _level(x, rng.uniform(-45, -8)) + _line(len(x), rng)
    if draw < 0.62:
        noise, snr = NOISES[str(rng.choice(list(NOISES)))](len(x), rng), rng.uniform(-5, 35)
    elif draw < 0.74:
        noise, snr = babble(material.speech, rng, len(x)), rng.uniform(0, 25)
    elif draw < 0.84:
        noise, snr = MAKERS["music"](len(x), rng), rng.uniform(-2, 25)
    else:
        noise, snr = _sound(material, rng, len(x))[0], rng.uniform(-2, 25)
    y = x + noise / max(float(noise.std()), 1e-6) * np.sqrt(power) * 10 ** (-snr / 20)
    return _level(y, rng.uniform(-40, -8))


def _line(n: int, rng: np.random.Generator) -> Floats:
    """Make the noise of a line, or of nothing at all."""
    return rng.normal(0, 10 ** (rng.uniform(-90, -55) / 20), n) if rng.random() < 0.8 else np.zeros(n)


def _level(x: Floats, db: float) -> Floats:
    y: Floats = x * 10 ** (db / 20) / max(np.sqrt(voiced_power(x)), 1e-9)
    return y


def degrade(x: Floats, rng: np.random.Generator) -> NDArray[np.float32]:
    """Send x through a telephone's band, a codec, losses of packets, and 16 bits."""
    draw = rng.random()
    if draw < 0.25:
        x = sosfilt(
            butter(3, (rng.uniform(150, 350), rng.uniform(3000, 3600)), "bandpass", fs=RATE, output="sos"), x
        )
    elif draw < 0.35:
        x = sosfilt(butter(6, rng.uniform(1800, 3400), "lowpass", fs=RATE, output="sos"), x)
    x = np.clip(x, -1, 32767 / 32768)
    x = CODERS[int(rng.integers(len(CODERS)))](x, rng)
    if rng.random() < 0.08:
        lost = np.repeat(rng.random(len(x) // 160 + 1) < rng.uniform(0.01, 0.15), 160)[: len(x)]
        x = np.where(lost, 0.0, x)
    return (np.round(np.clip(x, -1, 1) * 32767) / 32768).astype(np.float32)
