"""The records: added once, in order, and never changed but for what the platform does with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from operator import add
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from nextlabel.connectors.records import Record, RemoteRecord

from .audit import ANSWERED, AuditPart, holds_out, threshold_of
from .database import CHUNK, chunks
from .following import note_made
from .identity import Rule, add_batch, is_free, named, next_position, set_remote, take_up
from .log import log_records
from .schema import is_gone, records, unpushed

_T = TypeVar("_T")
_COLUMNS = tuple(records.c[name] for name in ("position", "uid", "fields", "metadata", "lot"))
_STATE = tuple(records.c[name] for name in ("duplicate_of", "remote_id", "gone", "opinions", "suggested", "seen"))
SAME = Rule()


@dataclass(frozen=True, slots=True)
class Added:
    """What ``add_records`` found: counts of records.

    ``new`` were stored. Of those, ``duplicates`` have the content of an earlier record. ``known`` were there
    already, by their uid or as what the platform has. ``changed`` have a known uid but other fields: the store kept the
    fields it had.
    """

    new: int = 0
    duplicates: int = 0
    known: int = 0
    changed: int = 0

    def __add__(self, other: Added) -> Added:
        return Added(*map(add, astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record and what the store knows about it.

    ``position`` counts from 0 in the order of adding, without gaps, and never changes. ``lot`` is uniform in
    [0, 1), the same for records of equal content; below the audit threshold a record is kept apart: ``audit`` if it is
    shown blind, ``held_out`` if it was answered before we came, see store/audit.py.
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
    held_out: bool = False
    seen: str = ""

    @property
    def is_copy(self) -> bool:
        """Whether an earlier record stands for it: it has the same content, and the platform lacks this one."""
        return self.duplicate_of is not None and self.remote_id is None


class RecordsPart(AuditPart):
    """Records: adding, finding, what became of them on the platform."""

    def add_records(self, items: Iterable[Record]) -> Added:
        """Store the records that are new; return what was found. Streams: any number, in bounded memory.

        Content is immutable: a known uid with other fields is counted in ``changed`` and keeps the fields it
        had, because vectors, pushed tasks and answers belong to them. Each batch is one transaction; after an
        error or a crash, the same call goes on where it was.
        """
        total = Added()
        for batch in chunks(items):
            with self._write() as connection:
                taken = add_batch(connection, batch)
                total += Added(taken.new, taken.duplicates, taken.known, taken.changed)
        return total

    def would_add(self, items: Iterable[Record]) -> Added:
        """What :meth:`add_records` would find; stores nothing. Copies are told within a batch only."""
        total = Added()
        for batch in chunks(items):
            with self._write() as connection:
                trial = connection.begin_nested()
                taken = add_batch(connection, batch)
                trial.rollback()
            total += Added(taken.new, taken.duplicates, taken.known, taken.changed)
        return total

    def set_remote(self, remote_ids: Mapping[str, str]) -> int:
        """Note under which id (uid -> remote id) the platform holds records; return how many are known here."""
        noted = 0
        for batch in chunks(remote_ids.items()):
            with self._write() as connection:
                noted += set_remote(connection, batch)
        return noted

    def add_listed(self, items: Iterable[RemoteRecord], rule: Rule = SAME) -> set[str]:
        """Take in the records that the platform lists, with the ids that it has for them; ``rule`` says what is same.

        In one step per batch: a record of others that had no id for a moment would be pushed as if it were missing
        there. Answers that the log has of a record by then were given before we knew it: it is nobody's audit record.
        Returns the uids of the records that changed.
        """
        changed: set[str] = set()
        for batch in chunks(items):
            with self._write() as connection:
                changed |= take_up(connection, batch, rule)
                note_made(connection, batch)
        return changed

    def elsewhere(self, items: Sequence[RemoteRecord]) -> list[str]:
        """Where we have those of ``items`` that are called like a record with another remote id: these ids."""
        found: list[str] = []
        with self._read() as connection:
            for chunk in chunks(items):
                known = named(connection, [item.record.uid for item in chunk])
                rows = ((known.get(item.record.uid), item) for item in chunk)
                found += [
                    row.remote_id for row, item in rows if row and not is_free(row) and row.remote_id != item.remote_id
                ]
        return found

    def mark_gone(self, remote_ids: Iterable[str]) -> int:
        """Note that the platform deleted these records; their answers no longer count. Returns how many are news."""
        with self._write() as connection:
            return log_records(connection, "gone", set(remote_ids), "poll")

    def mark_back(self, remote_ids: Iterable[str]) -> int:
        """Undo ``mark_gone`` for records that the platform does list. Returns how many are news."""
        with self._write() as connection:
            return log_records(connection, "back", set(remote_ids), "poll")

    def records(self, after: int = -1) -> Iterator[StoredRecord]:
        """Every record with a position above ``after``, in order, read page by page."""
        while True:
            with self._read() as connection:
                side = _Side.of(connection)
                query = sa.select(*_COLUMNS, *_STATE).where(records.c.position > after)
                page = connection.execute(query.order_by(records.c.position).limit(CHUNK)).all()
            yield from (_stored(row, side) for row in page)
            if len(page) < CHUNK:
                return
            after = page[-1].position

    def get(self, uids: Sequence[str]) -> list[StoredRecord]:
        """The records with these uids, in the order asked for. Unknown ones are left out."""
        found = self._find(records.c.uid, uids)
        return [found[uid] for uid in uids if uid in found]

    def get_remote(self, remote_ids: Sequence[str]) -> dict[str, StoredRecord]:
        """Remote id -> record, for those of ``remote_ids`` that belong to a record here."""
        return self._find(records.c.remote_id, remote_ids)

    def at(self, positions: Sequence[int]) -> list[StoredRecord]:
        """The records at these positions, in the order asked for. Unknown ones are left out."""
        found = self._find(records.c.position, positions)
        return [found[position] for position in positions if position in found]

    def _find(self, key: sa.Column[_T], values: Sequence[_T]) -> dict[_T, StoredRecord]:
        found: dict[_T, StoredRecord] = {}
        with self._read() as connection:
            side = _Side.of(connection)
            for chunk in chunks(values):
                rows = connection.execute(sa.select(key.label("key"), *_COLUMNS, *_STATE).where(key.in_(chunk)))
                found.update((row.key, _stored(row, side)) for row in rows)
        return found

    def size(self) -> int:
        """How many records there are: one look at the last position."""
        with self._read() as connection:
            return next_position(connection)

    def remote_ids(self) -> list[str]:
        """The remote id of every record that the platform holds, as far as is known here."""
        query = sa.select(records.c.remote_id).where(records.c.remote_id.is_not(None), records.c.gone.is_(False))
        with self._read() as connection:
            return list(connection.execute(query).scalars())

    def held(self) -> int:
        """How many records the platform holds, as far as is known here."""
        query = sa.select(sa.func.count()).where(records.c.remote_id.is_not(None), records.c.gone.is_(False))
        with self._read() as connection:
            return int(connection.execute(query).scalar_one())

    def gone_ids(self) -> list[str]:
        """The remote id of every record that the platform has deleted."""
        query = sa.select(records.c.remote_id).where(records.c.remote_id.is_not(None), is_gone)
        with self._read() as connection:
            return list(connection.execute(query).scalars())

    def unpushed(self, limit: int) -> list[Record]:
        """Up to ``limit`` records that the platform has yet to get, in order; no duplicates."""
        query = sa.select(*_COLUMNS).where(unpushed).order_by(records.c.position).limit(limit)
        with self._read() as connection:
            return [_record(row) for row in connection.execute(query)]

    def ask_again(self, uids: Iterable[str], opinions: int) -> None:
        """Note that these records want ``opinions`` annotators in all; a record that wants more already keeps that."""
        less = sa.func.coalesce(records.c.opinions, 0) < opinions
        with self._write() as connection:
            for chunk in chunks(uids):
                asked = sa.update(records).where(records.c.uid.in_(chunk), less)
                connection.execute(asked.values(opinions=opinions))

    def mark_suggested(self, positions: Iterable[int]) -> None:
        """Note that the records at these positions have had a suggestion of ours on the platform."""
        with self._write() as connection:
            for chunk in chunks(positions):
                connection.execute(sa.update(records).where(records.c.position.in_(chunk)).values(suggested=True))

    def forget_suggestions(self) -> None:
        """Note that no record has a suggestion of ours on the platform any more."""
        with self._write() as connection:
            connection.execute(sa.update(records).where(records.c.suggested).values(suggested=False))

    def record_counts(self) -> dict[str, int]:
        """How many records, copies that the platform lacks, pushed, gone, and not blind ones there are."""
        wanted = {
            "duplicates": sa.and_(records.c.duplicate_of.is_not(None), records.c.remote_id.is_(None)),
            "pushed": records.c.remote_id.is_not(None),
            "gone": is_gone,
            "seen": records.c.seen.is_not(None),
        }
        with self._read() as connection:
            query = sa.select(sa.func.count()).select_from(records)
            counts = {name: connection.execute(query.where(only)).scalar_one() for name, only in wanted.items()}
            return counts | {"records": next_position(connection)}


@dataclass(frozen=True, slots=True)
class _Side:
    """What tells which records are kept apart."""

    threshold: float
    holds_out: bool

    @classmethod
    def of(cls, connection: Connection) -> _Side:
        return cls(threshold_of(connection), holds_out(connection))

    def audit(self, row: Row[Any]) -> bool:
        return bool(row.lot < self.threshold and row.seen is None)

    def held_out(self, row: Row[Any]) -> bool:
        return bool(self.holds_out and row.lot < self.threshold and row.seen == ANSWERED)


def _record(row: Row[Any]) -> Record:
    return Record(row.uid, row.fields, row.metadata)


def _stored(row: Row[Any], side: _Side) -> StoredRecord:
    return StoredRecord(
        position=row.position,
        record=_record(row),
        remote_id=row.remote_id,
        duplicate_of=row.duplicate_of,
        lot=row.lot,
        audit=side.audit(row),
        gone=row.gone,
        opinions=row.opinions or 0,
        suggested=row.suggested,
        held_out=side.held_out(row),
        seen=row.seen or "",
    )
