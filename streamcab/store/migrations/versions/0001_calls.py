"""The first tables: models, runs, calls, pieces."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
MOMENT: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("model", sa.String(64), primary_key=True, comment="hash of the checkpoint"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("labels", JSON, nullable=False, comment="all labels, in the order of pieces.probs"),
        sa.Column("licence", sa.Text, nullable=False),
        sa.Column("corpus", sa.Text, nullable=False),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "run", sa.String(64), nullable=False, unique=True, comment="as in the messages of the feed"
        ),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("ticks", sa.BigInteger, nullable=False, comment="when the process began, as Linux counts"),
        sa.Column("began", MOMENT, nullable=False),
        sa.Column("seen", MOMENT, nullable=False, comment="when it last wrote"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "calls",
        sa.Column(
            "id",
            sa.BigInteger,
            primary_key=True,
            autoincrement=False,
            comment="runs.id * 2**32 + its number",
        ),
        sa.Column("run", sa.Integer, nullable=False, comment="runs.id"),
        sa.Column("name", sa.Text, nullable=False, comment="of the stream; a pseudonym with --hash-names"),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False, comment="open, ended or interrupted"),
        sa.Column("began", MOMENT, nullable=False),
        sa.Column("seen", MOMENT, nullable=False, comment="up to when this row knows the call"),
        sa.Column("ended", MOMENT),
        sa.Column("audio_s", sa.Double, nullable=False, comment="audio received"),
        sa.Column("speech_s", sa.Double, nullable=False, comment="speech in it"),
        sa.Column("top", sa.Text, comment="the answer; null without speech"),
        sa.Column("confidence", sa.Float),
        sa.Column("sure", sa.Boolean),
        sa.Column("probs", JSON, nullable=False, comment="probability by label"),
        sa.Column("model", sa.String(64), nullable=False, comment="models.model"),
        sa.Column("flaws", JSON, nullable=False, comment="all that were met"),
        sa.Column("snr_db", sa.Float),
        sa.Column("lost_ms", sa.Double, nullable=False),
        sa.Column("overflows", sa.BigInteger, nullable=False),
        sa.Column("detail", sa.Text, nullable=False, comment="why it ended, if known"),
        sa.Column("labels", JSON, nullable=False, comment="what its source says of it"),
    )
    op.create_index("calls_began", "calls", ["began"])
    op.create_index("calls_top_began", "calls", ["top", "began"])
    op.create_index("calls_name", "calls", ["name"])
    op.create_index("calls_open", "calls", ["run", "state"])
    op.create_table(
        "pieces",
        sa.Column(
            "n",
            sa.Integer,
            primary_key=True,
            autoincrement=False,
            comment="Unix time / 10, rounded down",
        ),
        sa.Column("call", sa.BigInteger, primary_key=True, autoincrement=False, comment="calls.id"),
        sa.Column(
            "probs", JSON, nullable=False, comment="the answer then, by models.labels; empty without speech"
        ),
        sa.Column("top", sa.Text),
        sa.Column("speech_s", sa.Float, nullable=False, comment="speech within these 10 s"),
        sa.Column("audio_s", sa.Float, nullable=False, comment="audio within these 10 s"),
        sa.Column("lost_ms", sa.Float, nullable=False, comment="audio lost within these 10 s"),
        sa.Column("hears", sa.String(8), nullable=False, comment="speech, sound or silence, at the end"),
        sa.Column("level_db", sa.Float),
        sa.Column("flaws", JSON, nullable=False),
        sqlite_with_rowid=False,
    )
