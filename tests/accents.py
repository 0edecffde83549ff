"""A corpus of a few synthetic voices, a teacher for it, and a recipe of a few steps that streams it."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from speech import talk
from streamcab_train.context_keys import ContextKeys, ModelKeys, StageKeys, StreamKeys

KEYS = ContextKeys(
    classes={"us": "us", "england": "uk"},
    model=ModelKeys(
        stages=((8, 16, 16, 8), (8, 6, 10, 5), (10, 6, 10, 5)),
        trunk=((3, 1, 1), (3, 2, 0)),
        trunk_hidden=8,
        classifiers=4,
    ),
    stages=(StageKeys("frames", steps=4, learning_rate=2e-3, frames=1.0, intervals=200),),
    strangers=("french",),
    left_out=("korean",),
    components=5,
    penalty=1.0,
    stream=StreamKeys(shard=3, window=2, hearings=0.2),
)


def encode(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """A teacher of 50 frames a second: logarithms of a few bands."""
    hop = rate // 50
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    bands = np.abs(np.fft.rfft(frames))[:, 1:].reshape(len(frames), 8, -1).mean(2)
    return np.log(bands + 1e-3).astype(np.float32)


def make_accents(folder: Path, voices: int = 4) -> Path:
    """The manifest of so many voices of each of four accents, a clip of each."""
    rows = ["path,accent,speaker"]
    for k, accent in enumerate(("us", "england", "french", "korean")):
        for voice in range(voices):
            name = f"{accent}{voice}.wav"
            soundfile.write(folder / name, talk(2.5, 8000, 10 * k + voice), 8000)
            rows.append(f"{name},{accent},{accent}{voice}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"
