"""Which trained model a probe stands on; empty for the recipe's own encoder."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """One column more."""
    op.add_column("models", sa.Column("base", sa.String, nullable=False, server_default=""))
