"""Lists the input of `classify`: files, folders, globs and manifests as entries, in order, each once.

A manifest is a list in CSV, JSON lines or Parquet, with a column `path` (or `file`, `audio`, `filename`), and
optionally `id` and `seconds`; paths are relative to its folder. A row without a file becomes an entry with an error,
so that it is counted. Opens no audio.
"""

import csv
import glob
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamcab.errors import ConfigError
from streamcab.extras import missing
from streamcab.text import as_unicode, opened

PATHS = ("path", "file", "audio", "filename", "file_name", "audio_path", "wav")
"""Columns that may hold the path, the first one that is there."""
MANIFESTS = {".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"}
SOUNDS = {
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf"),
    *(".m4a", ".aac", ".amr", ".webm", ".mp4", ".mka", ".mkv", ".wma"),
}
"""Suffixes of the files that folders are searched for."""


@dataclass(frozen=True)
class Entry:
    """One file that is asked for.

    number   its place in the list          id       its own, or the path
    seconds  as the manifest says           error    why there is no file
    """

    number: int
    id: str
    path: str
    seconds: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Listing:
    """All entries, and the number of duplicates that were left out."""

    entries: list[Entry]
    doubles: int


def listed(words: Iterable[str]) -> Listing:
    """Return the entries of all words; raise ConfigError for a manifest that cannot be read as one."""
    entries: list[Entry] = []
    known: set[tuple[str, str]] = set()
    doubles = 0
    for word in words:
        for id_, path, seconds, error in _found(word):
            if not error and (id_, path) in known:
                doubles += 1
                continue
            known.add((id_, path))
            entries.append(Entry(len(entries), id_, path, seconds, error))
    return Listing(entries, doubles)


Found = tuple[str, str, float | None, str]


def _found(word: str) -> Iterator[Found]:
    path = Path(word)
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SOUNDS and not _hidden(p, path))
        if not inside:
            yield word, word, None, f"{as_unicode(word)}: no audio files in this folder"
        for sound in inside:
            yield str(sound), str(sound), None, ""
    elif path.suffix.lower() in MANIFESTS:
        yield from _manifest(path)
    elif glob.has_magic(word) and not path.exists():
        matching = sorted(glob.glob(word, recursive=True))
        if not matching:
            yield word, word, None, f"{as_unicode(word)}: nothing matches"
        for one in matching:
            yield one, one, None, ""
    else:
        yield word, word, None, ""


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _manifest(path: Path) -> Iterator[Found]:
    kind = path.suffix.lower()
    try:
        rows: Iterator[tuple[str, dict[str, Any] | None]]
        if kind == ".parquet":
            rows = _parquet(path)
        elif kind in (".jsonl", ".ndjson"):
            rows = _json_lines(path)
        else:
            rows = _csv(path)
        for where, row in rows:
            yield _entry(path, where, row)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is neither UTF-8 nor UTF-16; save it as UTF-8") from None


def _entry(manifest: Path, where: str, row: Mapping[str, Any] | None) -> Found:
    place = f"{as_unicode(str(manifest))}, {where}"
    path = None if row is None else next((row[name] for name in PATHS if row.get(name)), None)
    if row is None or not isinstance(path, str) or not path.strip() or "\0" in path:
        return place, "", None, f"{place}: names no file"
    path = str(manifest.parent / path.strip())
    own = row.get("id")
    id_ = path if own is None or not str(own).strip() else str(own).strip()
    try:
        seconds = float(row.get("seconds") or 0)
    except (TypeError, ValueError):
        seconds = 0.0
    return id_, path, seconds if 0 < seconds < 1e9 else None, ""


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    text = opened(path)
    head = text.readline()
    text.seek(0)
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(text, delimiter=delimiter)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        _check_columns(path, names)
        for cells in reader:
            if cells:
                yield f"line {reader.line_num}", dict(zip(names, cells, strict=False))
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}") from None


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    for number, line in enumerate(opened(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, str):
            row = {"path": row}
        yield f"line {number}", row if isinstance(row, dict) else None


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise missing("pyarrow", f"{path}: a Parquet file") from None
    try:
        with parquet.ParquetFile(path) as table:
            names = [name for name in table.schema_arrow.names if name in (*PATHS, "id", "seconds")]
            _check_columns(path, table.schema_arrow.names)
            at = 0
            for batch in table.iter_batches(columns=names):
                for row in batch.to_pylist():
                    at += 1
                    yield f"row {at}", row
    except pyarrow.ArrowException as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from None


def _check_columns(path: Path, names: list[str]) -> None:
    if not set(PATHS) & set(names):
        has = ", ".join(names[:8]) or "none"
        raise ConfigError(f"{path}: has no column `path`; its columns: {as_unicode(has)}")
