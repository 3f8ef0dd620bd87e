"""Answers that the platform marks as the truth settle what their record is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

# Only answers have a status. Asking for the kind would lure SQLite to its index and away from the order of seq.
_CURRENT_ANSWERS = """
CREATE VIEW current_answers AS
SELECT a.seq, a.subject AS annotation_id, a.remote_id, a.annotator, a.status, a.value, a.truth, a.seen_version,
       a.stamp AS updated_at,
       CASE WHEN EXISTS (SELECT 1 FROM annotation_log AS m
                         WHERE m.kind = 'misfit' AND m.subject = a.subject AND m.seq > a.seq
                           AND NOT EXISTS (SELECT 1 FROM annotation_log AS f
                                           WHERE f.kind = 'fits' AND f.subject = a.subject AND f.seq > m.seq))
            THEN 1 ELSE 0 END AS misfit
FROM annotation_log AS a
WHERE a.status IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM annotation_log AS n
                  WHERE n.kind = 'answer' AND n.subject = a.subject AND (n.epoch, n.stamp) > (a.epoch, a.stamp))
  AND COALESCE((SELECT MAX(x.seq) FROM annotation_log AS x
                WHERE x.kind IN ('absent', 'deleted') AND x.subject = a.subject), 0)
   <= COALESCE((SELECT MAX(p.seq) FROM annotation_log AS p WHERE p.kind = 'present' AND p.subject = a.subject), 0)
  AND COALESCE((SELECT MAX(g.seq) FROM annotation_log AS g WHERE g.kind = 'gone' AND g.subject = a.remote_id), 0)
   <= COALESCE((SELECT MAX(b.seq) FROM annotation_log AS b WHERE b.kind = 'back' AND b.subject = a.remote_id), 0)
  AND NOT EXISTS (SELECT 1 FROM annotation_log AS r
                  WHERE r.kind = 'reused' AND r.subject = a.remote_id AND r.stamp > a.stamp)
"""


def upgrade() -> None:
    """One column more, and the view made anew."""
    op.execute("DROP VIEW current_answers")
    op.add_column("annotation_log", sa.Column("truth", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute(_CURRENT_ANSWERS)
