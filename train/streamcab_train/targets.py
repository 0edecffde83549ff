"""A teacher's output on the recordings of a recipe: frames, the directions that distinguish accents, opinions.

Frames are kept in files of a few clips each, so that a killed process can be continued. Knows nothing of nets.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamcab.source.file import read_audio
from streamcab_train.context_keys import ContextKeys
from streamcab_train.opinion import balance, fewer, opinions, regress
from streamcab_train.voices import NO_CLASS, Parts, Voice

CLIPS = 200
"""Clips per file of the teacher's frames."""
FEW = 25
"""Least clips of an accent for its direction to be learnt."""

MOST = 5000
"""Clips of a class, at most, that the opinion is fitted on: the time goes with their number."""

Floats = NDArray[np.float32]
Encode = Callable[[Floats, int], Floats]


def hear_teacher(
    voices: Sequence[Voice], encode: Encode, folder: Path, say: Callable[[str], object]
) -> list[NDArray[np.float16]]:
    """Return the teacher's frames (n, width) for each recording."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, len(voices), CLIPS):
        file = folder / f"{first:06d}.npz"
        if not file.exists():
            some = [
                encode(*read_audio(voice.path)).astype(np.float16) for voice in voices[first : first + CLIPS]
            ]
            part = file.with_suffix(f".{os.getpid()}.part")
            with part.open("wb") as out:
                np.savez(out, x=np.concatenate(some), n=np.array([len(f) for f in some]))
            part.replace(file)
            say(f"the teacher has heard {min(first + CLIPS, len(voices))} of {len(voices)} clips")
    found: list[NDArray[np.float16]] = []
    for file in sorted(folder.glob("*.npz")):
        kept = np.load(file)
        found += np.split(kept["x"], np.cumsum(kept["n"])[:-1])
    return found


def telling(keys: ContextKeys, voices: Sequence[Voice], parts: Parts, means: Floats) -> NDArray[np.float64]:
    """Return the directions in which a regression of all accents with FEW clips or more looks, (width, accents)."""
    accents = np.array([v.accent for v in voices])
    names, count = np.unique(accents[parts.teaches & (accents != "")], return_counts=True)
    names = names[count >= min(FEW, count.max())]
    some = np.flatnonzero(parts.teaches & np.isin(accents, names))
    y = np.searchsorted(names, accents[some])
    corpora = np.array([v.corpus for v in voices])[some]
    return regress(means[some], y, balance(y, corpora), keys.penalty).directions


def opinions_on(keys: ContextKeys, voices: Sequence[Voice], parts: Parts, means: Floats) -> Floats:
    """Return the teacher's opinion on each clip, (clips, classes + 1): the last one is no class."""
    y = np.array([v.label for v in voices])
    y[parts.stranger] = len(keys.labels)
    y[~parts.teaches] = NO_CLASS
    corpora, groups = (np.array([getattr(v, of) for v in voices]) for of in ("corpus", "group"))
    y = fewer(y, groups, MOST, keys.seed)
    told = opinions(means, y, corpora, groups, penalty=keys.penalty, seed=keys.seed)
    if told.shape[1] == len(keys.labels):
        told = np.column_stack((told, np.zeros(len(told))))
    return told.astype(np.float32)
