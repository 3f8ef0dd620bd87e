"""What the loop asked the platform about a record: how many opinions, and whether a suggestion was ever published."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Two columns more."""
    op.add_column("records", sa.Column("opinions", sa.Integer))
    op.add_column("records", sa.Column("suggested", sa.Boolean, nullable=False, server_default=sa.false()))
