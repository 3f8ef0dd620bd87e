"""The history of the schema. Alembic runs it; this module names it, so that opening a store needn't load alembic.

A new revision is a new file in ``versions/`` and its id at the end of ``REVISIONS``. Released ones never change.
"""

from __future__ import annotations

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011")
"""Every revision, oldest first."""

HEAD = REVISIONS[-1]
VERSION_TABLE = "nextlabel_schema"
"""Ours alone, so that another program's database is told from a store."""
