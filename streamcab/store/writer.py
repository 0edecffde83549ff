"""Writes calls to the database, in a thread of its own, in batches.

Owns what waits, its bounds, and the retries. What the daemon hands over costs it an append. A database that is full,
locked or gone costs rows, which are counted, and never the daemon. Knows nothing of messages: `calls.Tally` makes rows.
"""

import logging
import os
import shutil
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from streamcab.calls import Call, Entry, Piece
from streamcab.clock import MACHINE, Clock, Doubt
from streamcab.errors import StoreError
from streamcab.message import ModelInfo
from streamcab.store import upkeep
from streamcab.store.database import connect, hidden, migrate, reason, unusable
from streamcab.store.schema import calls, models, pieces, runs

log = logging.getLogger("streamcab.store")

FLUSH_S = 1.0
TIDY_S = 60.0
"""Seconds between deletions of rows that are too old."""
BATCH = 500
"""Rows of a statement: the interpreter belongs to the engine too."""
QUEUE = 20_000
"""Entries that wait for the thread."""
MOST_CALLS, MOST_PIECES = 20_000, 50_000
"""Rows that wait for a database that is gone: an hour of ended calls at five a second."""
RETRY_S, LONGEST_RETRY_S = 1.0, 30.0
GOODBYE_S = 10.0
"""For the last rows, when the daemon ends."""


@dataclass
class Keep:
    """How long calls and their rows of 10 s are kept, in seconds, and the disk space to leave free beside a SQLite
    file."""

    calls_s: float
    pieces_s: float
    min_free_bytes: int


