"""The annotation log: append-only, idempotent, indifferent to repeats and reordering.

Schema.py says what a row means. Rows come from reading the platform. A reading says from which head of the log it
began (``as_of``): against rows that were logged since, it proves nothing. What a listing shows is taken in at once;
what it lacks, or shows older than the log has it, is a doubt, which :meth:`LogPart.settle` decides once the annotation
itself was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from nextlabel.connectors.records import FORGOTTEN, Annotation, Changes

from . import codec
from .answers import AnswersPart, annotation_of, counting_among, on_records
from .database import CHUNK, chunks
from .schema import HIDING, records
from .schema import annotation_log as log
from .schema import current_answers as answers


@dataclass(frozen=True, slots=True)
class LogRow:
    """One row of the annotation log, for audits. ``annotation`` is set for answers only.

    ``kind``: one of those that schema.py lists. ``subject`` is the annotation's id, or the record's where the row is
    about a whole record.
    """

    seq: int
    kind: str
    subject: str
    remote_id: str | None
    source: str
    logged_at: datetime
    annotation: Annotation | None


class LogPart(AnswersPart):
    """The annotation log, and how what was read from the platform comes into it."""

    def append(self, changes: Changes, source: str = "poll", as_of: int | None = None) -> int:
        """Log the annotations of ``changes`` that are news, in one transaction; return the number of rows added.

        Listed annotations that were hidden are shown again. ``source`` says what made us look. ``as_of`` is the head
        of the log from before the reading began, the present head if not given. What ``changes`` do not list is not
        concluded from: see :meth:`doubts`.
        """
        if not changes.annotations:
            return 0
        with self._write() as connection:
            return _Reading(connection, source, as_of).take(changes.annotations)

    def doubts(self, changes: Changes, as_of: int | None = None) -> dict[str, str]:
        """Annotation id -> remote id of what the log has otherwise than ``changes``, and had so before the reading.

        Answers on records in ``complete`` that are not listed there; and listed annotations that the log knows newer,
        or with another content.
        """
        with self._read() as connection:
            horizon = head_of(connection) if as_of is None else as_of
            found: dict[str, str] = {}
            for chunk in chunks(changes.annotations):
                newest = _newest_answers(connection, (one.id for one in chunk))
                found |= {
                    one.id: one.remote_id
                    for one in chunk
                    if one.id in newest and newest[one.id].seq <= horizon and _contradicts(one, newest[one.id])
                }
            return found | _unlisted(connection, changes, horizon)

    def settle(self, found: Mapping[str, Annotation | None], source: str = "poll", as_of: int | None = None) -> int:
        """Log what the platform said of annotations that it was asked for one by one; return the rows added.

        None hides the answer. An older or another content than the log's takes its place: the platform was restored
        from a backup, or the log was wrong. Nothing is done about what was logged after ``as_of``.
        """
        with self._write() as connection:
            reading = _Reading(connection, source, as_of)
            shown = [one for one in found.values() if one is not None]
            absent = [number for number, one in found.items() if one is None]
            return reading.take(shown, settled=True) + reading.hide(absent)

    def head(self) -> int:
        """The number of the newest row, 0 when there is none."""
        with self._read() as connection:
            return head_of(connection)

    def touched(self, since: int) -> dict[str, list[Annotation]]:
        """Remote id -> current answers, drafts too (maybe none), of every record mentioned after row ``since``."""
        with self._read() as connection:
            # Nulls and repeats are left to Python: a DISTINCT makes SQLite read the whole index instead of the news.
            mentioned = sa.select(log.c.remote_id, log.c.subject, log.c.epoch).where(log.c.seq > since)
            rows = connection.execute(mentioned.order_by(log.c.seq)).all()
            keys = [row.remote_id for row in rows] + _earlier_records(connection, (r.subject for r in rows if r.epoch))
            return on_records(connection, (key for key in keys if key is not None), self._reading(connection))

    def log_rows(self, since: int = 0, limit: int = CHUNK) -> list[LogRow]:
        """Up to ``limit`` raw rows after row ``since``, oldest first."""
        query = sa.select(log).where(log.c.seq > since).order_by(log.c.seq).limit(limit)
        with self._read() as connection:
            return [_log_row(row) for row in connection.execute(query)]


class Batch:
    """Rows to append: collected, then stripped of what the log has already."""

    def __init__(self, connection: Connection, source: str) -> None:
        self._connection = connection
        self._common = {"source": source, "logged_at": codec.now()}
        self._rows: dict[tuple[str, str, int, int], dict[str, Any]] = {}

    def add(
        self, kind: str, subject: str, stamp: int, remote_id: str | None, epoch: int = 0, **content: object
    ) -> None:
        """One row; schema.py says what ``stamp`` is for each kind."""
        row: dict[str, Any] = dict.fromkeys(("annotator", "status", "value", "seen_version")) | {"truth": False}
        row |= self._common | content
        row |= {"kind": kind, "subject": subject, "epoch": epoch, "stamp": stamp, "remote_id": remote_id}
        self._rows.setdefault((kind, subject, epoch, stamp), row)

    def answer(self, one: Annotation, epoch: int) -> None:
        """The row of an answer."""
        self.add("answer", one.id, codec.to_micros(one.updated_at), one.remote_id, epoch, **_content(one))

    def flush(self) -> int:
        """Write the rows that are new; return how many."""
        for chunk in chunks({(kind, subject) for kind, subject, *_ in self._rows}):
            kinds = {kind for kind, _ in chunk}
            subjects = {subject for _, subject in chunk}
            key = sa.select(log.c.kind, log.c.subject, log.c.epoch, log.c.stamp)
            for row in self._connection.execute(key.where(log.c.kind.in_(kinds), log.c.subject.in_(subjects))):
                self._rows.pop((row.kind, row.subject, row.epoch, row.stamp), None)
        if self._rows:
            self._connection.execute(sa.insert(log), list(self._rows.values()))
        return len(self._rows)


class _Reading:
    """What was read from the platform, on its way into the log. One transaction."""

    def __init__(self, connection: Connection, source: str, as_of: int | None) -> None:
        self._connection, self._source = connection, source
        self._head = head_of(connection)
        self._horizon = self._head if as_of is None else as_of

    def take(self, annotations: Iterable[Annotation], *, settled: bool = False) -> int:
        """Log what is news; ``settled``: also where it contradicts what the log had when the reading began."""
        batch = Batch(self._connection, self._source)
        for chunk in chunks(annotations):
            newest = _newest_answers(self._connection, (one.id for one in chunk))
            for one in sorted(chunk, key=lambda one: one.updated_at):
                known = newest.get(one.id)
                if known is None or codec.to_micros(one.updated_at) > known.stamp:
                    batch.answer(one, 0 if known is None else known.epoch)
                elif settled and known.seq <= self._horizon and _contradicts(one, known):
                    batch.answer(one, known.epoch + 1)
            self._show(batch, {one.id: one.remote_id for one in chunk})
        return batch.flush()

    def _show(self, batch: Batch, listed: Mapping[str, str]) -> None:
        hidden = _rows_of(self._connection, HIDING, listed)
        shown = _rows_of(self._connection, ("present",), hidden)
        for subject, seq in hidden.items():
            if shown.get(subject, 0) < seq <= self._horizon:
                batch.add("present", subject, self._head, listed[subject])

    def hide(self, subjects: Iterable[str]) -> int:
        """Hide these answers, but for those that came in, or came back, after the reading began."""
        batch = Batch(self._connection, self._source)
        for chunk in chunks(subjects):
            visible = counting_among(self._connection, chunk)
            for subject in _known_before(self._connection, visible, self._horizon):
                batch.add("absent", subject, self._head, visible[subject].remote_id)
        return batch.flush()


def _content(one: Annotation) -> dict[str, str | bool | None]:
    return {
        "annotator": one.annotator,
        "status": one.status.value,
        "value": codec.dump_value(one.value),
        "seen_version": one.seen_version,
        "truth": one.is_truth,
    }


def _contradicts(one: Annotation, known: Row[Any]) -> bool:
    """Whether the log's newest answer is newer than ``one``, or of the same moment and another content.

    That the platform has forgotten who gave it, whose account was deleted, is no other content.
    """
    stamp = codec.to_micros(one.updated_at)
    annotator = known.annotator if one.annotator == FORGOTTEN else one.annotator
    logged = (known.remote_id, known.annotator, known.status, known.value, known.truth)
    shown = (one.remote_id, annotator, one.status.value, codec.dump_value(one.value), one.is_truth)
    return bool(stamp < known.stamp or (stamp == known.stamp and shown != logged))


def _newest_answers(connection: Connection, subjects: Iterable[str]) -> dict[str, Row[Any]]:
    """Annotation id -> the log's newest answer row, hidden or not, of those (at most a chunk) that have one."""
    query = sa.select(log).where(log.c.kind == "answer", log.c.subject.in_(list(subjects)))
    return {row.subject: row for row in connection.execute(query.order_by(log.c.epoch, log.c.stamp))}


