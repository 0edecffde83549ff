"""A corpus as a list of clips with files, classes and speakers.

A manifest is a CSV file with a header: a path relative to the file, a label, a speaker, and other columns. All errors
are found here, with file and row, before training starts. Knows nothing of audio: no audio file is opened.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from streamcab.errors import CorpusError
from streamcab.text import opened
from streamcab_train.recipe_keys import CorpusKeys

PARTS = ("train", "validation", "test")
"""What a clip can be for."""


@dataclass(frozen=True)
class Clip:
    """One file of a corpus.

    Attributes:
        path: As in the manifest.
        label: Class.
        speaker: Empty if unknown.
        part: Empty unless the manifest has a split.
        row: Its line in the manifest.
    """

    path: str
    label: str
    speaker: str
    part: str
    row: int


@dataclass(frozen=True)
class Manifest:
    """The clips of the wanted classes, and the number of rows dropped, by reason."""

    file: Path
    clips: tuple[Clip, ...]
    labels: tuple[str, ...]
    dropped: Counter[str]

    def audio(self, clip: Clip) -> Path:
        """Return the path of a clip's file."""
        return self.file.parent / clip.path


def read_manifest(file: Path, keys: CorpusKeys, *, speakers: bool = True) -> Manifest:
    """Read and check a manifest.

    Classes keep the order of the label map; without a map they are sorted.

    Args:
        file: The manifest.
        keys: How to read it.
        speakers: Whether every row must name its speaker.

    Raises:
        CorpusError: Anything in it is wrong; a message of one line.
    """
    try:
        with opened(file) as text:
            clips, dropped = _rows(file, csv.DictReader(text, strict=True), keys, speakers)
    except OSError as error:
        raise CorpusError(f"cannot read the manifest {file}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{file} is not a CSV file in UTF-8: {error}") from None
    found = {clip.label for clip in clips}
    order = dict.fromkeys(keys.labels.values()) if keys.labels else sorted(found)
    missing = [label for label in order if label not in found]
    if missing:
        raise CorpusError(
            f"{file}: no row of class {missing[0]!r}; column {keys.label!r} has {_few(dropped)}"
        )
    if len(found) < 2:
        raise CorpusError(f"{file}: two or more classes are needed, there are {len(found)}")
    return Manifest(file, tuple(clips), tuple(order), dropped)


def read_rows(file: Path, keys: CorpusKeys) -> tuple[list[Clip], Counter[str]]:
    """Read the rows with the labels in `keys`, of any number of classes, and count the others by reason."""
    with opened(file) as text:
        return _rows(file, csv.DictReader(text, strict=True), keys, True)


def _rows(
    file: Path, reader: "csv.DictReader[str]", keys: CorpusKeys, speakers: bool
) -> tuple[list[Clip], Counter[str]]:
    columns = reader.fieldnames or []
    wanted = [
        keys.path,
        keys.label,
        *([keys.speaker] if speakers else []),
        *([keys.split] if keys.split else []),
    ]
    for column in wanted:
        if column not in columns:
            hint = " (without speakers: --allow-shared-speakers)" if column == keys.speaker else ""
            raise CorpusError(
                f"{file} has no column {column!r}, only {', '.join(columns) or 'nothing'}{hint}"
            )
    clips: list[Clip] = []
    dropped: Counter[str] = Counter()
    first: dict[str, int] = {}
    for row in reader:
        n = reader.line_num
        path, label, speaker, part = (
            (row.get(k) or "").strip() for k in (keys.path, keys.label, keys.speaker, keys.split)
        )
        if None in row:
            raise CorpusError(f"{file} row {n}: more fields than columns")
        if not label:
            dropped["no label"] += 1
            continue
        if keys.labels and label not in keys.labels:
            dropped[f"label {label}"] += 1
            continue
        if not path:
            raise CorpusError(f"{file} row {n}: no path")
        if path in first:
            raise CorpusError(f"{file} row {n}: {path} stands in row {first[path]} already")
        if speakers and not speaker:
            raise CorpusError(f"{file} row {n}: no speaker (without speakers: --allow-shared-speakers)")
        if keys.split and part not in PARTS:
            raise CorpusError(f"{file} row {n}: {keys.split} is {part!r}; it can be {', '.join(PARTS)}")
        if not (file.parent / path).is_file():
            raise CorpusError(f"{file} row {n}: no such file: {file.parent / path}")
        first[path] = n
        clips.append(Clip(path, keys.labels.get(label, label), speaker, part, n))
    return clips, dropped


def _few(dropped: Counter[str]) -> str:
    names = [reason.removeprefix("label ") for reason, _ in dropped.most_common(8)]
    return ", ".join(names) or "nothing else"
