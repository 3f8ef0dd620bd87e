"""Answers that were given elsewhere, before or beside the loop: which are to be on the platform, and which are there.

A row is written before anything is sent, and says what became of it afterwards: so whoever is killed in between leaves
behind what is still to be done. Nobody has two imported answers about one record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from nextlabel.connectors.records import AnnotationStatus, Record, Value

from . import codec
from .audit import note_imported
from .database import chunks
from .identity import add_batch, named
from .meta import MetaPart
from .schema import current_answers, records, unpushed
from .schema import imported_answers as imported


@dataclass(frozen=True, slots=True)
class ImportedAnswer:
    """One answer from elsewhere about the record ``uid``; ``annotator`` is the platform's id of who gave it.

    ``answered_at``: when, as far as somebody said so. ``source`` is the file that it came from. With ``audit`` the
    record may be of the audit slice all the same.
    """

    uid: str
    annotator: str
    value: Value
    status: AnnotationStatus = AnnotationStatus.SUBMITTED
    answered_at: datetime | None = None
    source: str = ""
    audit: bool = False


@dataclass(frozen=True, slots=True)
class WaitingAnswer:
    """An imported answer that the platform has yet to get; its record is there. ``number`` names it."""

    number: int
    remote_id: str
    answer: ImportedAnswer


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """Imported answers: all, those on the platform, those that wait, and those that it does not take."""

    answers: int = 0
    there: int = 0
    waiting: int = 0
    refused: int = 0


class ImportedPart(MetaPart):
    """Imported answers."""

    def uids_named(self, names: Iterable[str]) -> dict[str, str]:
        """Name -> uid, of the records that are called so by the data or by the platform. Of a copy, the first's."""
        found: dict[str, str] = {}
        with self._read() as connection:
            for chunk in chunks(names):
                known = {name: row.uid for name, row in named(connection, chunk).items()}
                firsts = _firsts(connection, set(known.values()))
                found |= {name: firsts.get(uid, uid) for name, uid in known.items()}
        return found

    def uids_showing(self, contents: Iterable[str]) -> dict[str, str]:
        """Content hash -> uid of the first record that shows it and was not deleted."""
        found: dict[str, str] = {}
        here = records.c.gone.is_(False)
        with self._read() as connection:
            for chunk in chunks(contents):
                query = sa.select(records.c.content_hash, records.c.uid).where(records.c.content_hash.in_(chunk), here)
                for row in connection.execute(query.order_by(records.c.position.desc())):
                    found[row.content_hash] = row.uid
        return found

    def plan_answers(self, new: Sequence[Record], answers: Sequence[ImportedAnswer]) -> int:
        """Keep ``new`` records, and note that ``answers`` are to be on the platform; how many were not noted before.

        In one transaction, so that no record is taken for one that can be shown blind before its answers are known.
        """
        added = 0
        with self._write() as connection:
            for batch in chunks(new):
                add_batch(connection, batch)
            for chunk in chunks(answers):
                uids = {name: row.uid for name, row in named(connection, [one.uid for one in chunk]).items()}
                rows = {(uids.get(one.uid, one.uid), one.annotator): _row(one) for one in chunk}
                for uid, annotator in _known(connection, rows):
                    rows.pop((uid, annotator), None)
                if rows:
                    connection.execute(sa.insert(imported), [row | {"uid": key[0]} for key, row in rows.items()])
                added += len(rows)
                note_imported(connection, {uid for uid, _ in rows})
        return added

    def imported(self, uids: Iterable[str]) -> dict[tuple[str, str], ImportedAnswer]:
        """(uid, annotator) -> what was imported about these records."""
        found: dict[tuple[str, str], ImportedAnswer] = {}
        with self._read() as connection:
            for chunk in chunks(uids):
                for row in connection.execute(sa.select(imported).where(imported.c.uid.in_(chunk))):
                    found[row.uid, row.annotator] = _answer(row)
        return found

    def waiting_answers(self, limit: int) -> list[WaitingAnswer]:
        """Up to ``limit`` imported answers that the platform has yet to get, about records that it has."""
        query = sa.select(imported, records.c.remote_id).join(records, records.c.uid == imported.c.uid)
        query = query.where(_WAITING, records.c.remote_id.is_not(None), records.c.gone.is_(False))
        with self._read() as connection:
            rows = connection.execute(query.order_by(imported.c.number).limit(limit)).all()
        return [WaitingAnswer(row.number, row.remote_id, _answer(row)) for row in rows]

    def waiting_about(self, uids: Iterable[str]) -> dict[str, list[ImportedAnswer]]:
        """uid -> the imported answers that wait for this record to be on the platform."""
        found: dict[str, list[ImportedAnswer]] = {}
        with self._read() as connection:
            for chunk in chunks(uids):
                query = sa.select(imported).where(_WAITING, imported.c.uid.in_(chunk)).order_by(imported.c.number)
                for row in connection.execute(query):
                    found.setdefault(row.uid, []).append(_answer(row))
        return found

    def waiting_records(self, limit: int) -> list[Record]:
        """Up to ``limit`` records that the platform has yet to get, with an imported answer that waits for them."""
        wanted = sa.select(imported.c.uid).where(_WAITING)
        query = sa.select(records).where(unpushed, records.c.uid.in_(wanted)).order_by(records.c.position).limit(limit)
        with self._read() as connection:
            return [Record(row.uid, row.fields, row.metadata) for row in connection.execute(query)]

    def note_answers_there(self, there: Mapping[int, str], refused: Mapping[int, str]) -> None:
        """What became of imported answers: number -> the annotation's id, or why the platform does not take it."""
        with self._write() as connection:
            for changes, column in ((there, imported.c.annotation_id), (refused, imported.c.refused)):
                if changes:
                    noted = sa.update(imported).where(imported.c.number == sa.bindparam("key"))
                    rows = [{"key": number, "said": said} for number, said in changes.items()]
                    connection.execute(noted.values({column: sa.bindparam("said")}), rows)

    def retry_refused(self) -> int:
        """Have imported answers tried again that the platform did not take; how many they are."""
        again = sa.update(imported).where(imported.c.refused.is_not(None)).values(refused=None)
        with self._write() as connection:
            return int(connection.execute(again).rowcount)

    def import_counts(self) -> ImportCounts:
        """How many imported answers there are. Those whose record was deleted since wait for nothing."""
        gone = imported.c.uid.in_(sa.select(records.c.uid).where(records.c.gone.is_(True)))
        wanted = (sa.true(), imported.c.annotation_id.is_not(None), sa.and_(_WAITING, ~gone), imported.c.refused != "")
        query = sa.select(sa.func.count()).select_from(imported)
        with self._read() as connection:
            return ImportCounts(*(connection.execute(query.where(only)).scalar_one() for only in wanted))

    def refusals(self, limit: int) -> list[tuple[ImportedAnswer, str]]:
        """Up to ``limit`` imported answers that the platform does not take, and why."""
        query = sa.select(imported).where(imported.c.refused.is_not(None)).order_by(imported.c.number).limit(limit)
        with self._read() as connection:
            return [(_answer(row), row.refused) for row in connection.execute(query)]

    def imported_annotations(self) -> dict[str, datetime | None]:
        """Annotation id -> when it was given elsewhere, of the imported answers that still are as they were imported.

        What somebody changed on the platform since was given there.
        """
        query = sa.select(imported.c.annotation_id, imported.c.answered_at)
        query = query.join(current_answers, current_answers.c.annotation_id == imported.c.annotation_id)
        same = sa.and_(current_answers.c.value == imported.c.value, current_answers.c.status == imported.c.status)
        with self._read() as connection:
            return {row.annotation_id: row.answered_at for row in connection.execute(query.where(same))}


