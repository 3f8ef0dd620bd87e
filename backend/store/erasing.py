"""Records that the platform deleted lose what they say here, too.

What stays: a row without text and metadata, with its ids and a hash of what it said, so that the same row of a data
file is not pushed again; and in the log, that there was an answer. Digests of what was read of them are kept until the
vectors are gone as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from nextlabel.connectors.records import Record

from .database import chunks, translated
from .meta import MetaPart, look_up, put
from .schema import annotation_log as log
from .schema import is_gone, meta, notices, proposals, records

ERASED = "erased_vectors"
"""Where the digests are kept, a JSON list of hexadecimals."""
Digests = Callable[[Record], Iterable[bytes]]


class ErasingPart(MetaPart):
    """Erasing what records say."""

    def erase_gone(self, digests: Digests, before: datetime | None = None) -> list[str]:
        """Erase the records that the platform has deleted, those of ``before`` then alone; return their uids.

        ``digests`` are what the caches of vectors know a record by.
        """
        chosen: sa.ColumnElement[bool] = is_gone
        if before is not None:
            late = sa.select(log.c.subject).where(log.c.kind == "gone", log.c.logged_at > before)
            chosen = sa.and_(is_gone, records.c.remote_id.not_in(late))
        with self._write() as connection:
            return _erase(connection, chosen, digests)

    def erase(self, uids: Sequence[str], digests: Digests) -> list[str]:
        """Erase these records, which no platform has (any more); return the uids of those that were not erased yet."""
        done: list[str] = []
        with self._write() as connection:
            for chunk in chunks(uids):
                chosen = records.c.uid.in_(chunk)
                connection.execute(sa.update(records).where(chosen).values(gone=True))
                done += _erase(connection, chosen, digests)
        return done

    def erased_digests(self) -> list[bytes]:
        """What the vectors are known by that are still to be removed."""
        return [bytes.fromhex(one) for one in json.loads(self.get_meta(ERASED) or "[]")]

    def note_removed(self, digests: Iterable[bytes]) -> None:
        """The vectors known by these are gone."""
        gone = {one.hex() for one in digests}
        with self._write() as connection:
            left = [one for one in json.loads(look_up(connection, meta, ERASED) or "[]") if one not in gone]
            put(connection, meta, ERASED, json.dumps(left))

    def first_answer(self, remote_id: str) -> int | None:
        """The number of the first answer in the log about this record; None without any."""
        query = sa.select(sa.func.min(log.c.seq)).where(log.c.remote_id == remote_id, log.c.kind == "answer")
        with self._read() as connection:
            found: int | None = connection.execute(query).scalar()
        return found

    def flush_erased(self) -> bool:
        """Leave no copy of what was erased beside the store's file; False while somebody reads, to be tried again.

        Nothing to do for PostgreSQL, which sees to it by its own vacuum.
        """
        if self._engine.dialect.name != "sqlite":
            return True
        with translated(self._engine), self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None  # noqa: S101 - for the type checker
            busy, _, _ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy


def _erase(connection: Connection, chosen: sa.ColumnElement[bool], digests: Digests) -> list[str]:
    """Those of ``chosen`` that say something, and the copies for which they stand."""
    says = sa.or_(records.c.fields != {}, records.c.metadata != {})
    found = list(connection.execute(_content().where(chosen, says)))
    for chunk in chunks(row.uid for row in found):
        copies = sa.and_(records.c.duplicate_of.in_(chunk), records.c.remote_id.is_(None))
        found += connection.execute(_content().where(copies, says)).all()
    known_by = {one.hex() for row in found for one in digests(Record(row.uid, row.fields, row.metadata))}
    for chunk in chunks(found):
        these = records.c.uid.in_([row.uid for row in chunk])
        connection.execute(sa.update(records).where(these).values(fields={}, metadata={}))
        remote = [row.remote_id for row in chunk if row.remote_id]
        connection.execute(sa.delete(notices).where(notices.c.remote_id.in_(remote)))
    for some in chunks(known_by):
        connection.execute(sa.delete(proposals).where(proposals.c.content.in_(some)))
    if known_by:
        before = set(json.loads(look_up(connection, meta, ERASED) or "[]"))
        put(connection, meta, ERASED, json.dumps(sorted(before | known_by)))
    return [row.uid for row in found]


def _content() -> sa.Select[tuple[str, str | None, dict[str, str], dict[str, object]]]:
    return sa.select(records.c.uid, records.c.remote_id, records.c.fields, records.c.metadata)
