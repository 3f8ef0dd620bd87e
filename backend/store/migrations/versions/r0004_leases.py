"""Leases are no longer over at some hour: each renewal is a word of its own, measured by a clock that nobody sets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TERM = 15.0


def upgrade() -> None:
    """A new table. Who had a lease in the old one may still believe in it, and can't renew it here.

    So its row says what no renewal has said since: it is over a term after somebody began to watch it.
    """
    held = op.get_bind().execute(sa.text("SELECT name, owner, expires_at FROM leases")).all()
    op.drop_table("leases")
    table = op.create_table(
        "leases",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("renewal", sa.String, nullable=False),
        sa.Column("clock", sa.String, nullable=False),
        sa.Column("renewed", sa.Float(53), nullable=False),
        sa.Column("term", sa.Float(53), nullable=False),
        sa.Column("taken_at", sa.BigInteger, nullable=False),
        sa.Column("renewed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    for name, owner, expires_at in held:
        renewed_at = int((expires_at - _TERM) * 1_000_000)
        row = {"name": name, "owner": owner, "renewal": "0004", "clock": "", "renewed": 0.0, "term": _TERM}
        op.bulk_insert(table, [row | {"taken_at": renewed_at, "renewed_at": renewed_at}])
