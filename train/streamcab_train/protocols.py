"""The two splits of the paper's tables: speakers disjoint, and shared between training and test.

Both are written as manifests with a column `split`, so that every network gets the same clips. If each speaker
has a single file, each file is cut into equal pieces for the shared split.
Knows nothing of nets.
"""

import csv
import os
import wave
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from streamcab.errors import ConfigError, CorpusError
from streamcab.source.file import read_audio
from streamcab_train.manifest import PARTS, Clip, Manifest
from streamcab_train.recipe_keys import CorpusKeys, SplitKeys
from streamcab_train.split import DISJOINT, SHARED, split_clips

COLUMNS = ("path", "label", "speaker", "split", "seconds")


@dataclass(frozen=True)
class Protocol:
    """name: speaker-disjoint or shared; seconds (n,) of each clip; manifest: with a split, for `corpus`."""

    name: str
    manifest: Path
    corpus: CorpusKeys
    clips: tuple[Clip, ...]
    seconds: tuple[float, ...]

    @property
    def shared(self) -> bool:
        """Whether training and test share voices."""
        return self.name == SHARED

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return clips and speakers by class and part."""
        found: dict[str, dict[str, dict[str, int]]] = {}
        for clip in self.clips:
            found.setdefault(clip.label, {part: {"clips": 0, "speakers": 0} for part in PARTS})
        for label, parts in found.items():
            for part, count in parts.items():
                own = [c.speaker for c in self.clips if (c.label, c.part) == (label, part)]
                count["clips"], count["speakers"] = len(own), len(set(own))
        return found


def limited(manifest: Manifest, speakers: int | None, seed: int) -> tuple[Clip, ...]:
    """Return at most this many speakers of each class, drawn by the seed."""
    if speakers is None:
        return manifest.clips
    kept: set[str] = set()
    for label in manifest.labels:
        names = sorted({clip.speaker for clip in manifest.clips if clip.label == label})
        order = np.random.default_rng([seed, 4]).permutation(len(names))[:speakers]
        kept |= {names[i] for i in order}
    return tuple(clip for clip in manifest.clips if clip.speaker in kept)


def disjoint(manifest: Manifest, clips: Sequence[Clip], split: SplitKeys, out: Path) -> Protocol:
    """Split whole clips by speaker."""
    where = [replace(clip, path=str(manifest.audio(clip).resolve())) for clip in clips]
    seconds = [len(samples) / rate for samples, rate in (read_audio(Path(clip.path)) for clip in where)]
    return _written(out / "disjoint.csv", DISJOINT, where, seconds, split)


def shared(manifest: Manifest, clips: Sequence[Clip], split: SplitKeys, out: Path, pieces: int) -> Protocol:
    """Split by clip, ignoring speakers; first cut each file into `pieces`, under `out`, if that is more than 1."""
    if pieces == 1:
        voices = {clip.speaker for clip in clips}
        if len(voices) == len(clips):
            raise ConfigError(
                f"{manifest.file}: every speaker has a single file, so none can be shared: --pieces 3 cuts each"
            )
        where = [replace(clip, path=str(manifest.audio(clip).resolve())) for clip in clips]
        seconds = [len(x) / rate for x, rate in (read_audio(Path(clip.path)) for clip in where)]
        return _written(out / "shared.csv", SHARED, where, seconds, split)
    folder = out / "pieces"
    folder.mkdir(parents=True, exist_ok=True)
    where, seconds = [], []
    for number, clip in enumerate(clips):
        samples, rate = read_audio(manifest.audio(clip))
        for k, piece in enumerate(np.array_split(samples, pieces)):
            file = folder / f"{number}_{k}.wav"
            if not file.exists():
                _write_wav(file, piece, rate)
            where.append(replace(clip, path=str(file.resolve())))
            seconds.append(len(piece) / rate)
    return _written(out / "shared.csv", SHARED, where, seconds, split)


def _written(
    file: Path, name: str, clips: Sequence[Clip], seconds: Sequence[float], split: SplitKeys
) -> Protocol:
    clips = [replace(clip, part="") for clip in clips]
    parts = split_clips(clips, split, shared=name == SHARED)
    done = tuple(replace(clip, part=part) for clip, part in zip(clips, parts, strict=True))
    part_file = file.with_name(f".{file.name}.part")
    with part_file.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for clip, s in zip(done, seconds, strict=True):
            writer.writerow([clip.path, clip.label, clip.speaker, clip.part, f"{s:.3f}"])
    os.replace(part_file, file)
    corpus = CorpusKeys(split="split", labels={label: label for label in _in_order(done)})
    return Protocol(name, file, corpus, done, tuple(seconds))


def _in_order(clips: Sequence[Clip]) -> list[str]:
    labels = sorted({clip.label for clip in clips})
    if len(labels) < 2:
        raise CorpusError(f"two or more classes are needed, there are {len(labels)}")
    return labels


def _write_wav(file: Path, samples: "np.typing.NDArray[np.float32]", rate: int) -> None:
    part = file.with_name(f".{file.name}.part")
    with wave.open(str(part), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes())
    os.replace(part, file)
