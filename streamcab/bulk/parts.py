"""The list cut into parts, and the file of each, which is either complete or absent.

A part is named by a hash of what it holds and how it is heard. The same work has the same name, so what is there need
not be done again, and work that is done twice leaves one file. Rows are written to a hidden file, which is then
renamed. So a process may be killed at any moment: nothing is lost but the parts that it had in hand, and nothing stands
there twice. Knows nothing of audio, models or processes.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2s
from pathlib import Path

from streamcab.bulk import row, tables
from streamcab.bulk.listing import Entry
from streamcab.bulk.row import Row
from streamcab.errors import ConfigError

PART_S = 600.0
"""Approximate seconds of audio in a part: the most that is lost when a process is killed."""
FILES = 500
"""Files in a part, at most."""
BYTES_PER_S = {".flac": 8_000, ".opus": 2_500, ".ogg": 4_000, ".mp3": 8_000, ".m4a": 8_000, ".amr": 1_600}
"""How much of a file is a second, where a manifest does not say how long it is; of all others 16 kB."""
TRIES = 2
"""Unfinished starts of a part after which it is worked off file by file."""
INDEX = "index.json"


@dataclass(frozen=True)
class Part:
    """Some entries of the list that follow one another."""

    name: str
    entries: tuple[Entry, ...]


def cut(entries: Sequence[Entry], salt: str, part_s: float = PART_S) -> list[Part]:
    """Split entries into parts of about `part_s`. `salt` names the model and the options."""
    parts: list[Part] = []
    some: list[Entry] = []
    seconds = 0.0
    for entry in entries:
        some.append(entry)
        seconds += entry.seconds or _about(Path(entry.path))
        if seconds >= part_s or len(some) >= FILES:
            parts.append(_part(some, salt))
            some, seconds = [], 0.0
    return [*parts, _part(some, salt)] if some else parts


def _part(entries: list[Entry], salt: str) -> Part:
    told = blake2s(salt.encode(), digest_size=8)
    for e in entries:
        told.update(f"\0{e.number}\0{e.id}\0{e.path}\0{e.error}".encode(errors="surrogatepass"))
    return Part(told.hexdigest(), tuple(entries))


def _about(path: Path) -> float:
    try:
        return path.stat().st_size / BYTES_PER_S.get(path.suffix.lower(), 16_000)
    except (OSError, ValueError):
        return 0.0


class Store:
    """A folder of parts; `suffix` is .jsonl, whole rows, or .parquet, the table's columns for the model's labels."""

    def __init__(self, folder: Path, labels: Sequence[str], suffix: str = ".jsonl") -> None:
        self.folder, self.labels, self.suffix = folder, list(labels), suffix

    def path(self, part: Part) -> Path:
        """Return the path of a finished part."""
        return self.folder / f"part-{part.name}{self.suffix}"

    def done(self, parts: Iterable[Part]) -> list[Part]:
        """Return the parts that are finished."""
        there = {path.name for path in self.folder.glob(f"part-*{self.suffix}")}
        return [part for part in parts if self.path(part).name in there]

    def began(self, part: Part) -> int:
        """Note that work on a part begins; how often it has begun before without coming to its end."""
        path = self._tries(part)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            before = os.fstat(file).st_size
            os.write(file, b".")
        finally:
            os.close(file)
        return before

    def write(self, part: Part, rows: Iterable[Row]) -> None:
        """Keep the rows of a part, all or none."""
        path = self.path(part)
        hidden = self.folder / f".{path.name}.{os.getpid()}"
        if self.suffix == ".parquet":
            tables.write(hidden, rows, self.labels, ".parquet")
        else:
            with hidden.open("wb") as file:
                for one in rows:
                    file.write(row.encode(one) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        hidden.replace(path)
        self._tries(part).unlink(missing_ok=True)

    def rows(self, part: Part) -> Iterator[Row]:
        """Yield the rows of a part, in order."""
        with self.path(part).open("rb") as file:
            for line in file:
                yield row.decode(line)

    def errors(self, parts: Iterable[Part]) -> int:
        """Count the files of these parts, which are whole, that have an error in place of an answer."""
        if self.suffix == ".parquet":
            return sum(tables.errors(self.path(part)) for part in parts)
        return sum(len({row.number for row in self.rows(part) if row.error}) for part in parts)

    def finish(self, parts: Sequence[Part], about: dict[str, object]) -> None:
        """Say that it is complete: the index names all its parts in the order of the list. Leftovers are removed."""
        index = {**about, "parts": [self.path(part).name for part in parts]}
        hidden = self.folder / f".{INDEX}.{os.getpid()}"
        hidden.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        hidden.replace(self.folder / INDEX)
        for left in (*self.folder.glob(".part-*"), *self.folder.glob(".try-*")):
            left.unlink(missing_ok=True)

    def _tries(self, part: Part) -> Path:
        return self.folder / f".try-{part.name}"


def opened(folder: Path, labels: Sequence[str], suffix: str, *, resume: bool, whole: Path) -> Store:
    """Open the folder of an `--out`, new or continued.

    ConfigError where it cannot be made, or something is there and nothing was said of it.
    """
    if not resume and (whole.exists() or (folder.is_dir() and any(folder.iterdir()))):
        raise ConfigError(f"{whole}: is there already, or begun; --resume continues it, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}") from None
    return Store(folder, labels, suffix)
