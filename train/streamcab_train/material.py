"""Material for training the speech detector: clean speech with the teacher's opinion, and sounds without speech.

`gather` reads corpora and folders of packages once, and writes 8 kHz arrays to a scratch folder; `material` opens them.
All of the corpora in `judged` is for the test; none of the packages in `voices` is. Knows nothing of mixing and of
nets.
"""

import csv
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from streamcab_train.instruments import RATE

log = logging.getLogger("streamcab.detect")

INTERVAL = 200
SUFFIXES = {".ogg", ".oga", ".wav", ".mp3", ".flac"}
MOST_SOUND_S = 60
PER_PACKAGE = 40
PER_VOICE = 120
"""Files of a folder of voices, which may all be of one."""
JUDGED = 100
"""Clips of a corpus that serves for judging alone."""
HEARD_AS_SPEECH = 0.03
"""A sound of which the teacher finds more than this to be speech is left out: sung words above all."""
SURE = 0.9
"""A clip in which the teacher is never so sure of speech is left out."""

Floats = NDArray[np.float32]


class Teacher(Protocol):
    """Says how surely chunks and intervals are speech, as silero.Silero does."""

    def chunks(self, x: Floats) -> Floats:
        """Compute (B, chunks) from (B, n)."""

    def intervals(self, x: Floats) -> Floats:
        """Compute (B, n // INTERVAL) from (B, n)."""


@dataclass(frozen=True)
class Clip:
    """Clean speech: x (n,) at 8 kHz, and how surely each interval is speech, (n // INTERVAL,)."""

    x: Floats
    speech: Floats


@dataclass(frozen=True)
class Material:
    """Clean clips of `speech`, and recorded `sounds` (n,) without speech, all at 8 kHz."""

    speech: list[Clip]
    sounds: list[Floats]


