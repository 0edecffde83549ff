"""Tables of answers: CSV, lines of JSON, or Parquet, by how the name of the file ends.

Knows nothing of audio or of parts.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from streamcab.bulk.row import Row, columns, flat
from streamcab.errors import ConfigError
from streamcab.extras import missing

KINDS = (".csv", ".jsonl", ".parquet")
GROUP = 10_000
"""Rows of a group in Parquet, which are in memory at a time."""


def check(path: Path) -> None:
    """Raise ConfigError or InstallError where no such table can be written."""
    if path.suffix.lower() not in KINDS:
        raise ConfigError(f"--out {path}: ends in none of {', '.join(KINDS)}, and is no folder")
    if path.suffix.lower() == ".parquet":
        need_parquet(path)


def need_parquet(path: Path) -> None:
    """Raise InstallError where Parquet cannot be written."""
    try:
        import pyarrow.parquet  # noqa: F401 - whether it is there
    except ModuleNotFoundError:
        raise missing("pyarrow", f"{path}: Parquet") from None


def write(path: Path, rows: Iterable[Row], labels: list[str], kind: str) -> None:
    """Write all rows, in order, with only a few of them in memory."""
    if kind == ".parquet":
        _write_parquet(path, rows, labels)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if kind == ".csv":
            table = csv.writer(file)
            table.writerow(columns(labels))
            table.writerows(flat(row, labels) for row in rows)
        else:
            for row in rows:
                told = dict(zip(columns(labels), flat(row, labels), strict=True))
                file.write(json.dumps(told, ensure_ascii=False) + "\n")


def _write_parquet(path: Path, rows: Iterable[Row], labels: list[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds: dict[str, Any] = dict.fromkeys(columns(labels), pyarrow.string())
    numbers = [
        "start_s",
        "end_s",
        "confidence",
        "other",
        "voiced_s",
        "snr_db",
        *(f"p_{label}" for label in labels),
    ]
    kinds |= dict.fromkeys(numbers, pyarrow.float64()) | {"sure": pyarrow.bool_()}
    schema = pyarrow.schema(list(kinds.items()))
    with parquet.ParquetWriter(path, schema) as table:
        for some in _groups(flat(row, labels) for row in rows):
            values = [
                pyarrow.array(column, kind)
                for column, kind in zip(zip(*some, strict=True), kinds.values(), strict=True)
            ]
            table.write_table(pyarrow.Table.from_arrays(values, schema=schema))


def errors(path: Path) -> int:
    """Return the number of files with errors in a Parquet table."""
    from pyarrow import parquet

    table = parquet.read_table(path, columns=["id", "path", "error"], partitioning=None).to_pylist()
    return len({(row["id"], row["path"]) for row in table if row["error"] is not None})


def _groups(rows: Iterator[list[Any]]) -> Iterator[list[list[Any]]]:
    while some := list(islice(rows, GROUP)):
        yield some
