"""The records: added once, in order, and never changed but for what the platform does with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from operator import add
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from nextlabel.connectors.records import Record, RemoteRecord

from . import codec
from .database import CHUNK, chunks
from .log import gone_among, log_records
from .meta import MetaPart, look_up, put
from .schema import is_gone, meta, records, unpushed

AUDIT_KEY = "audit_threshold"
SEED_KEY = "seed"

_T = TypeVar("_T")
_COLUMNS = tuple(records.c[name] for name in ("position", "uid", "fields", "metadata", "lot"))
_STATE = tuple(records.c[name] for name in ("duplicate_of", "remote_id", "gone", "opinions", "suggested"))


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
        return Added(*map(add, astuple(self), astuple(other)))


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
        return codec.lot(self.seed, uid) < self.threshold


class RecordsPart(MetaPart):
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
                total += _add_batch(connection, batch)
        return total

    def set_remote(self, remote_ids: Mapping[str, str]) -> int:
        """Note under which id (uid -> remote id) the platform holds records; return how many are known here."""
        noted = 0
        for batch in chunks(remote_ids.items()):
            with self._write() as connection:
                noted += _set_remote(connection, batch)
        return noted

    def add_listed(self, items: Iterable[RemoteRecord]) -> None:
        """Store the records that the platform lists, with the ids that it has for them.

        In one step per batch: a record of others that had no id for a moment would be pushed as if it were missing
        there.
        """
        for batch in chunks(items):
            with self._write() as connection:
                _add_batch(connection, [item.record for item in batch])
                _set_remote(connection, [(item.record.uid, item.remote_id) for item in batch])

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
                threshold = _threshold(connection)
                query = sa.select(*_COLUMNS, *_STATE).where(records.c.position > after)
                page = connection.execute(query.order_by(records.c.position).limit(CHUNK)).all()
            yield from (_stored(row, threshold) for row in page)
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
            threshold = _threshold(connection)
            for chunk in chunks(values):
                rows = connection.execute(sa.select(key.label("key"), *_COLUMNS, *_STATE).where(key.in_(chunk)))
                found.update((row.key, _stored(row, threshold)) for row in rows)
        return found

    def size(self) -> int:
        """How many records there are: one look at the last position."""
        with self._read() as connection:
            return _next_position(connection)

    def remote_ids(self) -> list[str]:
        """The remote id of every record that the platform holds, as far as is known here."""
        query = sa.select(records.c.remote_id).where(records.c.remote_id.is_not(None), records.c.gone.is_(False))
        with self._read() as connection:
            return list(connection.execute(query).scalars())

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

    def set_audit_threshold(self, threshold: float) -> float:
        """Make the records with ``lot`` below ``threshold`` the audit slice. Returns the threshold in force.

        The first call decides for ever: a slice that moved would have been trained on.
        """
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"the audit share must lie between 0 and 1, not at {threshold}")
        with self._write() as connection:
            put(connection, meta, AUDIT_KEY, repr(float(threshold)), keep=True)
            return _threshold(connection)

    def audit_slice(self) -> AuditSlice:
        """Which records belong to the audit slice. Keep the answer: it doesn't change once the threshold is set."""
        with self._read() as connection:
            return AuditSlice(_threshold(connection), _seed(connection))

    def record_counts(self) -> dict[str, int]:
        """How many records, duplicates, pushed and gone ones there are."""
        wanted = {
            "duplicates": records.c.duplicate_of.is_not(None),
            "pushed": records.c.remote_id.is_not(None),
            "gone": is_gone,
        }
        with self._read() as connection:
            query = sa.select(sa.func.count()).select_from(records)
            counts = {name: connection.execute(query.where(only)).scalar_one() for name, only in wanted.items()}
            return counts | {"records": _next_position(connection)}


def _add_batch(connection: Connection, batch: Sequence[Record]) -> Added:
    hashes = [record.content_hash() for record in batch]
    known = _lookup(connection, records.c.uid, records.c.content_hash, [record.uid for record in batch])
    originals = _lookup(connection, records.c.content_hash, records.c.uid, hashes, records.c.duplicate_of.is_(None))
    seed = _seed(connection)
    start = _next_position(connection)
    rows: list[dict[str, Any]] = []
    duplicates = changed = 0
    for record, content_hash in zip(batch, hashes, strict=True):
        if record.uid in known:
            changed += known[record.uid] != content_hash
            continue
        known[record.uid] = content_hash
        first = originals.setdefault(content_hash, record.uid)
        duplicates += first != record.uid
        rows.append(
            {
                "position": start + len(rows),
                "uid": record.uid,
                "content_hash": content_hash,
                "fields": record.fields,
                "metadata": record.metadata,
                "lot": codec.lot(seed, first),  # equal texts stand on the same side of the audit line
                "duplicate_of": first if first != record.uid else None,
            }
        )
    if rows:
        connection.execute(sa.insert(records), rows)
    return Added(len(rows), duplicates, len(batch) - len(rows) - changed, changed)


def _set_remote(connection: Connection, remote_ids: Sequence[tuple[str, str]]) -> int:
    """Note where the platform holds records, pairs of uid and remote id; how many are known here."""
    gone = gone_among(connection, [remote_id for _, remote_id in remote_ids])
    placed = sa.update(records).where(records.c.uid == sa.bindparam("key"))
    placed = placed.values(remote_id=sa.bindparam("remote"), gone=sa.bindparam("lost"))
    rows = [{"key": uid, "remote": remote, "lost": remote in gone} for uid, remote in remote_ids]
    return int(connection.execute(placed, rows).rowcount)


def _lookup(
    connection: Connection, key: sa.Column[str], value: sa.Column[_T], keys: Sequence[str], *where: Any
) -> dict[str, _T]:
    rows = connection.execute(sa.select(key, value).where(key.in_(keys), *where))
    return {row[0]: row[1] for row in rows}


def _next_position(connection: Connection) -> int:
    last: int | None = connection.execute(sa.select(sa.func.max(records.c.position))).scalar()
    return 0 if last is None else last + 1


def _threshold(connection: Connection) -> float:
    return float(look_up(connection, meta, AUDIT_KEY) or 0.0)


def _seed(connection: Connection) -> str:
    return look_up(connection, meta, SEED_KEY) or ""


def _record(row: Row[Any]) -> Record:
    return Record(row.uid, row.fields, row.metadata)


def _stored(row: Row[Any], threshold: float) -> StoredRecord:
    return StoredRecord(
        position=row.position,
        record=_record(row),
        remote_id=row.remote_id,
        duplicate_of=row.duplicate_of,
        lot=row.lot,
        audit=row.lot < threshold,
        gone=row.gone,
        opinions=row.opinions or 0,
        suggested=row.suggested,
    )
