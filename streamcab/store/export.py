"""Stored calls, or their pieces, as CSV, JSON lines or Parquet, row by row. Knows nothing of where they come from."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from streamcab.errors import ConfigError, StoreError
from streamcab.extras import missing
from streamcab.store.read import Reader, StoredCall

Row = dict[str, Any]

TIMES = ("began", "seen", "ended", "time")
ROWS = 5_000
"""Of a group in a Parquet file."""


def calls(found: Iterable[StoredCall]) -> Iterator[Row]:
    """Yield a row per call."""
    for call in found:
        yield {"id": call.id, "run": call.run} | msgspec.structs.asdict(call)


def pieces(store: Reader, found: Iterable[StoredCall]) -> Iterator[Row]:
    """Yield a row per 10 s of each call, with its name and its probabilities by label."""
    models = store.models()
    for call in found:
        labels = models[call.model].labels if call.model in models else []
        for piece in store.pieces(call):
            row = {"call": call.id, "name": call.name, "time": piece.n * 10.0}
            rest = msgspec.structs.asdict(piece)
            rest["probs"] = dict(zip(labels, piece.probs, strict=False))
            yield row | {key: value for key, value in rest.items() if key not in ("n", "call")}


def as_csv(rows: Iterable[Row], out: BinaryIO, zone: tzinfo | None) -> int:
    """Write CSV, times in a zone; return how many rows. Cells that a spreadsheet would compute are quoted."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    n = 0
    for row in rows:
        if not n:
            writer.writerow(row)
        writer.writerow([_cell(value) for value in _dated(row, zone).values()])
        n += 1
    text.detach()
    return n


def as_jsonl(rows: Iterable[Row], out: BinaryIO, zone: tzinfo | None) -> int:
    """Write an object a line."""
    n = 0
    for n, row in enumerate(rows, 1):  # noqa: B007 - how many there were
        out.write(msgspec.json.encode(_dated(row, zone)) + b"\n")
    return n


def as_parquet(rows: Iterable[Row], out: BinaryIO, zone: tzinfo | None) -> int:
    """Write a Parquet file; times are UTC. InstallError: pyarrow is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise missing("pyarrow", "Parquet") from None

    def kind(name: str) -> Any:
        if name in TIMES:
            return pyarrow.timestamp("ms", "UTC")
        if name in ("probs", "labels"):
            return pyarrow.map_(pyarrow.string(), pyarrow.float64() if name == "probs" else pyarrow.string())
        if name == "flaws":
            return pyarrow.list_(pyarrow.string())
        if name in ("id", "call", "run", "overflows", "voice"):
            return pyarrow.int64()
        if name == "sure":
            return pyarrow.bool_()
        numbers = name.endswith(("_s", "_db", "_ms")) or name in ("confidence", "other")
        return pyarrow.float64() if numbers else pyarrow.string()

    n, writer = 0, None
    for group in _groups(rows, ROWS):
        schema = pyarrow.schema([(name, kind(name)) for name in group[0]])
        writer = writer or parquet.ParquetWriter(out, schema, compression="zstd")
        table = [{k: _parquet(k, v) for k, v in row.items()} for row in group]
        writer.write_table(pyarrow.Table.from_pylist(table, schema))
        n += len(group)
    if writer is None:
        raise StoreError("no call matches, and a Parquet file cannot be without columns")
    writer.close()
    return n


FORMATS: dict[str, Callable[[Iterable[Row], BinaryIO, tzinfo | None], int]] = {
    "csv": as_csv,
    "jsonl": as_jsonl,
    "parquet": as_parquet,
}


def format_of(path: Path | None, wanted: str | None) -> str:
    """Return the format: the one wanted, else by the ending of the file; CSV without one. ConfigError: another one."""
    if wanted:
        return wanted
    ending = path.suffix.removeprefix(".").lower() if path else ""
    if ending and ending not in FORMATS:
        raise ConfigError(
            f"{path}: .{ending} is none of {', '.join(FORMATS)}: name the file so, or add --format"
        )
    return ending or "csv"


def _groups(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    group: list[Row] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _dated(row: Row, zone: tzinfo | None) -> Row:
    return {
        key: datetime.fromtimestamp(value, UTC).astimezone(zone).isoformat(timespec="milliseconds")
        if key in TIMES and value is not None
        else value
        for key, value in row.items()
    }


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False) if value else ""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def _parquet(key: str, value: Any) -> Any:
    if key in TIMES and value is not None:
        return datetime.fromtimestamp(value, UTC)
    if key == "labels":
        return [(name, str(text)) for name, text in value.items()]
    return list(value.items()) if isinstance(value, dict) else value
