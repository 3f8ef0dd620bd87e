"""Answers have epochs, and nothing hides an answer for ever: what the platform has comes back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# Only answers have a status. Asking for the kind would lure SQLite to its index and away from the order of seq.
_CURRENT_ANSWERS = """
CREATE VIEW current_answers AS
SELECT a.seq, a.subject AS annotation_id, a.remote_id, a.annotator, a.status, a.value, a.seen_version,
       a.stamp AS updated_at
FROM annotation_log AS a
WHERE a.status IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM annotation_log AS n
                  WHERE n.kind = 'answer' AND n.subject = a.subject AND (n.epoch, n.stamp) > (a.epoch, a.stamp))
  AND COALESCE((SELECT MAX(x.seq) FROM annotation_log AS x
                WHERE x.kind IN ('absent', 'deleted') AND x.subject = a.subject), 0)
   <= COALESCE((SELECT MAX(p.seq) FROM annotation_log AS p WHERE p.kind = 'present' AND p.subject = a.subject), 0)
  AND COALESCE((SELECT MAX(g.seq) FROM annotation_log AS g WHERE g.kind = 'gone' AND g.subject = a.remote_id), 0)
   <= COALESCE((SELECT MAX(b.seq) FROM annotation_log AS b WHERE b.kind = 'back' AND b.subject = a.remote_id), 0)
"""


def upgrade() -> None:
    """One column more, in the key too, and the view made anew."""
    op.execute("DROP VIEW current_answers")
    op.add_column("annotation_log", sa.Column("epoch", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.drop_index("ix_annotation_log_key", "annotation_log")
    op.create_index("ix_annotation_log_key", "annotation_log", ["kind", "subject", "epoch", "stamp"], unique=True)
    op.execute(_CURRENT_ANSWERS)
