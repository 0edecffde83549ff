"""The database of the store: where it is, connections that cannot hang, and its migrations.

SQLite unless a URL says PostgreSQL. Knows nothing of what is written or read.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from streamcab.errors import ConfigError, StoreError
from streamcab.extras import missing

MIGRATIONS = Path(__file__).with_name("migrations")
BUSY_S = 5.0
"""How long another writer of the same SQLite file is waited for."""
CONNECT_S = 3
STATEMENT_MS = 20_000
WAL_BYTES = 64 << 20
DAMAGED = "move the file away and a new one is made; `sqlite3 FILE .recover` prints what can be saved"
LOCK = 0x73636162
"""Of PostgreSQL's advisory locks: one daemon at a time migrates."""


def url_of(where: str) -> URL:
    """Return the URL of a database from a path or a URL. ConfigError: neither SQLite nor PostgreSQL."""
    if "://" not in where:
        return URL.create("sqlite", database=where)
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "--store is no URL of a database: write postgresql://USER@HOST/NAME, or a path such as calls.db"
        ) from None
    kind = url.get_backend_name()
    if kind not in ("sqlite", "postgresql", "postgres"):
        raise ConfigError(f"{hidden(url)}: the store knows SQLite and PostgreSQL, not {kind}")
    if kind == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ConfigError(f"{where!r} names no file: write a path such as calls.db")
        return URL.create("sqlite", database=url.database)
    return url.set(drivername="postgresql+psycopg")


def hidden(url: URL) -> str:
    """Return the place of a database for people: a path, or the URL without its password."""
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string()


def connect(url: URL, *, write: bool = False) -> Engine:
    """Return the engine of a database; nothing is opened yet, but for a SQLite file that is to be written.

    Raises:
        InstallError: The driver of PostgreSQL is not installed.
        StoreError: The SQLite file cannot be made, or there is none to read.
    """
    if url.get_backend_name() != "sqlite":
        settings = f"-c statement_timeout={STATEMENT_MS} -c lock_timeout={STATEMENT_MS}"
        if not write:
            settings += " -c default_transaction_read_only=on"
        options: dict[str, Any] = {"connect_timeout": CONNECT_S, "options": settings}
        options["tcp_user_timeout"] = STATEMENT_MS
        try:
            return create_engine(
                url, connect_args=options, pool_pre_ping=True, pool_size=2, max_overflow=4, pool_timeout=5
            )
        except ImportError:
            raise missing("psycopg", "a store in PostgreSQL") from None
    path = Path(str(url.database))
    if write:
        _make(path)
    elif path.is_dir():
        raise StoreError(f"{path} is a folder: name the file of the store in it")
    elif not path.is_file():
        raise StoreError(f"there is no store at {path}: listen --store makes one")
    engine = create_engine(url, connect_args={"timeout": BUSY_S}, **({} if write else _resting(path)))

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        # SQLAlchemy's own recipe: Python's driver would begin transactions late, and none for DDL.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")
        if write:
            for pragma in (
                "auto_vacuum = INCREMENTAL",  # counts before the first table only
                "journal_mode = WAL",
                "synchronous = NORMAL",
                "secure_delete = ON",
                f"journal_size_limit = {WAL_BYTES}",
            ):
                connection.execute(f"PRAGMA {pragma}").close()
        else:
            connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def migrate(engine: Engine) -> None:
    """Bring the tables to this version. StoreError: they are of a newer one. SQLAlchemyError: as the database says."""
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        have = MigrationContext.configure(connection).get_current_heads()
        revisions = {revision.revision for revision in known.walk_revisions()}
        if set(have) - revisions:
            raise StoreError(
                f"{hidden(engine.url)} was made by a newer streamcab (tables of revision {', '.join(have)}): "
                "upgrade this one, or give another --store"
            )
        if have != (known.get_current_head(),):
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """Turn the errors of a database into StoreError: its place, and what it says, in one line."""
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreError(f"{hidden(engine.url)}: {reason(error)}") from None


def unusable(error: SQLAlchemyError) -> bool:
    """Return whether waiting cannot help: the file is no database."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    return isinstance(cause, sqlite3.DatabaseError) and not isinstance(cause, sqlite3.OperationalError)


def reason(error: BaseException) -> str:
    """Return what a database says is wrong, in one line."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    return f"{said}; {DAMAGED}" if isinstance(error, sqlite3.DatabaseError) and "malformed" in said else said


def _resting(path: Path) -> dict[str, Any]:
    """Return how a file is read that nobody writes and beside which nothing can be made: on read-only media, say."""
    # SQLite reads a file with a write-ahead log by making two files beside it.
    log = path.with_name(f"{path.name}-wal")
    if os.access(path.parent, os.W_OK) or (log.exists() and log.stat().st_size):
        return {}
    address = f"{path.absolute().as_uri()}?immutable=1"
    return {"creator": lambda: sqlite3.connect(address, uri=True, timeout=BUSY_S, check_same_thread=False)}


def _make(path: Path) -> None:
    """Make the file, for nobody but its owner: it says who called and how they speak."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(0, "Permission denied")
        if path.is_dir():
            raise IsADirectoryError(0, "Is a directory")
    except OSError as error:
        raise StoreError(f"cannot write the store {path}: {error.strerror}") from None
