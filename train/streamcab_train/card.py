"""The card of a model, kept in its checkpoint: its origin, its scores, and its licence.

Contains nothing that depends on the clock or the machine: the same run gives the same file. Knows nothing of training.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from streamcab import __version__
from streamcab_train.dataset import Dataset
from streamcab_train.loop import Judged
from streamcab_train.recipe import Recipe
from streamcab_train.scores import interval_95
from streamcab_train.split import DISJOINT, SHARED
from streamcab_train.state import Progress
from streamcab_train.twins import taught_on


def protocol(shared: bool) -> str:
    """Return the note on the split that every score must be read with."""
    return SHARED if shared else DISJOINT


def make_card(
    recipe: Recipe,
    dataset: Dataset,
    judged: Mapping[str, Judged],
    progress: Progress,
    parameters: int,
    shared: bool,
) -> dict[str, Any]:
    """Return the card, as JSON takes it.

    Args:
        recipe: Of the run.
        dataset: Its clips.
        judged: Answers on each part.
        progress: The epochs.
        parameters: Number of the model's parameters.
        shared: Whether speakers may be in several parts.
    """
    labels = dataset.architecture.labels
    counts = list(dataset.counts())
    return {
        "name": f"CAB-CNN {'/'.join(labels)}",
        "corpus": recipe.corpus.name,
        "corpus_hash": dataset.hash,
        "licence": recipe.corpus.licence,
        "protocol": protocol(shared),
        "speakers": {label: {c.part: c.speakers for c in counts if c.label == label} for label in labels},
        "training_speakers": speaker_hashes(speakers_of(dataset, "train")),
        "taught_on": taught(dataset, "train"),
        "clips": {label: {c.part: c.clips for c in counts if c.label == label} for label in labels},
        "hours": {
            label: round(sum(c.seconds for c in counts if c.label == label) / 3600, 3) for label in labels
        },
        "scores": {part: _scores(dataset, part, j, shared) for part, j in judged.items()},
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "parameters": parameters,
        "recipe": recipe.to_dict(),
        "made_with": {"streamcab": __version__, "torch": torch.__version__.split("+")[0]},
    }


def speaker_hashes(speakers: Iterable[str]) -> list[str]:
    """Return hashes by which `streamcab evaluate` recognises a speaker without knowing the name, 12 hex digits."""
    return sorted({hashlib.sha256(speaker.encode()).hexdigest()[:12] for speaker in speakers if speaker})


def taught(dataset: Dataset, *parts: str) -> dict[str, Any]:
    """Return hashes by which `streamcab evaluate` recognises a recording of these parts.

    The salt belongs to this corpus. It is no secret, but makes hashes computed for another model useless.
    """
    salt = hashlib.sha256(f"taught {dataset.hash}".encode()).hexdigest()[:32]
    told = zip(dataset.features.fingerprints, dataset.parts, strict=True)
    return taught_on([one for one, part in told if part in parts], salt)


def _scores(dataset: Dataset, part: str, judged: Judged, shared: bool) -> dict[str, Any]:
    s, labels = judged.scores, dataset.architecture.labels
    speakers = speakers_of(dataset, part)
    interval = interval_95(judged.truth, judged.probabilities.argmax(1), speakers, len(labels))
    return {
        "accuracy": round(s.accuracy, 4),
        "uar": round(s.uar, 4),
        "uar_95": None if interval is None else [round(x, 4) for x in interval],
        "f1": round(s.f1, 4),
        "recall": {label: round(float(r), 4) for label, r in zip(labels, s.recall, strict=True)},
        "confusion": s.confusion.tolist(),
        "clips": len(judged.truth),
        "speakers": len(set(speakers)),
        "protocol": protocol(shared),
    }


def speakers_of(dataset: Dataset, part: str) -> list[str]:
    """Return the speaker of each clip of a part; a clip of an unknown speaker counts as a speaker of its own."""
    return [
        clip.speaker or clip.path for clip, p in zip(dataset.clips, dataset.parts, strict=True) if p == part
    ]
