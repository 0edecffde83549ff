"""Upkeep of the store: runs that are over, rows that are too old, and people who want to be forgotten.

Knows nothing of threads or of messages.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import floor
from pathlib import Path

from sqlalchemy import ColumnElement, Engine, delete, func, insert, select, update

from streamcab.calls import PIECE_S
from streamcab.store.database import explained
from streamcab.store.schema import INTERRUPTED, OPEN, calls, pieces, runs

SILENT_S = 120.0
"""A run of another machine that has not written for so long is over."""
SOME = 60
"""Of `pieces.n`, deleted at once: 10 minutes, so that nobody waits long."""
LARGE = 5_000
"""Calls, deleted at once."""
MOST = 500
"""Ids in one statement."""


def enter(engine: Engine, run: str, now: float) -> int:
    """Enter a run of a daemon, or find it again; return its id."""
    with engine.begin() as connection:
        found = connection.scalar(select(runs.c.id).where(runs.c.run == run))
        if found is None:
            pid = os.getpid()
            row = {"run": run, "host": socket.gethostname(), "pid": pid, "ticks": _ticks(pid)}
            found = connection.scalar(insert(runs).values(**row, began=now, seen=now).returning(runs.c.id))
        assert found is not None
        return int(found)


def close_interrupted(engine: Engine, mine: int, now: float) -> int:
    """Close the calls that a run which is over has left open; return how many."""
    with engine.begin() as connection:
        having = select(calls.c.run).where(calls.c.state == OPEN, calls.c.run != mine).distinct()
        found = connection.execute(select(runs).where(runs.c.id.in_(having))).all()
        over = [run.id for run in found if _over(run.host, run.pid, run.ticks, now - run.seen)]
        if not over:
            return 0
        closed = connection.execute(
            update(calls)
            .where(calls.c.state == OPEN, calls.c.run.in_(over))
            .values(state=INTERRUPTED, ended=calls.c.seen, detail="the daemon died")
        )
        return closed.rowcount


def forget(engine: Engine, now: float, calls_s: float, pieces_s: float) -> int:
    """Delete calls that ended, and pieces that lie, longer ago than this; return how many rows."""
    gone = 0
    before = floor((now - min(pieces_s, calls_s)) / PIECE_S)
    while True:
        with engine.begin() as connection:
            first = connection.scalar(select(func.min(pieces.c.n)))
            if first is None or first >= before:
                break
            upto = min(first + SOME, before)
            gone += connection.execute(delete(pieces).where(pieces.c.n < upto)).rowcount
    too_old = calls.c.began < now - calls_s, calls.c.seen < now - calls_s, calls.c.state != OPEN
    oldest = select(calls.c.id).where(*too_old).limit(LARGE).scalar_subquery()
    while True:
        with engine.begin() as connection:
            n = connection.execute(delete(calls).where(calls.c.id.in_(oldest))).rowcount
        gone += n
        if n < LARGE:
            break
    with engine.begin() as connection:
        unused = select(calls.c.run).distinct(), runs.c.seen < now - calls_s
        connection.execute(delete(runs).where(runs.c.id.not_in(unused[0]), unused[1]))
    if gone:
        _shrink(engine, "incremental_vacuum")
    return gone


def erase(engine: Engine, ids: Sequence[int]) -> int:
    """Delete calls with all that is known of them, for good; return how many.

    Nothing of them stays in the files: SQLite overwrites what is deleted, and the log of its writes is emptied.
    """
    gone = 0
    with explained(engine):
        for some in (ids[i : i + MOST] for i in range(0, len(ids), MOST)):
            with engine.begin() as connection:
                found = select(calls.c.id, calls.c.began, calls.c.seen).where(calls.c.id.in_(some))
                for call in connection.execute(found).all():
                    for condition in pieces_of(call.id, call.began, call.seen):
                        connection.execute(delete(pieces).where(condition))
                gone += connection.execute(delete(calls).where(calls.c.id.in_(some))).rowcount
        if gone:
            _shrink(engine, "incremental_vacuum", "wal_checkpoint(TRUNCATE)")
    return gone


def pieces_of(call: int, began: float, seen: float) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that together find the pieces of a call, one seek each: the key has the time first."""
    first, last = floor(began / PIECE_S) - 1, floor(seen / PIECE_S) + 1
    for start in range(first, last + 1, MOST):
        yield pieces.c.n.in_(range(start, min(start + MOST, last + 1))) & (pieces.c.call == call)


def _shrink(engine: Engine, *pragmas: str) -> None:
    """Give pages back that hold nothing; PostgreSQL's autovacuum does so by itself."""
    if engine.dialect.name != "sqlite":
        return
    raw = engine.raw_connection()  # no transaction around it
    try:
        for pragma in pragmas:
            raw.cursor().execute(f"PRAGMA {pragma}").fetchall()
    finally:
        raw.close()


def _over(host: str, pid: int, ticks: int, silent_s: float) -> bool:
    """Return whether the process of a run is gone: known on its own machine, guessed elsewhere."""
    if host == socket.gethostname():
        return _ticks(pid) != ticks
    return silent_s > SILENT_S


def _ticks(pid: int) -> int:
    """Return when a process began, in Linux' ticks; 0 if there is none. A process id alone may be reused."""
    with suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return int(text.rpartition(")")[2].split()[19])
    return 0
