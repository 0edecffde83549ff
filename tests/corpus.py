"""A tiny corpus that can be learned: each class hums at its own pitch, in syllables."""

import csv
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

PITCH = {"low": 300.0, "mid": 700.0, "high": 1500.0}


def syllables(pitch: float, seconds: float, rate: int, seed: int) -> NDArray[np.float32]:
    """A hum that rises and falls four times a second over faint noise, (n,): the gate takes it for speech."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    loudness = np.clip(np.sin(2 * np.pi * 4 * t + rng.uniform(0, 6)), 0, None) * rng.uniform(0.1, 0.4)
    hum = np.sin(2 * np.pi * pitch * rng.uniform(0.95, 1.05) * t) + 0.3 * rng.standard_normal(len(t))
    return (loudness * hum + 1e-3 * rng.standard_normal(len(t))).astype(np.float32)


def make_corpus(
    folder: Path,
    *,
    labels: tuple[str, ...] = ("low", "high"),
    speakers: int = 5,
    clips: int = 1,
    seconds: float = 2.5,
    rate: int = 8000,
    columns: str = "path,label,speaker",
    first_seed: int = 0,
) -> Path:
    """`speakers` of each class with `clips` each, as WAV; the manifest's path. Later clips are longer."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for label in labels:
        for speaker in range(speakers):
            for clip in range(clips):
                seed = first_seed + len(rows)
                name = f"{label}{speaker}_{clip}.wav"
                soundfile.write(
                    folder / name, syllables(PITCH[label], seconds + 0.1 * clip, rate, seed), rate
                )
                rows.append([name, label, f"{label}{speaker}"])
    return write_manifest(folder / "manifest.csv", rows, columns)


def write_manifest(file: Path, rows: list[list[str]], columns: str = "path,label,speaker") -> Path:
    """A manifest with these rows."""
    with file.open("w", newline="", encoding="utf-8") as text:
        csv.writer(text).writerows([columns.split(","), *rows])
    return file
