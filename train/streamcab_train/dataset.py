"""The dataset of a run: the usable clips of a manifest, their features, and the part of each.

Combines manifest, features and split, and counts the result. Knows nothing of models' weights.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from streamcab.errors import CorpusError
from streamcab.nn.cabcnn import Architecture
from streamcab.nn.weights import Net, detector_of
from streamcab_train.batches import Selection
from streamcab_train.features import Features, Progress, load_features, quietly
from streamcab_train.manifest import PARTS, Clip, Manifest
from streamcab_train.recipe import Recipe
from streamcab_train.split import split_clips
from streamcab_train.twins import Twins, find_twins


@dataclass(frozen=True)
class Count:
    """Clips, speakers and seconds of one class in one part."""

    label: str
    part: str
    clips: int
    speakers: int
    seconds: float


@dataclass(frozen=True)
class Dataset:
    """The n clips of a run; clip i of the features is clips[i].

    Attributes:
        clips: (n,)
        parts: Part of each clip: train, validation or test, (n,).
        features: Features of all clips.
        architecture: Of the model that is trained.
        dropped: Number of rows of the manifest that are not used, by reason.
        hash: Hash of paths, classes, speakers and contents of the files: 12 hex digits.
        twins: Clips that are the same recording.
    """

    clips: tuple[Clip, ...]
    parts: tuple[str, ...]
    features: Features
    architecture: Architecture
    dropped: dict[str, int]
    hash: str
    twins: Twins = field(default_factory=Twins)

    def select(self, part: str) -> Selection:
        """Return the clips of a part."""
        labels = self.architecture.labels
        chosen = [i for i, p in enumerate(self.parts) if p == part]
        y = [labels.index(self.clips[i].label) for i in chosen]
        return Selection(
            self.features, np.array(chosen, np.int64), np.array(y, np.int64), self.architecture.gate
        )

    def counts(self) -> Iterator[Count]:
        """Yield the counts of each class in each part."""
        for label in self.architecture.labels:
            for part in PARTS:
                rows = [
                    i
                    for i, (clip, p) in enumerate(zip(self.clips, self.parts, strict=True))
                    if (clip.label, p) == (label, part)
                ]
                speakers = len({self.clips[i].speaker for i in rows} - {""})
                seconds = int(self.features.length[rows].sum()) * self.architecture.interval_s
                yield Count(label, part, len(rows), speakers, seconds)


def gather(
    manifest: Manifest,
    recipe: Recipe,
    cache: Path,
    *,
    shared: bool = False,
    strict: bool = False,
    progress: Progress = quietly,
    net: Net | None = None,
) -> Dataset:
    """Build the dataset of a manifest: drop short and silent clips, and split the rest.

    Args:
        manifest: The clips.
        recipe: Determines architecture, lengths and split.
        cache: Folder of cached features.
        shared: Whether a speaker may be in several parts.
        strict: Refuse a corpus that contains a recording twice.
        progress: Reports progress while features are computed.
        net: Take architecture and speech detector from this net instead of the recipe.

    Raises:
        CorpusError: A file cannot be decoded, a class is empty, a speaker or a recording is in two parts, or with
            `strict` a recording occurs twice.
    """
    if net is None:
        architecture, detector = recipe.architecture(manifest.labels), None
    else:
        architecture, detector = replaced(net.architecture, manifest.labels), detector_of(net)
    files = [(f"{manifest.file} row {clip.row}", manifest.audio(clip)) for clip in manifest.clips]
    features = load_features(files, architecture, cache, progress, detector)
    every = Selection(features, np.zeros(0, np.int64), np.zeros(0, np.int64), architecture.gate)
    shortest = architecture.intervals(recipe.corpus.shortest_s)
    dropped = manifest.dropped.copy()
    rows = []
    for i in range(len(files)):
        if features.length[i] < shortest:
            dropped[f"shorter than {recipe.corpus.shortest_s:g} s"] += 1
        elif not every.votes(features.clip(i)[1]).any():
            dropped["nothing voiced"] += 1
        else:
            rows.append(i)
    clips = tuple(manifest.clips[i] for i in rows)
    for label in manifest.labels:
        if not any(clip.label == label for clip in clips):
            raise CorpusError(
                f"{manifest.file}: all clips of class {label!r} are too short or without speech"
            )
    features = dataclasses.replace(
        features,
        start=features.start[rows],
        length=features.length[rows],
        sha256=tuple(features.sha256[i] for i in rows),
        fingerprints=tuple(features.fingerprints[i] for i in rows),
    )
    twins = twins_of(manifest, clips, features, strict)
    content = sorted((c.path, c.label, c.speaker, h) for c, h in zip(clips, features.sha256, strict=True))
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
    parts = tuple(split_clips(clips, recipe.split, shared=shared, twins=twins))
    return Dataset(clips, parts, features, architecture, dict(dropped), digest, twins)


def replaced(architecture: Architecture, labels: tuple[str, ...]) -> Architecture:
    """Return the architecture for other labels, without evidence and `other`, which belong to the labels before."""
    return dataclasses.replace(
        architecture, labels=labels, summary=0, lags=(), phones=0, reach=0, phone_hidden=0, other=False
    )


def twins_of(manifest: Manifest, clips: Sequence[Clip], features: Features, strict: bool) -> Twins:
    """Return which clips are the same recording.

    Raises:
        CorpusError: Some clips are, and `strict` is set.
    """
    found = find_twins(features.fingerprints, features.rows)
    if strict and found.count:
        raise CorpusError(f"{manifest.file}: {found.in_words(clips)}; leave them out, or leave out --strict")
    return found
