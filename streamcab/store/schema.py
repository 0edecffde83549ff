"""The tables of the store: runs of daemons, their models, a row per call, and a row per 10 s of each call.

Owns names, types and indexes; the migrations make them. Times are Unix seconds in Python and in SQLite, and
`timestamptz` in PostgreSQL. Knows nothing of connections, messages or queries.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

OPEN, ENDED, INTERRUPTED = "open", "ended", "interrupted"
"""States of a call: it goes on; it ended; its daemon died in the middle of it."""


class Moment(TypeDecorator[float]):
    """A time: Unix seconds here and in SQLite, `timestamptz` in PostgreSQL."""

    impl = Double
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(Double())

    def process_bind_param(self, value: float | None, dialect: Dialect) -> Any:
        if value is not None and dialect.name == "postgresql":
            return datetime.fromtimestamp(value, UTC)
        return value

    def process_result_value(self, value: Any, dialect: Dialect) -> float | None:
        return value.timestamp() if isinstance(value, datetime) else value


Json = JSON().with_variant(JSONB(), "postgresql")

metadata = MetaData()

models = Table(
    "models",
    metadata,
    Column("model", String(64), primary_key=True, comment="hash of the checkpoint"),
    Column("name", Text, nullable=False),
    Column("labels", Json, nullable=False, comment="all labels, in the order of pieces.probs"),
    Column("licence", Text, nullable=False),
    Column("corpus", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run", String(64), nullable=False, unique=True, comment="as in the messages of the feed"),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("ticks", BigInteger, nullable=False, comment="when the process began, as Linux counts"),
    Column("began", Moment, nullable=False),
    Column("seen", Moment, nullable=False, comment="when it last wrote"),
    sqlite_autoincrement=True,
)

calls = Table(
    "calls",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False, comment="runs.id * 2**32 + its number"),
    Column("run", Integer, nullable=False, comment="runs.id"),
    Column("name", Text, nullable=False, comment="of the stream; a pseudonym with --hash-names"),
    Column("source", Text, nullable=False),
    Column("state", String(16), nullable=False, comment="open, ended or interrupted"),
    Column("began", Moment, nullable=False),
    Column("seen", Moment, nullable=False, comment="up to when this row knows the call"),
    Column("ended", Moment),
    Column("audio_s", Double, nullable=False, comment="audio received"),
    Column("speech_s", Double, nullable=False, comment="speech in it"),
    Column("top", Text, comment="the answer; null without speech"),
    Column("confidence", Float),
    Column("sure", Boolean),
    Column("other", Float, comment="an accent of none of the labels, 0 to 1"),
    Column("probs", Json, nullable=False, comment="probability by label"),
    Column("model", String(64), nullable=False, comment="models.model"),
    Column("flaws", Json, nullable=False, comment="all that were met"),
    Column("snr_db", Float),
    Column("lost_ms", Double, nullable=False),
    Column("overflows", BigInteger, nullable=False),
    Column("detail", Text, nullable=False, comment="why it ended, if known"),
    Column("labels", Json, nullable=False, comment="what its source says of it"),
    Index("calls_began", "began"),
    Index("calls_top_began", "top", "began"),
    Index("calls_name", "name"),
    Index("calls_open", "run", "state"),
)

# By time first: new rows stand side by side, and so do those that retention deletes. Keyed by call SQLite
# would write 12 times as much.
pieces = Table(
    "pieces",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=False, comment="Unix time / 10, rounded down"),
    Column("call", BigInteger, primary_key=True, autoincrement=False, comment="calls.id"),
    Column("probs", Json, nullable=False, comment="the answer then, by models.labels; empty without speech"),
    Column("top", Text),
    Column("speech_s", Float, nullable=False, comment="speech within these 10 s"),
    Column("audio_s", Float, nullable=False, comment="audio within these 10 s"),
    Column("lost_ms", Float, nullable=False, comment="audio lost within these 10 s"),
    Column("hears", String(8), nullable=False, comment="speech, sound or silence, at the end"),
    Column("level_db", Float),
    Column("flaws", Json, nullable=False),
    Column("voice", Integer, nullable=False, server_default="1", comment="that the answer is about"),
    sqlite_with_rowid=False,
)
