"""The queue of the sinks, on disk: what is sent lives here until it is delivered, given up, or too old.

One SQLite file for all sinks, which one daemon at a time uses. Knows nothing of what is sent or how.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from streamcab.errors import StoreError
from streamcab.sinks.parcel import Letter, Parcel

MOST = 100_000
"""Parcels that wait for one sink; the oldest are dropped."""
KEEP_S = 7 * 86_400.0
"""How long dead letters are kept, and whatever waits for a sink that is no longer there."""

_TABLES = """
CREATE TABLE IF NOT EXISTS parcels (
  row INTEGER PRIMARY KEY, sink TEXT NOT NULL, uid TEXT NOT NULL, type TEXT NOT NULL, body BLOB NOT NULL,
  born REAL NOT NULL, due REAL NOT NULL, tries INTEGER NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0,
  error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS parcels_due ON parcels (sink, dead, due, row);
"""


class Spool:
    """The queue in the file at `path`, which is made. Each thread needs one of its own; one of them is `alone`.

    StoreError: it cannot be written, or another daemon uses it. Its methods raise sqlite3.Error, as on a full disk.
    """

    def __init__(self, path: Path, *, alone: bool = False) -> None:
        self._lock = -1
        try:
            if alone:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
            if alone:
                for pragma in ("journal_mode = WAL", "secure_delete = ON"):
                    self._db.execute(f"PRAGMA {pragma}").close()
                self._db.executescript(_TABLES)
            self._db.execute("PRAGMA synchronous = NORMAL").close()
        except (OSError, sqlite3.Error) as error:
            if self._lock >= 0:
                os.close(self._lock)
            taken = isinstance(error, BlockingIOError)
            why = "another streamcab uses it" if taken else getattr(error, "strerror", None) or error
            raise StoreError(f"cannot use the queue {path} (--sink-queue): {why}") from None

    def put(self, sinks: Iterable[str], uid: str, type: str, body: bytes, now: float) -> int:
        """Add a parcel for each sink; return how many older ones were dropped to make room."""
        dropped = 0
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for sink in sinks:
                self._db.execute(
                    "INSERT INTO parcels (sink, uid, type, body, born, due) VALUES (?, ?, ?, ?, ?, ?)",
                    (sink, uid, type, body, now, now),
                )
                over = self._count(sink, 0) - MOST
                if over > 0:
                    oldest = "SELECT row FROM parcels WHERE sink = ? AND dead = 0 ORDER BY row LIMIT ?"
                    self._db.execute(f"DELETE FROM parcels WHERE row IN ({oldest})", (sink, over))
                    dropped += over
        return dropped

    def next(self, sink: str, now: float) -> Parcel | None:
        """Return the parcel whose turn it is."""
        row = self._db.execute(
            "SELECT row, uid, type, body, born, tries FROM parcels WHERE sink = ? AND dead = 0 AND due <= ? "
            "ORDER BY due, row LIMIT 1",
            (sink, now),
        ).fetchone()
        return Parcel(*row) if row else None

    def done(self, parcel: Parcel) -> None:
        """Remove an event: it was delivered."""
        self._db.execute("DELETE FROM parcels WHERE row = ?", (parcel.row,)).close()

    def again(self, parcel: Parcel, due: float, why: str) -> None:
        """Keep an event until its next try."""
        words = "UPDATE parcels SET due = ?, tries = tries + 1, error = ? WHERE row = ?"
        self._db.execute(words, (due, why, parcel.row)).close()

    def bury(self, parcel: Parcel, why: str) -> None:
        """Make an event a dead letter: kept for a while, and not tried again."""
        words = "UPDATE parcels SET dead = 1, tries = tries + 1, error = ? WHERE row = ?"
        self._db.execute(words, (why, parcel.row)).close()

    def letters(self) -> list[Letter]:
        """Return the dead letters, the oldest first."""
        words = "SELECT sink, uid, body, born, tries, error FROM parcels WHERE dead = 1 ORDER BY born, row"
        return [Letter(*row) for row in self._db.execute(words)]

    def resend(self, uids: Sequence[str], now: float) -> int:
        """Let dead letters wait again, as if they were new: these, or all. Returns how many."""
        which = f"dead = 1 AND uid IN ({', '.join('?' * len(uids))})" if uids else "dead = 1"
        words = f"UPDATE parcels SET dead = 0, tries = 0, born = ?, due = ? WHERE {which}"
        return self._db.execute(words, (now, now, *uids)).rowcount

    def forget(self, now: float) -> None:
        """Delete parcels that are too old."""
        self._db.execute("DELETE FROM parcels WHERE born < ?", (now - KEEP_S,)).close()

    def counts(self, sinks: Iterable[str]) -> tuple[int, int]:
        """Return how many parcels wait for these sinks, and how many are dead letters."""
        names = list(sinks)
        # In one statement: a parcel that becomes a dead letter meanwhile is not counted twice.
        words = (
            f"SELECT dead, count(*) FROM parcels WHERE sink IN ({','.join('?' * len(names))}) GROUP BY dead"
        )
        found = dict(self._db.execute(words, names).fetchall())
        return found.get(0, 0), found.get(1, 0)

    def close(self) -> None:
        """Give the file back."""
        self._db.close()
        if self._lock >= 0:
            os.close(self._lock)

    def _count(self, sink: str, dead: int) -> int:
        words = "SELECT count(*) FROM parcels WHERE sink = ? AND dead = ?"
        (n,) = self._db.execute(words, (sink, dead)).fetchone()
        return int(n)
