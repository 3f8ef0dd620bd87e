"""Durable state: records, the annotation log, models, queue generations, cursors, leases.

One file (SQLite) or one PostgreSQL database a project. ``Store.open(path)`` is the way in.
"""

from __future__ import annotations

from .leases import Clock, Lease
from .rows import Added, AuditSlice, Counts, GenerationRow, LogRow, ModelRow, StoredRecord
from .store import Store

__all__ = [
    "Added",
    "AuditSlice",
    "Clock",
    "Counts",
    "GenerationRow",
    "Lease",
    "LogRow",
    "ModelRow",
    "Store",
    "StoredRecord",
]
