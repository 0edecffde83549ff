"""The output of every layout: one `Voice` per file, in the corpus' own words.

Knows nothing of any one corpus.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from streamcab.errors import CorpusError
from streamcab.source.file import SOUNDS
from streamcab.text import opened


@dataclass(frozen=True)
class Voice:
    """A file, and who speaks on it.

    accents  what the corpus calls the accent; the first is the whole of it, others are parts of it that may
             stand in a label map by themselves ("United States English,Midwestern")
    speaker  empty where the corpus does not say
    """

    file: Path
    accents: tuple[str, ...]
    speaker: str
    sex: str = ""
    age: str = ""


Layout = Callable[[Path, "Counter[str]"], Iterator[Voice]]
"""(folder, dropped) -> voices; dropped files are counted in `dropped` by reason."""

SEXES = {"m": "male", "f": "female", "man": "male", "woman": "female", "famale": "female"}
SEXES |= {"male_masculine": "male", "female_feminine": "female"}
"""Spellings of corpora; `famale` occurs in the Speech Accent Archive."""


def sex(word: str) -> str:
    """Return `male`, `female`, or what else the corpus says."""
    word = word.strip().lower()
    return SEXES.get(word, word)


def audio_files(folder: Path) -> list[Path]:
    """Return all audio files below a folder, sorted."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SOUNDS and p.is_file())


def read_table(file: Path, columns: tuple[str, ...], delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Yield the rows of a table with a header that has at least `columns`."""
    try:
        with opened(file) as text:
            # A tab ends a field wherever it stands; quotes there are part of a sentence.
            if delimiter == "\t":
                reader = csv.DictReader(text, delimiter=delimiter, quoting=csv.QUOTE_NONE, restval="")
            else:
                reader = csv.DictReader(text, delimiter=delimiter, restval="")
            for column in columns:
                if column not in (reader.fieldnames or []):
                    raise CorpusError(
                        f"{file} has no column {column!r}, only {', '.join(reader.fieldnames or [])}"
                    )
            for row in reader:
                yield {k: v for k, v in row.items() if k is not None}
    except OSError as error:
        raise CorpusError(f"cannot read {file}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{file} is no table in UTF-8: {error}") from None


def need(folder: Path, *names: str) -> Path:
    """Return the first of these files or folders that exists; CorpusError names them if none does."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise CorpusError(f"{folder} holds no {' or '.join(names)}; give the folder that does")
