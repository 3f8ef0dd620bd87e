"""The annotation log: append-only, idempotent, indifferent to repeats and reordering.

Schema.py says what a row means. Two kinds of deletion differ on purpose. What the platform announces
(``deleted_annotations``, ``deleted_records``) is final. What a poll merely fails to list (``complete``) is
hidden until a later poll lists it: the list may have been taken just before the answer was stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes

from . import codec
from .database import CHUNK, chunks
from .meta import MetaPart
from .rows import LogRow
from .schema import annotation_log as log
from .schema import current_answers as answers
from .schema import records

POLL = "poll"
DRAFT = AnnotationStatus.DRAFT.value


class LogPart(MetaPart):
    """The annotation log and the current answers."""

    def append(self, changes: Changes, source: str = "webhook", as_of: int | None = None) -> int:
        """Log what is new in ``changes``, in one transaction; return the number of rows that it took.

        ``source`` is "webhook" or "poll". ``complete`` counts only from a poll: a webhook may be old when it
        comes. ``as_of`` is the head of the log from before that poll began: answers that came in since are
        not taken for deleted because the poll doesn't list them.
        """
        if not (changes.annotations or changes.deleted_annotations or changes.deleted_records or changes.complete):
            return 0
        with self._write() as connection:
            batch = _Batch(connection, source)
            batch.answers(changes.annotations)
            batch.deletions(changes)
            new = batch.flush() + log_records(connection, "gone", set(changes.deleted_records), source)
            if source == POLL:
                new += _reconcile(connection, changes, as_of)
            return new

    def head(self) -> int:
        """The number of the newest row, 0 when there is none."""
        with self._read() as connection:
            return _head(connection)

    def touched(self, since: int) -> dict[str, list[Annotation]]:
        """Remote id -> current answers, drafts too (maybe none), of every record mentioned after row ``since``."""
        with self._read() as connection:
            # Nulls and repeats are left to Python: a DISTINCT makes SQLite read the whole index instead of the news.
            mentioned = sa.select(log.c.remote_id).where(log.c.seq > since).order_by(log.c.seq)
            keys = connection.execute(mentioned).scalars()
            result: dict[str, list[Annotation]] = {key: [] for key in keys if key is not None}
            for chunk in chunks(result):
                query = sa.select(answers).where(answers.c.remote_id.in_(chunk)).order_by(answers.c.seq)
                for row in connection.execute(query):
                    result[row.remote_id].append(_annotation(row.annotation_id, row.updated_at, row))
        return result

    def answers(self) -> Iterator[Annotation]:
        """Every current answer, skipped ones included and drafts left out, in the order in which they were logged."""
        after = 0
        while True:
            given = answers.c.status != DRAFT
            query = sa.select(answers).where(answers.c.seq > after, given).order_by(answers.c.seq).limit(CHUNK)
            with self._read() as connection:
                page = connection.execute(query).all()
            yield from (_annotation(row.annotation_id, row.updated_at, row) for row in page)
            if len(page) < CHUNK:
                return
            after = page[-1].seq

    def log_rows(self, since: int = 0, limit: int = CHUNK) -> list[LogRow]:
        """Up to ``limit`` raw rows after row ``since``, oldest first."""
        query = sa.select(log).where(log.c.seq > since).order_by(log.c.seq).limit(limit)
        with self._read() as connection:
            return [_log_row(row) for row in connection.execute(query)]

    def log_counts(self) -> dict[str, int]:
        """How many log rows, current answers (drafts are none), and records with a submitted answer there are."""
        submitted = answers.c.status == AnnotationStatus.SUBMITTED.value
        wanted = {
            "log_rows": sa.select(sa.func.count()).select_from(log),
            "answers": sa.select(sa.func.count()).select_from(answers).where(answers.c.status != DRAFT),
            "labelled": sa.select(sa.func.count(answers.c.remote_id.distinct())).where(submitted),
        }
        with self._read() as connection:
            return {name: connection.execute(query).scalar_one() for name, query in wanted.items()}


class _Batch:
    """Rows to append: collected, then stripped of what the log has already."""

    def __init__(self, connection: Connection, source: str) -> None:
        self._connection = connection
        self._common = {"source": source, "logged_at": codec.now_micros()}
        self._rows: dict[tuple[str, str, int], dict[str, Any]] = {}

    def add(self, kind: str, subject: str, stamp: int, remote_id: str | None, **content: object) -> None:
        row = {"annotator": None, "status": None, "value": None, "seen_version": None} | self._common | content
        row |= {"kind": kind, "subject": subject, "stamp": stamp, "remote_id": remote_id}
        self._rows.setdefault((kind, subject, stamp), row)

    def answers(self, annotations: Iterable[Annotation]) -> None:
        for one in annotations:
            if one.status is AnnotationStatus.DELETED:
                self.add("deleted", one.id, 0, one.remote_id)
                continue
            self.add(
                "answer",
                one.id,
                codec.to_micros(one.updated_at),
                one.remote_id,
                annotator=one.annotator,
                status=one.status.value,
                value=codec.dump_value(one.value),
                seen_version=one.seen_version,
            )

    def deletions(self, changes: Changes) -> None:
        """Ids alone don't say which record they belong to: the log, or this very batch, may."""
        if not changes.deleted_annotations:
            return
        owners = {row["subject"]: row["remote_id"] for row in self._rows.values() if row["kind"] == "answer"}
        for chunk in chunks(changes.deleted_annotations):
            query = sa.select(log.c.subject, log.c.remote_id).where(log.c.kind == "answer", log.c.subject.in_(chunk))
            owners.update((row.subject, row.remote_id) for row in self._connection.execute(query))
        for subject in changes.deleted_annotations:
            self.add("deleted", subject, 0, owners.get(subject))

    def flush(self) -> int:
        for chunk in chunks({(kind, subject) for kind, subject, _ in self._rows}):
            kinds = {kind for kind, _ in chunk}
            subjects = {subject for _, subject in chunk}
            key = sa.select(log.c.kind, log.c.subject, log.c.stamp)
            for row in self._connection.execute(key.where(log.c.kind.in_(kinds), log.c.subject.in_(subjects))):
                self._rows.pop((row.kind, row.subject, row.stamp), None)
        if self._rows:
            self._connection.execute(sa.insert(log), list(self._rows.values()))
        return len(self._rows)


