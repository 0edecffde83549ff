"""Builds a manifest from the voices of a layout: maps labels, reads lengths, counts dropped files by reason.

The manifest is a CSV file: path (relative to it), label (the class), speaker, accent (the corpus' own word), sex, age,
seconds. It appears complete or not at all. Knows nothing of any one corpus.
"""

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from streamcab.config.layers import read_toml
from streamcab.errors import AudioError, ConfigError, CorpusError, SourceError
from streamcab.source.file import blocks
from streamcab.source.formats import open_audio
from streamcab.text import as_unicode
from streamcab_train.prepare import archive, common_voice, folders, l2_arctic, vctk
from streamcab_train.prepare.row import Layout, Voice

LAYOUTS: dict[str, Layout] = {
    "common-voice": common_voice.voices,
    "vctk": vctk.voices,
    "speech-accent-archive": archive.voices,
    "l2-arctic": l2_arctic.voices,
    "cslu-fae": folders.cslu_fae,
    "ut-podcast": folders.ut_podcast,
    "tree": folders.tree,
}
COLUMNS = ("path", "label", "speaker", "accent", "sex", "age", "seconds")
EVERYWHERE = "labels"
"""The section of a label map that holds for every corpus; the others are named as the corpora."""


@dataclass(frozen=True)
class Row:
    """A line of the manifest."""

    path: str
    label: str
    speaker: str
    accent: str
    sex: str
    age: str
    seconds: float


@dataclass(frozen=True)
class Prepared:
    """The result of a preparation, with the number of files dropped by reason."""

    rows: tuple[Row, ...]
    dropped: Counter[str]


def read_labels(file: Path, corpus: str) -> dict[str, str]:
    """Read a label map from TOML, for one corpus: its accent in small letters, and the class.

    `[labels]` holds for all corpora; a section with the corpus' name goes before it. ConfigError in one line.
    """
    tables = read_toml(file, "label map")
    for name, table in tables.items():
        if name not in (EVERYWHERE, *LAYOUTS):
            raise ConfigError(
                f"{file}: unknown section [{name}]; there are {EVERYWHERE}, {', '.join(LAYOUTS)}"
            )
        if not isinstance(table, dict) or not all(isinstance(v, str) and v for v in table.values()):
            raise ConfigError(f"{file}: [{name}] must be a table of accent = class, both in quotes")
    both = {**tables.get(EVERYWHERE, {}), **tables.get(corpus, {})}
    if not both:
        raise ConfigError(f"{file} maps no accent of {corpus}")
    return {accent.strip().lower(): label for accent, label in both.items()}