def at_8k(path: Path) -> Floats:
    """Read at most `MOST_SOUND_S` of a file, as the mean of its channels at 8 kHz."""
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        x: Floats = file.read(MOST_SOUND_S * rate, dtype="float32", always_2d=True).mean(1)
    if rate != RATE:
        common = int(np.gcd(rate, RATE))
        x = resample_poly(x, RATE // common, rate // common).astype(np.float32)
    return x


def is_test(name: str, share: float = 0.15) -> bool:
    """Return whether a speaker is kept for the test: by name, so that new speakers do not move the others."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 < share


def gather(
    folder: Path,
    teacher: Teacher,
    manifests: list[Path],
    judged: list[Path],
    voices: list[Path],
    sounds: list[Path],
    keep_out: list[str],
    most: int,
) -> None:
    """Write speech-train.npz and speech-test.npz, the same of sounds, and speech-FOLDER.npz of each of `judged`."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Floats]] = {"train": [], "test": []}
    for manifest in manifests:
        for name, x in _clips(manifest, most):
            found["test" if is_test(name) else "train"].append(x)
    for package in voices:
        found["train"] += [x for f in _audio(package)[:PER_VOICE] if len(x := _whole(f)) >= RATE]
    for manifest in judged:
        found[manifest.parent.name] = [x for _, x in _clips(manifest, JUDGED)]
    for side, clips in found.items():
        labels = _labels(teacher, clips)
        keep = [k for k, said in enumerate(labels) if said.max() > SURE]
        _save(folder / f"speech-{side}.npz", [clips[k] for k in keep], labels=[labels[k] for k in keep])
        log.info(f"{side}: {len(keep)} clips, {sum(len(clips[k]) for k in keep) / RATE / 60:.0f} minutes")
    _gather_sounds(folder, teacher, sounds, keep_out)


def _gather_sounds(folder: Path, teacher: Teacher, sounds: list[Path], keep_out: list[str]) -> None:
    for side in ("train", "test"):
        kept, names, dropped = [], [], 0
        for package in sorted(p for root in sounds for p in root.iterdir() if p.is_dir()):
            if (package.name in keep_out) != (side == "test"):
                continue
            for f in _audio(package)[:PER_PACKAGE]:
                try:
                    x = at_8k(f)
                except Exception as error:  # a package may hold anything
                    log.warning("%s: %s", f.name, error)
                    continue
                if len(x) < RATE // 4 or float(np.abs(x).max()) < 1e-3:
                    continue
                said = teacher.chunks((x / np.abs(x).max() * 0.5)[None])[0]
                if len(said) and float((said > 0.5).mean()) > HEARD_AS_SPEECH:
                    dropped += 1
                    continue
                kept.append(x)
                names.append(f"{package.name}/{f.name}")
        _save(folder / f"sounds-{side}.npz", kept, names=names)
        minutes = sum(map(len, kept)) / RATE / 60
        log.info(f"{side}: {len(kept)} sounds, {minutes:.0f} minutes, {dropped} heard as speech")


def sure(x: Floats, said: Floats) -> Floats:
    """Return the teacher's opinion `said` of clean speech, made sharp where the level of an interval decides.

    Within 50 ms of what the teacher calls speech, whatever is less than 22 dB below the voiced level is speech. What
    lies 40 dB below it for 125 ms around is none.
    """
    power = (x[: len(said) * INTERVAL].reshape(-1, INTERVAL).astype(np.float64) ** 2).mean(1)
    voiced = power[power >= power.max() * 10**-2.5].mean()
    near = np.lib.stride_tricks.sliding_window_view(np.pad(said, 2), 5).max(1) > 0.5
    loudest = np.lib.stride_tricks.sliding_window_view(np.pad(power, 2), 5).max(1)
    found = np.where(near & (power > voiced * 10**-2.2), 1, said)
    return np.where(loudest < voiced * 1e-4, 0, found).astype(np.float32)


def material(folder: Path, side: str, sounds: str | None = None) -> Material:
    """Open what `gather` wrote for one side: `train`, `test`, or a judged corpus with the sounds of another side."""
    clips, data = _open(folder / f"speech-{side}.npz")
    recorded, _ = _open(folder / f"sounds-{sounds or side}.npz")
    cuts = np.cumsum([len(c) // INTERVAL for c in clips])[:-1]
    labels = np.split(data["labels"], cuts)
    return Material([Clip(x, sure(x, said)) for x, said in zip(clips, labels, strict=True)], recorded)


def _audio(folder: Path) -> list[Path]:
    """Return every file that may be audio, shuffled, always alike."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    return list(np.random.default_rng(1).permutation(np.array(files, object)))


def _whole(path: Path) -> Floats:
    """Return whole intervals of a file."""
    x = at_8k(path)
    return x[: len(x) // INTERVAL * INTERVAL]


def _clips(manifest: Path, most: int) -> list[tuple[str, Floats]]:
    """Return group or speaker and samples of at most `most` clips, whole intervals, at least a second."""
    with manifest.open() as file:
        rows = list(csv.DictReader(file))
    found = []
    for i in np.random.default_rng(0).permutation(len(rows))[:most]:
        row = rows[int(i)]
        x = _whole(manifest.parent / row["path"])
        if len(x) >= RATE:
            found.append((row.get("group") or row["speaker"], x))
    return found


def _labels(teacher: Teacher, clips: list[Floats]) -> list[Floats]:
    """Return the teacher's probabilities for each interval of clips, in batches of like lengths."""
    out: list[Floats] = [np.zeros(0, np.float32)] * len(clips)
    order = sorted(range(len(clips)), key=lambda k: len(clips[k]))
    for start in range(0, len(order), 64):
        some = order[start : start + 64]
        longest = max(len(clips[k]) for k in some)
        x = np.stack([np.pad(clips[k], (0, longest - len(clips[k]))) for k in some])
        # At a common level: the teacher judges speech, not loudness.
        x = x / np.maximum(np.abs(x).max(1, keepdims=True), 1e-4) * np.float32(0.5)
        for k, said in zip(some, teacher.intervals(x), strict=True):
            out[k] = said[: len(clips[k]) // INTERVAL]
    return out


def _save(path: Path, clips: list[Floats], **more: Any) -> None:
    packed = np.concatenate(clips) if clips else np.zeros(0, np.float32)
    x = np.round(np.clip(packed, -1, 1) * 32767).astype(np.int16)
    if "labels" in more:
        more["labels"] = np.concatenate(more["labels"]) if clips else np.zeros(0, np.float32)
    np.savez(path, x=x, length=np.array([len(c) for c in clips], np.int64), **more)


def _open(path: Path) -> tuple[list[Floats], Any]:
    data = np.load(path, allow_pickle=False)
    ends = np.cumsum(data["length"])
    x = data["x"]
    return [x[e - n : e].astype(np.float32) / 32768 for e, n in zip(ends, data["length"], strict=True)], data