def _reconcile(connection: Connection, changes: Changes, as_of: int | None) -> int:
    """Hide the answers that a poll no longer lists, and show again those that it does."""
    head = _head(connection)
    horizon = head if as_of is None else as_of
    batch = _Batch(connection, POLL)
    listed: dict[str, str] = {one.id: one.remote_id for one in changes.annotations}
    listed |= {subject: remote_id for remote_id, subjects in changes.complete.items() for subject in subjects}
    for chunk in chunks(changes.complete):
        query = sa.select(answers.c.annotation_id, answers.c.remote_id).where(answers.c.remote_id.in_(chunk))
        missing = {row[0]: row[1] for row in connection.execute(query) if row[0] not in listed}
        known = _rows_of(connection, "answer", missing, sa.func.min)
        shown = _rows_of(connection, "present", missing)
        for subject, remote_id in missing.items():
            if max(known[subject], shown.get(subject, 0)) <= horizon:
                batch.add("absent", subject, head, remote_id)
    for chunk in chunks(listed):
        hidden = _rows_of(connection, "absent", chunk)
        shown = _rows_of(connection, "present", hidden)
        for subject, seq in hidden.items():
            if seq > shown.get(subject, 0):
                batch.add("present", subject, head, listed[subject])
    return batch.flush()


def log_records(connection: Connection, kind: str, remote_ids: set[str], source: str) -> int:
    """Log that whole records are "gone" or "back", where that is news, and mark them so. Returns the rows added."""
    head = _head(connection)
    batch = _Batch(connection, source)
    for chunk in chunks(sorted(remote_ids)):
        gone = gone_among(connection, chunk)
        news = [remote_id for remote_id in chunk if (remote_id in gone) != (kind == "gone")]
        for remote_id in news:
            batch.add(kind, remote_id, head, remote_id)
        connection.execute(sa.update(records).where(records.c.remote_id.in_(news)).values(gone=kind == "gone"))
    return batch.flush()


def gone_among(connection: Connection, remote_ids: Iterable[str]) -> set[str]:
    """Those of ``remote_ids`` (at most a chunk) that the platform has deleted."""
    gone = _rows_of(connection, "gone", remote_ids)
    back = _rows_of(connection, "back", gone)
    return {remote_id for remote_id, seq in gone.items() if seq > back.get(remote_id, 0)}


def _rows_of(
    connection: Connection, kind: str, subjects: Iterable[str], pick: Callable[..., sa.Function[int]] = sa.func.max
) -> dict[str, int]:
    """Subject -> number of its newest row of this kind (or what ``pick`` picks); subjects without one are left out."""
    chosen = list(subjects)
    if not chosen:
        return {}
    query = sa.select(log.c.subject, pick(log.c.seq)).where(log.c.kind == kind, log.c.subject.in_(chosen))
    return {row[0]: row[1] for row in connection.execute(query.group_by(log.c.subject))}


def _head(connection: Connection) -> int:
    newest: int | None = connection.execute(sa.select(sa.func.max(log.c.seq))).scalar()
    return newest or 0


def _annotation(subject: str, micros: int, row: Row[Any]) -> Annotation:
    return Annotation(
        id=subject,
        remote_id=row.remote_id,
        annotator=row.annotator,
        value=codec.load_value(row.value),
        status=AnnotationStatus(row.status),
        updated_at=codec.from_micros(micros),
        seen_version=row.seen_version,
    )


def _log_row(row: Row[Any]) -> LogRow:
    return LogRow(
        seq=row.seq,
        kind=row.kind,
        subject=row.subject,
        remote_id=row.remote_id,
        source=row.source,
        logged_at=codec.from_micros(row.logged_at),
        annotation=_annotation(row.subject, row.stamp, row) if row.kind == "answer" else None,
    )
