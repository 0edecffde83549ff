"""Selects the clips that evaluate a trained model, and determines whether it was trained on their speakers.

The split comes from a column of the manifest, or from the model's own recipe if this is the corpus that it was trained
on, file by file, or all clips are taken. The speakers of training are those whose hashes are in the model's card, or
else those of the repeated split. Opens audio only to tell whether it is that corpus.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from streamcab.errors import CorpusError
from streamcab.nn.checkpoint import Checkpoint
from streamcab.text import opened
from streamcab_train.card import speaker_hashes
from streamcab_train.dataset import gather
from streamcab_train.manifest import PARTS, Clip, read_manifest
from streamcab_train.recipe import Recipe, make_recipe
from streamcab_train.recipe_keys import CorpusKeys
from streamcab_train.split import DISJOINT, SHARED

ALL = "all"
TRAITS = {"sex": ("sex", "gender"), "age": ("age",)}
"""What scores are broken down by, and how columns may call it."""


@dataclass(frozen=True)
class Chosen:
    """Clips to judge by, of a manifest.

    validation  the clips that may be fitted on; empty where nothing says which
    traits      a value for each of `clips`, where the manifest has the column
    protocol    what every score has to be read with
    """

    manifest: Path
    clips: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    traits: dict[str, tuple[str, ...]]
    protocol: str
    dropped: Counter[str]
    known: bool = False
    """Whether recordings that the model was trained on may be among them."""

    def file(self, clip: Clip) -> Path:
        """Return the path of a clip's file."""
        return self.manifest.parent / clip.path


def choose(
    data: Path,
    checkpoint: Checkpoint,
    cache: Path,
    *,
    split: str = "test",
    split_column: str = "",
    label_column: str = "",
    allow_shared: bool = False,
    fitting: bool = False,
) -> Chosen:
    """Return the clips of a split; CorpusError when the model was trained on their speakers, unless allowed.

    fitting  whether something will be fitted on the validation clips: then their speakers must be new, too
    """
    if split not in (*PARTS, ALL):
        raise CorpusError(f"no such split: {split!r}; choose from {', '.join((*PARTS, ALL))}")
    recipe = model_recipe(checkpoint)
    columns, rows = _raw(data)
    keys = _keys(recipe.corpus, columns, split_column, label_column)
    trained = checkpoint.card.get("training_speakers")
    if split == ALL or keys.split:
        keys = structs.replace(keys, split="" if split == ALL else keys.split)
        keys = structs.replace(keys, labels=_known_labels(data, keys, checkpoint, rows))
        manifest = read_manifest(data, keys, speakers=not allow_shared)
        clips, parts = manifest.clips, [clip.part for clip in manifest.clips]
        dropped = manifest.dropped
    else:
        if "recipe" not in checkpoint.card:
            raise CorpusError(
                f"the model's card has no recipe for splitting {data}; add --split-column or --split all"
            )
        shared = checkpoint.card.get("protocol") == SHARED
        manifest = read_manifest(data, keys, speakers=not shared)
        try:
            # What began from another model was dealt as that one hears.
            net = checkpoint.net if "start" in checkpoint.card else None
            dataset = gather(manifest, recipe, cache, shared=shared, net=net)
        except CorpusError as error:
            raise CorpusError(f"{error} (for another corpus use --split all or --split-column)") from None
        if dataset.hash != checkpoint.card.get("corpus_hash"):
            raise CorpusError(
                f"{data} is corpus {dataset.hash}, the model was trained on "
                f"{checkpoint.card.get('corpus_hash')}: --split all, or --split-column NAME"
            )
        clips, parts, dropped = dataset.clips, list(dataset.parts), Counter(dataset.dropped)
        if trained is None:
            own = (clip.speaker for clip, part in zip(clips, parts, strict=True) if part == "train")
            trained = speaker_hashes(own)
    chosen = tuple(clip for clip, part in zip(clips, parts, strict=True) if split in (ALL, part))
    if not chosen:
        raise CorpusError(f"{data}: split {split!r} has no clips")
    validation = tuple(clip for clip, part in zip(clips, parts, strict=True) if part == "validation")
    if fitting:
        # What is fitted on voices that were trained on is fitted to a surer model than there is.
        _protocol(validation, trained, allow_shared)
    by_path = {row[keys.path].strip(): row for row in rows}
    return Chosen(
        manifest=data,
        clips=chosen,
        validation=validation,
        traits=_traits(chosen, columns, by_path),
        protocol=_protocol(chosen, trained, allow_shared),
        dropped=dropped,
        known=allow_shared,
    )


