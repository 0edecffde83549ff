"""What a run learns from: the clips of a manifest that can be heard, their features, and the part of each.

Brings manifest, features and split together, and counts what came of it. Knows nothing of models' weights.
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
    """How much there is of a class in a part."""

    label: str
    part: str
    clips: int
    speakers: int
    seconds: float


@dataclass(frozen=True)
class Dataset:
    """Clips (n) with their parts (n), and the features, whose clip i is clips[i].

    dropped  how many rows of the manifest are not here, by reason
    hash     of paths, classes, speakers and the contents of the files: 12 hex digits
    twins    which clips are the same recording
    """

    clips: tuple[Clip, ...]
    parts: tuple[str, ...]
    features: Features
    architecture: Architecture
    dropped: dict[str, int]
    hash: str
    twins: Twins = field(default_factory=Twins)

    def select(self, part: str) -> Selection:
        """The clips of a part."""
        labels = self.architecture.labels
        chosen = [i for i, p in enumerate(self.parts) if p == part]
        y = [labels.index(self.clips[i].label) for i in chosen]
        return Selection(
            self.features, np.array(chosen, np.int64), np.array(y, np.int64), self.architecture.gate
        )

    def counts(self) -> Iterator[Count]:
        """For each class and part."""
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
    """The dataset of a manifest: features from the cache or made now, short and silent clips dropped, the
    rest split. With a `net` they are as it hears them, and its architecture is that of the recipe's place.

    CorpusError for a file that cannot be heard, a class of which nothing is left, speakers or a recording on two sides,
    and with `strict` for a recording that stands there twice.
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
    """The same for other labels; evidence, which was fitted for the labels before, is left out."""
    return dataclasses.replace(
        architecture, labels=labels, summary=0, lags=(), phones=0, reach=0, phone_hidden=0
    )


def twins_of(manifest: Manifest, clips: Sequence[Clip], features: Features, strict: bool) -> Twins:
    """Which clips are the same recording. With `strict` CorpusError where any is."""
    found = find_twins(features.fingerprints, features.rows)
    if strict and found.count:
        raise CorpusError(f"{manifest.file}: {found.in_words(clips)}; leave them out, or leave out --strict")
    return found