def _earlier_records(connection: Connection, subjects: Iterable[str]) -> list[str]:
    """Every record that these annotations were ever on: a platform that was restored gives their ids away again."""
    found: list[str] = []
    for chunk in chunks(subjects):
        query = sa.select(log.c.remote_id).where(log.c.kind == "answer", log.c.subject.in_(chunk))
        found += connection.execute(query).scalars()
    return found


def _unlisted(connection: Connection, changes: Changes, horizon: int) -> dict[str, str]:
    """Current answers on the records in ``complete`` that are listed nowhere, as far as the reading can tell."""
    found: dict[str, str] = {}
    for chunk in chunks(changes.complete):
        query = sa.select(answers.c.annotation_id, answers.c.remote_id).where(answers.c.remote_id.in_(chunk))
        rows = {row.annotation_id: row.remote_id for row in connection.execute(query)}
        missing = {subject: record for subject, record in rows.items() if subject not in changes.complete[record]}
        found |= {subject: missing[subject] for subject in _known_before(connection, missing, horizon)}
    return found


def _known_before(connection: Connection, subjects: Iterable[str], horizon: int) -> list[str]:
    """Those of ``subjects`` (at most a chunk) that were logged first, and shown last, no later than ``horizon``."""
    known = _rows_of(connection, ("answer",), subjects, sa.func.min)
    shown = _rows_of(connection, ("present",), known)
    return [subject for subject, seq in known.items() if max(seq, shown.get(subject, 0)) <= horizon]


