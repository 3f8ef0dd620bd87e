"""Durable state: records, the annotation log, models, queue generations, cursors, leases.

One file (SQLite) or one PostgreSQL database a project. ``Store.open(path)`` is the way in.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from .audit import SEED_KEY
from .database import open_engine
from .erasing import ErasingPart
from .following import FollowingPart
from .identity import Rule
from .imported import ImportCounts, ImportedAnswer, ImportedPart, WaitingAnswer
from .leases import Clock, Lease, LeasesPart
from .lineage import INSTANCE_KEY, GenerationRow, GenerationsPart, ModelRow, ModelsPart
from .log import LogPart, LogRow
from .meta import put
from .notices import Notice, NoticesPart
from .pool import Added, RecordsPart, StoredRecord
from .proposals import ProposalsPart
from .schema import meta

__all__ = [
    "Added",
    "Clock",
    "Counts",
    "GenerationRow",
    "ImportCounts",
    "ImportedAnswer",
    "Lease",
    "LogRow",
    "ModelRow",
    "Notice",
    "Rule",
    "Store",
    "StoredRecord",
    "WaitingAnswer",
]


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of everything there is. ``labelled`` counts records with at least one submitted answer.

    ``duplicates``: copies that the platform lacks, for which the first with their content stands. ``seen``: records
    that can't be shown blind, see store/audit.py.
    """

    records: int
    duplicates: int
    pushed: int
    gone: int
    seen: int
    log_rows: int
    answers: int
    labelled: int


class Store(
    RecordsPart,
    ImportedPart,
    ErasingPart,
    FollowingPart,
    LogPart,
    ModelsPart,
    GenerationsPart,
    LeasesPart,
    NoticesPart,
    ProposalsPart,
):
    """The durable state of one project. Thread-safe; several processes may share one.

    Every method is one transaction unless it says otherwise, and raises StoreError (StoreFull on a full
    disk) having changed nothing.
    """

    @classmethod
    def open(cls, target: str | Path, *, seed: int | str = 0, clock: Clock | None = None) -> Self:
        """Open the store in the SQLite file ``target``, or at an SQLAlchemy URL; create or migrate it as needed.

        ``seed`` fixes which records the audit slice holds; it counts when the store is created, never after.
        ``clock`` stands in for this machine's, which leases go by.
        Raises StoreTooNew if a newer nextlabel wrote it, StoreError if it can't be opened or is no store.
        """
        store = cls(open_engine(target), clock)
        try:
            if store.get_meta(INSTANCE_KEY) is None:
                store._christen(str(seed))
        except BaseException:
            store.close()
            raise
        return store

    def _christen(self, seed: str) -> None:
        with self._write() as connection:
            put(connection, meta, SEED_KEY, seed, keep=True)
            put(connection, meta, INSTANCE_KEY, secrets.token_hex(3), keep=True)

    @property
    def instance(self) -> str:
        """Six hex digits, drawn once a store: part of every generation's version."""
        return self.get_meta(INSTANCE_KEY) or ""

    def counts(self) -> Counts:
        """How much of everything there is. Reads every current answer: not for a hot path."""
        return Counts(**self.record_counts(), **self.log_counts())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
