"""Answers that were given elsewhere: which are to be on the platform, and which are there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """A new table: an answer for each record and annotator."""
    op.create_table(
        "imported_answers",
        sa.Column("number", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("uid", sa.String, nullable=False),
        sa.Column("annotator", sa.String, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("answered_at", sa.BigInteger),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("audit", sa.Boolean, nullable=False),
        sa.Column("annotation_id", sa.String),
        sa.Column("refused", sa.String),
        sa.Column("added_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_imported_answers"),
    )
    op.create_index("ix_imported_answers_key", "imported_answers", ["uid", "annotator"], unique=True)
    op.create_index("ix_imported_answers_annotation_id", "imported_answers", ["annotation_id"])
    waiting = sa.text("annotation_id IS NULL AND refused IS NULL")
    op.create_index(
        "ix_imported_answers_waiting", "imported_answers", ["number"], sqlite_where=waiting, postgresql_where=waiting
    )