def model_recipe(checkpoint: Checkpoint) -> Recipe:
    """Return the recipe that a card holds, or the defaults."""
    table: Any = checkpoint.card.get("recipe")
    return make_recipe(table, "the model's card") if isinstance(table, dict) else Recipe()


def _protocol(clips: Sequence[Clip], trained: Sequence[str] | None, allow_shared: bool) -> str:
    """Return whether the speakers are new to the model, in words.

    Raises:
        CorpusError: They are not, and `allow_shared` is not set.
    """
    voices = {clip.speaker for clip in clips} - {""}
    if trained is None:
        return "speakers unchecked: the model's card does not list its training speakers"
    known = set(trained)
    heard = sorted(v for v in voices if speaker_hashes([v])[0] in known)
    if heard and not allow_shared:
        raise CorpusError(
            f"{len(heard)} of {len(voices)} speakers, such as {heard[0]!r}, were trained on: the scores "
            "would be for known speakers; add --allow-shared-speakers if that is intended"
        )
    if heard:
        return f"{SHARED}: {len(heard)} of {len(voices)} were trained on"
    if any(not clip.speaker for clip in clips):
        return "speakers unknown"
    return DISJOINT


def _raw(data: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return header and rows unchecked: `read_manifest` reports their errors."""
    try:
        with opened(data) as text:
            reader = csv.DictReader(text, restval="")
            rows = list(reader)
            return list(reader.fieldnames or []), rows
    except OSError as error:
        raise CorpusError(f"cannot read the manifest {data}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{data} is not a CSV file in UTF-8: {error}") from None


def _keys(keys: CorpusKeys, columns: Sequence[str], split: str, label: str) -> CorpusKeys:
    """Return the columns of this manifest: as asked, as the model's corpus had them, or as `prepare` names them."""
    plain = CorpusKeys()

    def column(asked: str, own: str, default: str) -> str:
        return asked or (own if own in columns or default not in columns else default)

    return structs.replace(
        keys,
        path=column("", keys.path, plain.path),
        label=column(label, keys.label, plain.label),
        speaker=column("", keys.speaker, plain.speaker),
        split=split or (keys.split if keys.split in columns else ""),
    )


def _known_labels(
    data: Path, keys: CorpusKeys, checkpoint: Checkpoint, rows: Sequence[dict[str, str]]
) -> dict[str, str]:
    """Return the class of each label that is there: the recipe's map, and the classes themselves."""
    known = {label: label for label in checkpoint.architecture.labels} | keys.labels
    there = {(row.get(keys.label) or "").strip() for row in rows}
    found = {label: to for label, to in known.items() if label in there}
    if rows and keys.label in rows[0] and not found:
        raise CorpusError(
            f"{data}: no row of {', '.join(checkpoint.architecture.labels)} in column {keys.label!r}"
        )
    return found or known


def _traits(
    clips: Sequence[Clip], columns: Sequence[str], rows: dict[str, dict[str, str]]
) -> dict[str, tuple[str, ...]]:
    found = {}
    for trait, names in TRAITS.items():
        name = next((n for n in names if n in columns), None)
        if name is not None:
            found[trait] = tuple(rows[clip.path][name].strip().lower() for clip in clips)
    return found