class Writer:
    """Takes entries from a tally. A context manager: leaves when the last rows are written, or given up.

    A database that is not there is waited for; StoreError: one that cannot be used, or a file that cannot be written.
    """

    def __init__(self, url: URL, run: str, keep: Keep, clock: Clock = MACHINE) -> None:
        self.keep = keep
        self.dropped = 0  # rows that were never written
        self.written = 0  # rows
        self._url, self._run, self._clock, self._doubt = url, run, clock, Doubt(clock)
        self._queue: deque[Entry | ModelInfo] = deque()
        self._models: dict[str, ModelInfo] = {}
        self._calls: dict[int, Call] = {}
        self._pieces: dict[tuple[int, int], Piece] = {}
        self._known_models: list[ModelInfo] = []
        self._id = 0  # of the run; 0: the database does not know it yet
        self._file: tuple[int, int] | None = None
        self._failing, self._retry_s, self._next_try = "", RETRY_S, -inf
        self._tidied = -inf
        self._stop, self._over = threading.Event(), False
        self._engine: Engine = connect(url, write=True)
        try:
            self._open(self._engine)
        except SQLAlchemyError as error:
            if unusable(error):
                self._engine.dispose()
                raise StoreError(f"{hidden(url)}: {reason(error)}") from None
            self._fail(error)
        except StoreError:
            self._engine.dispose()
            raise
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    def __call__(self, entry: Entry | ModelInfo) -> None:
        """Take an entry; never blocks, never raises."""
        if len(self._queue) < QUEUE:
            self._queue.append(entry)
        else:
            self.dropped += _rows(entry)

    def counters(self) -> Mapping[str, int]:
        """Return `store-dropped`: rows that were never written, and `store-waiting`: rows that a database keeps
        waiting."""
        waiting = len(self._calls) + len(self._pieces) if self._failing else 0
        found = {"store-dropped": self.dropped, "store-waiting": waiting}
        return {name: n for name, n in found.items() if n}

    def close(self) -> None:
        """Write the waiting rows, for a few seconds at most."""
        self._over = True
        self._stop.set()
        self._thread.join(GOODBYE_S)
        left = len(self._calls) + len(self._pieces)
        if left:
            self.dropped += left
            log.warning("%s: %d rows were not written", hidden(self._url), left)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        while True:
            self._stop.wait(FLUSH_S)
            last = self._over
            self._gather()
            now = self._clock.monotonic()
            if last or now >= self._next_try:
                try:
                    self._write(now)
                    self._well()
                except (SQLAlchemyError, StoreError, OSError) as error:
                    self._fail(error)
            if last:
                self._engine.dispose()
                return

    def _gather(self) -> None:
        """Keep the newest of each row that waits."""
        for _ in range(len(self._queue)):
            entry = self._queue.popleft()
            if isinstance(entry, ModelInfo):
                self._models[entry.model] = entry
                continue
            number = entry.call.number
            self._calls[number] = entry.call
            for piece in entry.pieces:
                self._pieces[piece.n, number] = piece
        self._bound(self._calls, MOST_CALLS)
        self._bound(self._pieces, MOST_PIECES)

    def _bound(self, rows: dict[Any, Any], most: int) -> None:
        for _ in range(len(rows) - most):
            del rows[next(iter(rows))]
            self.dropped += 1

    def _write(self, now: float) -> None:
        if self._moved():
            log.warning("%s was removed or moved away; a new file is created", hidden(self._url))
            self._engine.dispose()
            self._engine, self._id = connect(self._url, write=True), 0
        engine = self._engine
        if not self._id:
            self._open(engine)
        if now - self._tidied >= TIDY_S:
            self._tidied = now
            self._tidy(engine)
        self._room()
        while self._models or self._calls or self._pieces:
            self._batch(engine)
        with engine.begin() as connection:
            connection.execute(runs.update().where(runs.c.id == self._id).values(seen=self._clock.time()))

    def _tidy(self, engine: Engine) -> None:
        """Delete rows that are too old. Rows are written even if this fails."""
        unix = self._clock.time()
        try:
            if not self._doubt.jumped_s():
                upkeep.forget(engine, unix, self.keep.calls_s, self.keep.pieces_s)
            upkeep.close_interrupted(engine, self._id, unix)
        except SQLAlchemyError as error:
            log.warning("%s: rows that are too old cannot be deleted: %s", hidden(self._url), reason(error))

    def _batch(self, engine: Engine) -> None:
        """Write some of the waiting rows; they go on waiting unless all were written."""
        new_models = list(self._models.values())
        some_calls = _first(self._calls, BATCH)
        some_pieces = _first(self._pieces, BATCH)
        with engine.begin() as connection:
            _put(connection, models, [_model(m) for m in new_models], keep=True)
            _put(connection, calls, [self._call(c) for c in some_calls.values()])
            _put(connection, pieces, [self._piece(number, p) for (_, number), p in some_pieces.items()])
        self._models.clear()
        self._known_models += new_models
        for number in some_calls:
            del self._calls[number]
        for key in some_pieces:
            del self._pieces[key]
        self.written += len(some_calls) + len(some_pieces)

    def _call(self, c: Call) -> dict[str, Any]:
        row = msgspec.structs.asdict(c)
        del row["number"]
        return row | {"id": self._key(c.number), "run": self._id}

    def _piece(self, number: int, p: Piece) -> dict[str, Any]:
        return msgspec.structs.asdict(p) | {"call": self._key(number)}

    def _key(self, number: int) -> int:
        return (self._id << 32) | number

    def _open(self, engine: Engine) -> None:
        """Make or migrate the tables, and enter this run; close what runs that are over have left open."""
        migrate(engine)
        self._id = upkeep.enter(engine, self._run, self._clock.time())
        self._models |= {m.model: m for m in self._known_models}
        self._known_models = []
        closed = upkeep.close_interrupted(engine, self._id, self._clock.time())
        if closed:
            log.warning(
                "%s: %d %s cut short when their daemon died",
                *(hidden(self._url), closed, "call was" if closed == 1 else "calls were"),
            )
        if self._url.get_backend_name() == "sqlite":
            self._file = _identity(Path(str(self._url.database)))

    def _moved(self) -> bool:
        """Return whether the file is no longer at its path, so that anything written would be lost."""
        return self._file is not None and _identity(Path(str(self._url.database))) != self._file

    def _room(self) -> None:
        if self._file is None:
            return
        folder = Path(str(self._url.database)).absolute().parent
        free = shutil.disk_usage(folder).free
        if free < self.keep.min_free_bytes:
            raise StoreError(
                f"{hidden(self._url)}: {folder} has {free / 1e9:.2f} GB free, and "
                f"{self.keep.min_free_bytes / 1e9:g} GB shall stay free"
            )

    def _fail(self, error: BaseException) -> None:
        why = str(error) if isinstance(error, StoreError) else f"{hidden(self._url)}: {reason(error)}"
        if not self._failing:
            log.warning(
                "calls cannot be written: %s; they wait, and if this goes on the oldest are dropped", why
            )
        self._failing, self._id = why, 0  # what comes back may be another database
        self._next_try = self._clock.monotonic() + self._retry_s
        self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)

    def _well(self) -> None:
        if self._failing:
            log.warning(
                "calls are written again to %s; rows dropped so far: %d", hidden(self._url), self.dropped
            )
        self._failing, self._retry_s, self._next_try = "", RETRY_S, -inf


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        found = os.stat(path)
        return found.st_dev, found.st_ino
    return None


def _rows(entry: Entry | ModelInfo) -> int:
    return 1 + len(entry.pieces) if isinstance(entry, Entry) else 0


def _first(rows: Mapping[Any, Any], n: int) -> dict[Any, Any]:
    return {key: value for key, value, _ in zip(rows.keys(), rows.values(), range(n), strict=False)}


def _model(m: ModelInfo) -> dict[str, Any]:
    return {"model": m.model, "name": m.name, "labels": m.labels, "licence": m.licence, "corpus": m.corpus}


def _put(
    connection: Connection, table: Table, rows: Iterable[Mapping[str, Any]], *, keep: bool = False
) -> None:
    """Insert rows; existing ones are replaced, unless `keep`."""
    rows = list(rows)
    if not rows:
        return
    insert: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    keys = [column.name for column in table.primary_key]
    if keep:
        insert = insert.on_conflict_do_nothing(index_elements=keys)
    else:
        others = {c.name: insert.excluded[c.name] for c in table.columns if c.name not in keys}
        insert = insert.on_conflict_do_update(index_elements=keys, set_=others)
    connection.execute(insert, rows)
