"""What became of records that we know: corrected on the platform, or replaced by others under the same id.

A corrected record keeps its place, its uid and its answers; its copies that the platform lacks are corrected with it.
An answer that marks a stretch of the text holds as long as the same words stand there: else it is set aside until it is
given again, or the words are back.

Where ids of deleted records are given away again, a record that was made at another time is another one. What was there
before is gone, and what was answered before the new one was made is no answer to it. If both say the same, the record
stays what it is here, without its old answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from nextlabel.connectors.records import Annotation, Record, RemoteRecord, Span, spans_of

from . import codec
from .database import Database, chunks
from .identity import Rule
from .log import Batch, gone_among, head_of, log_records
from .meta import upsert
from .schema import annotation_log as log
from .schema import current_answers as answers
from .schema import fits, record_names, records

SMALLEST = 2.0**-53
"""The least difference between two lots."""


class FollowingPart(Database):
    """What the platform does with records, beyond placing them."""

    def follow(
        self,
        items: Iterable[RemoteRecord],
        rule: Rule,
        marked: str | None = None,
        shown: Iterable[Annotation] = (),
    ) -> set[str]:
        """Take in what the platform lists of records that are known by their remote ids; others are left alone.

        ``marked``: the field that answers mark stretches of, if they do. ``shown``: answers that were read with the
        records; what they say of the words they mark is believed. Returns the uids of the records that were corrected,
        or replaced.
        """
        found: set[str] = set()
        given = {one.id: one for one in shown}
        for batch in chunks(items):
            with self._write() as connection:
                found |= _Following(connection, rule, marked, given).take({item.remote_id: item for item in batch})
        return found

    def happened(self, kind: str, since: datetime) -> int:
        """How many rows of this ``kind`` the log has gained since then."""
        query = sa.select(sa.func.count()).where(log.c.kind == kind, log.c.logged_at >= since)
        with self._read() as connection:
            return int(connection.execute(query).scalar_one())

    def lost_by_reuse(self, since: datetime) -> int:
        """How many answers were given to records whose ids others were found to have since then."""
        later = log.alias()
        reused = sa.and_(later.c.kind == "reused", later.c.subject == log.c.remote_id, later.c.stamp > log.c.stamp)
        query = sa.select(sa.func.count(log.c.subject.distinct())).join_from(log, later, reused)
        with self._read() as connection:
            return int(connection.execute(query.where(log.c.kind == "answer", later.c.logged_at >= since)).scalar_one())

    def misfits(self) -> dict[str, str]:
        """Answers that no longer fit the text that they mark: annotation id -> remote id of the record."""
        some = sa.select(log.c.seq).where(log.c.kind == "misfit").limit(1)
        query = sa.select(answers.c.annotation_id, answers.c.remote_id).where(~fits).order_by(answers.c.seq)
        with self._read() as connection:
            if connection.execute(some).first() is None:
                return {}
            return {row.annotation_id: row.remote_id for row in connection.execute(query)}


class _Following:
    """One batch of listed records, in one transaction."""

    def __init__(self, connection: Connection, rule: Rule, marked: str | None, shown: Mapping[str, Annotation]) -> None:
        self._connection, self._rule = connection, rule
        self._found: set[str] = set()
        self._marked, self._shown = marked, shown
        self._head = head_of(connection)
        self._batch = Batch(connection, "poll")

    def take(self, items: Mapping[str, RemoteRecord]) -> set[str]:
        """Remote id -> what the platform lists. Returns the uids of those that were corrected, or replaced."""
        known = sa.select(records).where(records.c.remote_id.in_(list(items)))
        for row in self._connection.execute(known.order_by(records.c.position)).all():
            item = items[row.remote_id]
            new = _fields(row, item)
            if None not in (row.made_at, item.made_at) and row.made_at != item.made_at:
                self._is_another(row, item, same=new == row.fields)
            elif new != row.fields:
                self._correct(row, item, new)
        self._batch.flush()
        return self._found

    # -- another record under the same id ----------------------------------------------------------------------------

    def _is_another(self, row: Row[Any], item: RemoteRecord, *, same: bool) -> None:
        """A record with the id of ``row``'s was made since: that one is gone, with all that was said of it."""
        made_at = codec.to_micros(item.made_at) if item.made_at else 0
        self._batch.add("reused", row.remote_id, made_at, row.remote_id)
        if gone_among(self._connection, [row.remote_id]):
            log_records(self._connection, "back", {row.remote_id}, "poll")
        uid = row.uid
        values: dict[str, Any] = {"made_at": item.made_at, "suggested": False, "opinions": None}
        if not same:
            values |= {"remote_id": None, "gone": True, "made_at": None}
            if item.record.uid == row.uid:
                uid = values["uid"] = self._renamed(row)
        self._found.add(uid)
        self._connection.execute(sa.update(records).where(records.c.position == row.position).values(values))

    def _renamed(self, row: Row[Any]) -> str:
        """Another uid for a record whose own goes to the one in its place."""
        uid = f"{row.uid}~{row.position}"
        copies = sa.update(records).where(records.c.duplicate_of == row.uid)
        self._connection.execute(copies.values(duplicate_of=uid))
        names = sa.update(record_names).where(record_names.c.uid == row.uid)
        self._connection.execute(names.values(uid=uid))
        return uid

    # -- other words in the same record ------------------------------------------------------------------------------

    def _correct(self, row: Row[Any], item: RemoteRecord, fields: Mapping[str, str]) -> None:
        self._found.add(row.uid)
        self._batch.add("corrected", row.remote_id, self._head, row.remote_id)
        if self._marked is not None:
            self._judge(row, fields.get(self._marked, ""))
        new = Record(row.uid, fields, item.record.metadata or row.metadata)
        values = {"fields": fields, "content_hash": self._rule.content(new), "lot": self._part(row)}
        copies = sa.and_(records.c.duplicate_of == row.uid, records.c.remote_id.is_(None))
        self._connection.execute(sa.update(records).where(copies).values(values))
        values |= {"metadata": new.metadata, "besides": self._rule.besides(item), "duplicate_of": None}
        self._connection.execute(sa.update(records).where(records.c.position == row.position).values(values))
        if item.record.uid != row.uid:  # whoever corrected it may have left out the uid that we gave it
            upsert(self._connection, record_names.c.name, {"name": item.record.uid, "uid": row.uid})

    def _part(self, row: Row[Any]) -> float:
        """Part ``row``'s record from its copies on the platform; returns its lot, another if it had any."""
        copies = sa.and_(records.c.duplicate_of == row.uid, records.c.remote_id.is_not(None))
        query = sa.select(records.c.uid).where(copies).order_by(records.c.position)
        others: Sequence[str] = self._connection.execute(query).scalars().all()
        if others:
            first = sa.case((records.c.uid != others[0], others[0]))
            self._connection.execute(sa.update(records).where(copies).values(duplicate_of=first))
        lot: float = row.lot
        return lot + (row.position + 1) * SMALLEST if others or row.duplicate_of else lot

    def _judge(self, row: Row[Any], text: str) -> None:
        """Set aside the answers to ``row``'s record that mark other words in ``text`` than they did; or the reverse."""
        before = row.fields.get(self._marked, "")
        query = sa.select(answers).where(answers.c.remote_id == row.remote_id)
        for one in self._connection.execute(query).all():
            spans = spans_of(codec.load_value(one.value))
            words = self._words(one.annotation_id) if one.misfit else [_at(span, before) for span in spans]
            told = self._told(one.annotation_id, spans)
            fit = all(_at(span, text) in either for span, *either in zip(spans, words, told, strict=True))
            if fit is bool(one.misfit):
                kind, value = ("fits", None) if fit else ("misfit", json.dumps(words))
                self._batch.add(kind, one.annotation_id, self._head, row.remote_id, value=value)

    def _words(self, annotation: str) -> list[str]:
        """What a misfit was said to mark when it was given."""
        query = sa.select(log.c.value).where(log.c.kind == "misfit", log.c.subject == annotation)
        found: list[str] = json.loads(
            self._connection.execute(query.order_by(log.c.seq.desc())).scalars().first() or ""
        )
        return found

    def _told(self, annotation: str, spans: Sequence[Span]) -> list[str | None]:
        """What the platform says that each of ``spans`` was seen to mark, where it does."""
        said = self._shown.get(annotation)
        seen = {span: span.text for span in spans_of(said.value)} if said else {}
        return [seen.get(span) or None for span in spans]


def _fields(row: Row[Any], item: RemoteRecord) -> dict[str, str]:
    """The fields of a record as they are now: some may be ours alone, others none that we asked for."""
    return {name: item.record.fields.get(name, text) for name, text in row.fields.items()}


def _at(span: Span, text: str) -> str:
    """The words that ``span`` marks in ``text``; beyond its end, what no text says."""
    return text[span.start : span.end] if span.end <= len(text) else "\0"


def note_made(connection: Connection, items: Sequence[RemoteRecord]) -> None:
    """Note when the platform made these, for those that are known by their remote ids."""
    rows = [{"key": item.remote_id, "made": item.made_at} for item in items if item.made_at is not None]
    if rows:
        noted = sa.update(records).where(records.c.remote_id == sa.bindparam("key"), records.c.made_at.is_(None))
        connection.execute(noted.values(made_at=sa.bindparam("made")), rows)
