"""The first tables: records, the annotation log with its view, models, generations, cursors, leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Only answers have a status. Asking for the kind would lure SQLite to its index and away from the order of seq.
_CURRENT_ANSWERS = """
CREATE VIEW current_answers AS
SELECT a.seq, a.subject AS annotation_id, a.remote_id, a.annotator, a.status, a.value, a.seen_version,
       a.stamp AS updated_at
FROM annotation_log AS a
WHERE a.status IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM annotation_log AS n
                  WHERE n.kind = 'answer' AND n.subject = a.subject AND n.stamp > a.stamp)
  AND NOT EXISTS (SELECT 1 FROM annotation_log AS d WHERE d.kind = 'deleted' AND d.subject = a.subject)
  AND COALESCE((SELECT MAX(x.seq) FROM annotation_log AS x WHERE x.kind = 'absent' AND x.subject = a.subject), 0)
   <= COALESCE((SELECT MAX(p.seq) FROM annotation_log AS p WHERE p.kind = 'present' AND p.subject = a.subject), 0)
  AND COALESCE((SELECT MAX(g.seq) FROM annotation_log AS g WHERE g.kind = 'gone' AND g.subject = a.remote_id), 0)
   <= COALESCE((SELECT MAX(b.seq) FROM annotation_log AS b WHERE b.kind = 'back' AND b.subject = a.remote_id), 0)
"""

_REFUSE_SQLITE = """
CREATE TRIGGER annotation_log_refuse_{action} BEFORE {action} ON annotation_log
BEGIN SELECT RAISE(ABORT, 'the annotation log is append-only'); END
"""

_REFUSE_POSTGRESQL = (
    """
    CREATE FUNCTION annotation_log_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the annotation log is append-only'; END $$
    """,
    """
    CREATE TRIGGER annotation_log_refuse BEFORE UPDATE OR DELETE ON annotation_log
    FOR EACH ROW EXECUTE FUNCTION annotation_log_refuse()
    """,
)


def upgrade() -> None:
    """Create everything."""
    _create_small_tables()
    _create_records()
    _create_annotation_log()
    _create_models_and_generations()


def _create_small_tables() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )
    op.create_table(
        "cursors",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_cursors"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("expires_at", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )


def _create_records() -> None:
    op.create_table(
        "records",
        sa.Column("position", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("uid", sa.String, nullable=False),
        sa.Column("content_hash", sa.String, nullable=False),
        sa.Column("fields", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("lot", sa.Float(53), nullable=False),
        sa.Column("duplicate_of", sa.String),
        sa.Column("remote_id", sa.String),
        sa.Column("gone", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("position", name="pk_records"),
    )
    op.create_index("ix_records_uid", "records", ["uid"], unique=True)
    op.create_index("ix_records_content_hash", "records", ["content_hash"])
    for column, unique in (("remote_id", True), ("duplicate_of", False)):
        where = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_records_{column}", "records", [column], unique=unique, sqlite_where=where, postgresql_where=where
        )
    for name, condition in (
        ("ix_records_gone", sa.column("gone", sa.Boolean).is_(True)),
        ("ix_records_unpushed", sa.text("remote_id IS NULL AND duplicate_of IS NULL")),
    ):
        op.create_index(name, "records", ["position"], sqlite_where=condition, postgresql_where=condition)


def _create_annotation_log() -> None:
    op.create_table(
        "annotation_log",
        sa.Column("seq", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("stamp", sa.BigInteger, nullable=False),
        sa.Column("remote_id", sa.String),
        sa.Column("annotator", sa.String),
        sa.Column("status", sa.String),
        sa.Column("value", sa.Text),
        sa.Column("seen_version", sa.String),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("logged_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_annotation_log"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_annotation_log_key", "annotation_log", ["kind", "subject", "stamp"], unique=True)
    op.create_index("ix_annotation_log_remote_id", "annotation_log", ["remote_id", "kind"])
    op.execute(_CURRENT_ANSWERS)
    if op.get_bind().dialect.name == "sqlite":
        for action in ("UPDATE", "DELETE"):
            op.execute(_REFUSE_SQLITE.format(action=action))
    else:
        for statement in _REFUSE_POSTGRESQL:
            op.execute(statement)


def _create_models_and_generations() -> None:
    op.create_table(
        "models",
        sa.Column("number", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("log_seq", sa.Integer, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_models"),
    )
    op.create_index("ix_models_version", "models", ["version"], unique=True)
    op.create_table(
        "generations",
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("log_seq", sa.Integer, nullable=False),
        sa.Column("model_version", sa.String, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("planned_at", sa.BigInteger, nullable=False),
        sa.Column("published_at", sa.BigInteger),
        sa.Column("retired_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("number", name="pk_generations"),
    )
    op.create_index("ix_generations_version", "generations", ["version"], unique=True)
