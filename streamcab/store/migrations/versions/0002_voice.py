"""Pieces say which voice their answer is about."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    voice = sa.Column(
        "voice", sa.Integer, nullable=False, server_default="1", comment="that the answer is about"
    )
    op.add_column("pieces", voice)
