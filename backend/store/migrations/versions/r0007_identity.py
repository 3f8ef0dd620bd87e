"""Records have other names, and what is known of who saw them before there was an audit slice."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Three columns that leave existing records as they were, and a table."""
    op.add_column("records", sa.Column("besides", sa.String, nullable=False, server_default=""))
    op.add_column("records", sa.Column("in_file", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("records", sa.Column("seen", sa.String))
    op.create_table(
        "record_names",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("uid", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_record_names")),
    )
