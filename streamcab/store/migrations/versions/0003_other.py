"""Calls say how much they sound like an accent of none of the labels."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("calls", sa.Column("other", sa.Float, comment="an accent of none of the labels, 0 to 1"))
