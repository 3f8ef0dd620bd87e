"""What the store hands out: frozen rows, free of SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nextlabel.connectors.records import Annotation, Record

from .codec import lot


@dataclass(frozen=True, slots=True)
class Added:
    """What ``add_records`` found: counts of records.

    ``new`` were stored. Of those, ``duplicates`` have the content of an earlier record. ``known`` were there
    already. ``changed`` have a known uid but other fields: the store kept the fields it had.
    """

    new: int = 0
    duplicates: int = 0
    known: int = 0
    changed: int = 0

    def __add__(self, other: Added) -> Added:
        return Added(
            self.new + other.new,
            self.duplicates + other.duplicates,
            self.known + other.known,
            self.changed + other.changed,
        )


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record and what the store knows about it.

    ``position`` counts from 0 in the order of adding, without gaps, and never changes. ``lot`` is uniform in
    [0, 1), the same for records of equal content; ``audit`` is ``lot`` below the audit threshold.
    ``duplicate_of`` is the uid of the first record with the same content. ``gone``: deleted on the platform.
    ``opinions``: how many annotators were asked for, in all; 0 as many as about any other record. ``suggested``: it
    has had a suggestion of ours, on a platform that stores them.
    """

    position: int
    record: Record
    remote_id: str | None
    duplicate_of: str | None
    lot: float
    audit: bool
    gone: bool
    opinions: int = 0
    suggested: bool = False


@dataclass(frozen=True, slots=True)
class AuditSlice:
    """The records that are never trained on: those whose lot, a hash of ``seed`` and uid, is below ``threshold``.

    Fixed for ever once the threshold is set, so that it may be asked without a look at the disk. A duplicate stands
    where the first record with its content stands: ask for that one's uid.
    """

    threshold: float
    seed: str

    def holds(self, uid: str) -> bool:
        """Whether the record called ``uid`` belongs to the slice; also of one that isn't stored yet."""
        return lot(self.seed, uid) < self.threshold


@dataclass(frozen=True, slots=True)
class LogRow:
    """One row of the annotation log, for audits. ``annotation`` is set for answers only.

    ``kind``: answer; deleted (an annotation, for ever); absent and present (a poll no longer lists it, lists it
    again); gone and back (a whole record). ``subject`` is the annotation's id, or the record's for gone and back.
    """

    seq: int
    kind: str
    subject: str
    remote_id: str | None
    source: str
    logged_at: datetime
    annotation: Annotation | None


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model: a probe, or a trained encoder with its head (``kind`` few-shot or fine-tune).

    ``log_seq`` is the last log row it has seen; ``metrics`` is what was measured; ``base`` is the version of the
    trained model whose vectors it reads, empty for the recipe's own encoder.
    """

    version: str
    kind: str
    log_seq: int
    metrics: Mapping[str, Any]
    path: str
    base: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """A queue generation: planned, then published, then retired. ``version`` is its name on the platform."""

    number: int
    version: str
    log_seq: int
    model_version: str
    size: int
    planned_at: datetime
    published_at: datetime | None
    retired_at: datetime | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of everything there is. ``labelled`` counts records with at least one submitted answer."""

    records: int
    duplicates: int
    pushed: int
    gone: int
    log_rows: int
    answers: int
    labelled: int