def prepare(
    corpus: str,
    folder: Path,
    out: Path,
    labels: Mapping[str, str] | None = None,
    per_speaker: int | None = None,
) -> Prepared:
    """Write the manifest of a corpus in `folder` to `out`.

    Args:
        corpus: which layout.
        folder: the corpus.
        out: the manifest.
        labels: the class of each accent; without it each accent is a class.
        per_speaker: the most clips of a speaker, the first ones; of the others not even the length is read.

    Raises:
        CorpusError: the folder has another layout, or nothing is left.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder} is no folder")
    dropped: Counter[str] = Counter()
    voices = LAYOUTS[corpus](folder, dropped)
    rows = sorted(_rows(voices, out.parent, labels, per_speaker, dropped), key=lambda row: row.path)
    rows = _one_class_a_speaker(rows, dropped)
    if not rows:
        wanted = f"; a tree is {folders.TREE}" if corpus == "tree" else ""
        raise CorpusError(f"nothing of {folder} is left: {reasons(dropped) or 'it holds no audio'}{wanted}")
    _write(out, rows)
    return Prepared(tuple(rows), dropped)


def reasons(dropped: Counter[str], most: int = 12) -> str:
    """Return why files were dropped, in one line, frequent reasons first."""
    named = [f"{reason} {n}" for reason, n in dropped.most_common(most)]
    left = len(dropped) - most
    return ", ".join([*named, f"and {left} reasons more"] if left > 0 else named)


def tell(prepared: Prepared, console: Console | None = None) -> None:
    """Print what was found and dropped, and what it means for training."""
    console = console or Console()
    console.print(summary(prepared))
    if prepared.dropped:
        text = f"dropped {prepared.dropped.total()} files: {reasons(prepared.dropped)}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    if folders.OUTSIDE in prepared.dropped:
        console.print(f"a tree is {folders.TREE}", highlight=False, markup=False, soft_wrap=True)
    if not any(row.speaker for row in prepared.rows):
        text = "no speakers are known: training takes --allow-shared-speakers, and scores will say so"
        console.print(text, highlight=False, soft_wrap=True)


def summary(prepared: Prepared) -> Table:
    """Tabulate clips, speakers and hours of each class."""
    table = Table(title_justify="left")
    for name in ("class", "clips", "speakers", "hours"):
        table.add_column(name, justify="left" if name == "class" else "right")
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in prepared.rows:
        groups[row.label].append(row)
    for label, own in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        speakers = {row.speaker for row in own} - {""}
        hours = sum(row.seconds for row in own) / 3600
        table.add_row(label, str(len(own)), str(len(speakers)) if speakers else "unknown", f"{hours:.3f}")
    return table


def _rows(
    voices: Iterable[Voice],
    home: Path,
    labels: Mapping[str, str] | None,
    per_speaker: int | None,
    dropped: Counter[str],
) -> Iterator[Row]:
    # By class, so that a speaker with two is still found out.
    had: Counter[tuple[str, str]] = Counter()
    for voice in voices:
        label = _label(voice.accents, labels, dropped)
        if label is not None and per_speaker is not None and voice.speaker:
            had[voice.speaker, label] += 1
            if had[voice.speaker, label] > per_speaker:
                dropped[f"more than {per_speaker} of a speaker"] += 1
                continue
        seconds = None if label is None else _seconds(voice.file, dropped)
        if label is not None and seconds is not None:
            path = os.path.relpath(voice.file.resolve(), home.resolve())
            if path != as_unicode(path):
                dropped["name that is no UTF-8"] += 1
                continue
            yield Row(path, label, voice.speaker, voice.accents[0], voice.sex, voice.age, round(seconds, 2))


def _label(accents: tuple[str, ...], labels: Mapping[str, str] | None, dropped: Counter[str]) -> str | None:
    """Return the class of an accent; that of its whole goes before those of its parts."""
    if labels is None:
        return accents[0]
    found = dict.fromkeys(labels[a.lower()] for a in accents if a.lower() in labels)
    if accents[0].lower() in labels:
        return labels[accents[0].lower()]
    if len(found) == 1:
        return next(iter(found))
    dropped["accents of several classes" if found else f"accent {accents[0]}"] += 1
    return None


def _seconds(file: Path, dropped: Counter[str]) -> float | None:
    """Return the length of a file, as far as its header tells; where that tells nothing, of what decodes."""
    if not file.is_file():
        dropped["no such file"] += 1
        return None
    try:
        with open_audio(file) as audio:
            frames = audio.frames
            if frames is None:
                frames = sum(len(samples) for samples in blocks(audio, 1 << 16))
            return frames / audio.rate
    except (AudioError, SourceError):
        pass
    dropped["not audio that can be read"] += 1
    return None


def _one_class_a_speaker(rows: list[Row], dropped: Counter[str]) -> list[Row]:
    """Drop speakers who are in two classes: one of the two labels is wrong."""
    classes: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        classes[row.speaker].add(row.label)
    kept = [row for row in rows if not row.speaker or len(classes[row.speaker]) == 1]
    if len(kept) < len(rows):
        dropped["speaker with two classes"] += len(rows) - len(kept)
    return kept


def _write(out: Path, rows: Iterable[Row]) -> None:
    part = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", newline="", encoding="utf-8") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)
        os.replace(part, out)
    except OSError as error:
        raise CorpusError(f"cannot write the manifest {out}: {error.strerror}") from None