def log_records(connection: Connection, kind: str, remote_ids: set[str], source: str) -> int:
    """Log that whole records are "gone" or "back", where that is news, and mark them so. Returns the rows added."""
    head = head_of(connection)
    batch = Batch(connection, source)
    for chunk in chunks(sorted(remote_ids)):
        gone = gone_among(connection, chunk)
        news = [remote_id for remote_id in chunk if (remote_id in gone) != (kind == "gone")]
        for remote_id in news:
            batch.add(kind, remote_id, head, remote_id)
        connection.execute(sa.update(records).where(records.c.remote_id.in_(news)).values(gone=kind == "gone"))
    return batch.flush()


def gone_among(connection: Connection, remote_ids: Iterable[str]) -> set[str]:
    """Those of ``remote_ids`` (at most a chunk) that the platform has deleted."""
    gone = _rows_of(connection, ("gone",), remote_ids)
    back = _rows_of(connection, ("back",), gone)
    return {remote_id for remote_id, seq in gone.items() if seq > back.get(remote_id, 0)}


def _rows_of(
    connection: Connection,
    kinds: Collection[str],
    subjects: Iterable[str],
    pick: Callable[..., sa.Function[int]] = sa.func.max,
) -> dict[str, int]:
    """Subject -> number of its newest row of these kinds (or what ``pick`` picks); subjects without are left out."""
    chosen = list(subjects)
    if not chosen:
        return {}
    query = sa.select(log.c.subject, pick(log.c.seq)).where(log.c.kind.in_(kinds), log.c.subject.in_(chosen))
    return {row[0]: row[1] for row in connection.execute(query.group_by(log.c.subject))}


def head_of(connection: Connection) -> int:
    """The number of the newest row, 0 when there is none."""
    newest: int | None = connection.execute(sa.select(sa.func.max(log.c.seq))).scalar()
    return newest or 0


def _log_row(row: Row[Any]) -> LogRow:
    return LogRow(
        seq=row.seq,
        kind=row.kind,
        subject=row.subject,
        remote_id=row.remote_id,
        source=row.source,
        logged_at=row.logged_at,
        annotation=annotation_of(row.subject, codec.from_micros(row.stamp), row) if row.kind == "answer" else None,
    )
