"""What suggesters say of records: kept, so that nobody is asked twice."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """A new table: what each suggester says of each content."""
    op.create_table(
        "proposals",
        sa.Column("suggester", sa.String, nullable=False),
        sa.Column("content", sa.String, nullable=False),
        sa.Column("said", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("suggester", "content", name="pk_proposals"),
    )
    op.create_index("ix_proposals_content", "proposals", ["content"])