_WAITING = sa.and_(imported.c.annotation_id.is_(None), imported.c.refused.is_(None))


def _row(one: ImportedAnswer) -> dict[str, Any]:
    return {
        "annotator": one.annotator,
        "value": codec.dump_value(one.value),
        "status": one.status.value,
        "answered_at": one.answered_at,
        "source": one.source,
        "audit": one.audit,
        "added_at": codec.now(),
    }


def _answer(row: Row[Any]) -> ImportedAnswer:
    value, status = codec.load_value(row.value), AnnotationStatus(row.status)
    return ImportedAnswer(row.uid, row.annotator, value, status, row.answered_at, row.source, row.audit)


def _known(connection: Connection, keys: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of these (uid, annotator) that are noted already, and others of their records."""
    query = sa.select(imported.c.uid, imported.c.annotator).where(imported.c.uid.in_({uid for uid, _ in keys}))
    return [(row.uid, row.annotator) for row in connection.execute(query)]


def _firsts(connection: Connection, uids: Iterable[str]) -> dict[str, str]:
    """uid -> the first with its content, of copies that the platform lacks."""
    query = sa.select(records.c.uid, records.c.duplicate_of)
    query = query.where(records.c.uid.in_(uids), records.c.duplicate_of.is_not(None), records.c.remote_id.is_(None))
    return {row.uid: row.duplicate_of for row in connection.execute(query)}
