"""Notices: what was set aside, or has happened, and what somebody may do about it.

What one annotation or one record has wrong stands here, and stops nothing else. A notice goes when what it tells is
over; who writes one takes it away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from nextlabel.connectors.records import Changes, RemoteRecord, Unreadable

from . import codec
from .database import Database, chunks
from .meta import upsert
from .schema import notices

ANNOTATION = "annotation"
"""The kind of notices about annotations that can't be read."""
RECORD = "record"
"""The kind of notices about records that can't be read."""
NOBODY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell people: ``key`` names it for ever, ``kind`` is what it is counted under.

    ``message`` says what, about whom, and why; ``fix`` what to do about it, empty where there is nothing to do.
    ``remote_id`` is the record that it is about, if any. ``since``: when it was first told; None before it is kept.
    """

    key: str
    kind: str
    message: str
    fix: str = ""
    remote_id: str = ""
    since: datetime | None = None

    def as_json(self) -> dict[str, str]:
        """Plain values; ``since`` is ISO 8601, UTC."""
        since = self.since.isoformat(timespec="seconds") if self.since else ""
        return {"kind": self.kind, "message": self.message, "fix": self.fix, "since": since}


class NoticesPart(Database):
    """What people are told."""

    def notify(self, *told: Notice) -> None:
        """Keep these notices. One that is there already by its key says from now on what this one says."""
        if told:
            with self._write() as connection:
                _keep(connection, told)

    def dismiss(self, keys: Iterable[str] = (), *, records: Iterable[str] = ()) -> None:
        """Take notices away, by their keys, or all about some ``records`` (remote ids). Unknown ones don't matter."""
        if not self.notice_counts():  # most of the time there is none, and nobody has to wait for a write
            return
        with self._write() as connection:
            _drop(connection, keys)
            for chunk in chunks(records):
                connection.execute(sa.delete(notices).where(notices.c.remote_id.in_(chunk)))

    def notices(self, limit: int | None = None, *, kind: str | None = None) -> list[Notice]:
        """What there is to tell, the newest first; only what is of one ``kind``, if that is given."""
        query = sa.select(notices).order_by(notices.c.since.desc(), notices.c.key).limit(limit)
        if kind is not None:
            query = query.where(notices.c.kind == kind)
        with self._read() as connection:
            return [Notice(**row._mapping) for row in connection.execute(query)]

    def notice_counts(self) -> dict[str, int]:
        """Kind -> how many notices of it there are."""
        query = sa.select(notices.c.kind, sa.func.count()).group_by(notices.c.kind).order_by(notices.c.kind)
        with self._read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def set_aside(self, changes: Changes, absent: Collection[str] = (), names: Mapping[str, str] = NOBODY) -> None:
        """Tell of the annotations that ``changes`` could not read, with the ``names`` of annotators (by id).

        What was told of one that now could be read, that its record no longer lists, or that is ``absent``, is over.
        """
        with self._read() as connection:
            known = connection.execute(sa.select(notices.c.key).where(notices.c.kind == ANNOTATION).limit(1)).all()
        if known or changes.unreadable:
            with self._write() as connection:
                over = [one.id for one in changes.annotations] + [*absent, *_unlisted(connection, changes)]
                _drop(connection, map(_key, over))
                _keep(connection, (_told(one, names) for one in changes.unreadable))

    def set_records_aside(self, items: Sequence[RemoteRecord]) -> None:
        """Tell of those of ``items`` that the platform can't show, or that are blank; of the others it is over."""
        told = [one for item in items if (one := _odd_record(item))]
        if told or RECORD in self.notice_counts():
            with self._write() as connection:
                _drop(connection, {_record_key(item) for item in items} - {one.key for one in told})
                _keep(connection, told)


def _odd_record(item: RemoteRecord) -> Notice | None:
    """What is to be told of a record: that it can't be shown, or that nothing stands in it."""
    key, record = _record_key(item), item.remote_id
    if item.fault:
        message = f"record {record} can't be read: {item.fault}"
        return Notice(key, RECORD, message, "correct it on the platform, or delete it", record)
    if any(text.strip() for text in item.record.fields.values()):
        return None
    names = ", ".join(map(repr, item.record.fields))
    message = f"record {record} has nothing in {names}: annotators see an empty page, and there is nothing to learn"
    return Notice(key, RECORD, message, f"give it a text in {names} on the platform, or delete it", record)


def _record_key(item: RemoteRecord) -> str:
    return f"listed {item.remote_id}"


def _key(annotation: str) -> str:
    return f"{ANNOTATION} {annotation}"


def _told(one: Unreadable, names: Mapping[str, str]) -> Notice:
    who = f" by {names.get(one.annotator, f'annotator {one.annotator}')}" if one.annotator else ""
    what = f"annotation {one.id}{who}" if one.id else "whatever annotation there is"
    message = f"{what} of record {one.remote_id} can't be read: {one.reason}"
    return Notice(_key(one.id or f"of {one.remote_id}"), ANNOTATION, message, one.fix, one.remote_id)


def _keep(connection: Connection, told: Iterable[Notice]) -> None:
    now = codec.now()
    for one in told:
        content: dict[str, Any] = {name: _plain(getattr(one, name)) for name in ("kind", "message", "fix", "remote_id")}
        upsert(connection, notices.c.key, {"key": _plain(one.key), "since": one.since or now, **content}, content)


def _plain(text: str) -> str:
    """What every database stores: notices may tell of texts that none does."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _drop(connection: Connection, keys: Iterable[str]) -> None:
    for chunk in chunks(map(_plain, keys)):
        connection.execute(sa.delete(notices).where(notices.c.key.in_(chunk)))


def _unlisted(connection: Connection, changes: Changes) -> list[str]:
    """Annotations that were told of, on the records in ``complete``, and are listed no longer."""
    found: list[str] = []
    for chunk in chunks(changes.complete):
        query = sa.select(notices.c.key, notices.c.remote_id)
        for key, record in connection.execute(
            query.where(notices.c.kind == ANNOTATION, notices.c.remote_id.in_(chunk))
        ):
            annotation = key.removeprefix(_key(""))
            found += [annotation] if annotation not in changes.complete[record] else []
    return found
