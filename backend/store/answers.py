"""What the annotation log amounts to: the current answers, by the view of that name (schema.py)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from nextlabel.connectors.records import Annotation, AnnotationStatus

from . import codec
from .database import CHUNK, chunks
from .meta import MetaPart, look_up
from .schema import annotation_log as log
from .schema import current_answers as answers
from .schema import fits, imported_answers, meta

DRAFT = AnnotationStatus.DRAFT.value
EMPTY_KEY = "empty answers"
SKIP = "skip"
NAMES_KEY = "annotator names"


class Reading:
    """How answers count: an empty one may be a skip, and those of the people who are ``named`` settle their record."""

    def __init__(self, connection: Connection, named: frozenset[str]) -> None:
        self._connection = connection
        self._settling = _ids_of(connection, named)

    @cached_property
    def _skips_empty(self) -> bool:
        return _skips_empty(self._connection)

    def counted(self, row: Row[Any]) -> Annotation:
        """The current answer in ``row`` as it counts."""
        one = annotation_of(row.annotation_id, row.updated_at, row)
        if one.status is not AnnotationStatus.SUBMITTED:
            return one
        if not one.value and self._skips_empty:
            return replace(one, status=AnnotationStatus.SKIPPED)
        return replace(one, is_truth=True) if one.annotator in self._settling else one


class AnswersPart(MetaPart):
    """The answers that count now."""

    _adjudicators: frozenset[str] = frozenset()

    def name_adjudicators(self, named: Collection[str]) -> None:
        """Whose answers are the truth whatever others say, by name or by id, for as long as this store is open.

        The recipe has them, so each process says it anew; the log keeps every answer as it was given.
        """
        self._adjudicators = frozenset(named)

    def adjudicators(self) -> frozenset[str]:
        """The ids of those who were named so, as far as their names are known."""
        if not self._adjudicators:
            return self._adjudicators
        with self._read() as connection:
            return _ids_of(connection, self._adjudicators)

    def unknown_adjudicators(self) -> list[str]:
        """Those who were named and are nobody's name or id here, sorted."""
        if not self._adjudicators:
            return []
        with self._read() as connection:
            names = known_names(connection)
        return sorted(self._adjudicators - names.keys() - set(names.values()))

    def annotator_names(self) -> dict[str, str]:
        """Id -> name, as far as known. No two have the same; who is not in it goes by the id."""
        with self._read() as connection:
            return known_names(connection)

    def skip_empty_answers(self, skip: bool) -> None:
        """Whether an answer with nothing in it is none: it reads as a skip from now on. The log keeps it as it was."""
        self.set_meta(EMPTY_KEY, SKIP if skip else "")

    def answers_on(self, remote_ids: Iterable[str]) -> dict[str, list[Annotation]]:
        """Remote id -> current answers, drafts too (maybe none), of each of these records."""
        with self._read() as connection:
            return on_records(connection, remote_ids, self._reading(connection))

    def _reading(self, connection: Connection) -> Reading:
        return Reading(connection, self._adjudicators)

    def answers(self, *, drafts: bool = False, until: int | None = None) -> Iterator[Annotation]:
        """Every current answer, skipped ones included, in the order in which they were logged.

        ``drafts`` too, if asked for, and then answers that no longer fit their text; ``until`` leaves out those logged
        after that row.
        """
        after = 0
        while True:
            query = sa.select(answers).where(answers.c.seq > after).order_by(answers.c.seq).limit(CHUNK)
            query = query if drafts else query.where(answers.c.status != DRAFT, fits)
            query = query if until is None else query.where(answers.c.seq <= until)
            with self._read() as connection:
                page, reading = connection.execute(query).all(), self._reading(connection)
                found = [reading.counted(row) for row in page]
            yield from found
            if len(page) < CHUNK:
                return
            after = page[-1].seq

    def newest_answers(self, limit: int) -> list[Annotation]:
        """Up to ``limit`` current answers (drafts are none) that were given or changed last, the newest first.

        Without imported ones: what came together with its record says nothing about the platform's clock.
        """
        theirs = sa.select(imported_answers.c.annotation_id).where(imported_answers.c.annotation_id.is_not(None))
        query = (
            sa.select(answers)
            .where(answers.c.status != DRAFT, answers.c.annotation_id.not_in(theirs))
            .order_by(answers.c.updated_at.desc())
            .limit(limit)
        )
        with self._read() as connection:
            reading = self._reading(connection)
            return [reading.counted(row) for row in connection.execute(query)]

    def answers_by(self) -> dict[str, dict[AnnotationStatus, int]]:
        """Annotator -> how many of their current answers are submitted, skipped, drafts."""
        wanted = sa.select(answers.c.annotator, answers.c.status, sa.func.count())
        found: dict[str, dict[AnnotationStatus, int]] = {}
        with self._read() as connection:
            for annotator, status, count in connection.execute(wanted.group_by(answers.c.annotator, answers.c.status)):
                found.setdefault(annotator, {})[AnnotationStatus(status)] = count
        return found

    def log_counts(self) -> dict[str, int]:
        """How many log rows, current answers (drafts are none), and records with a submitted answer there are."""
        submitted = sa.and_(answers.c.status == AnnotationStatus.SUBMITTED.value, fits)
        with self._read() as connection:
            if _skips_empty(connection):
                submitted = sa.and_(submitted, answers.c.value != codec.dump_value(()))
            wanted = {
                "log_rows": sa.select(sa.func.count()).select_from(log),
                "answers": sa.select(sa.func.count()).select_from(answers).where(answers.c.status != DRAFT, fits),
                "labelled": sa.select(sa.func.count(answers.c.remote_id.distinct())).where(submitted),
            }
            return {name: connection.execute(query).scalar_one() for name, query in wanted.items()}

    def visible(self, annotations: Iterable[str]) -> dict[str, str]:
        """Annotation id -> remote id of its record, for those of ``annotations`` that count now, drafts too."""
        return {number: row.remote_id for number, row in self._counting(annotations)}

    def annotators(self, annotations: Iterable[str]) -> dict[str, str]:
        """Annotation id -> who gave it, for those of ``annotations`` that count now, drafts too."""
        return {number: row.annotator for number, row in self._counting(annotations)}

    def _counting(self, annotations: Iterable[str]) -> Iterator[tuple[str, Row[Any]]]:
        if wanted := list(annotations):
            with self._read() as connection:
                for chunk in chunks(wanted):
                    yield from counting_among(connection, chunk).items()


def on_records(connection: Connection, remote_ids: Iterable[str], reading: Reading) -> dict[str, list[Annotation]]:
    """Remote id -> current answers, drafts too (maybe none), of each of these records."""
    result: dict[str, list[Annotation]] = {key: [] for key in remote_ids}
    for chunk in chunks(result):
        query = sa.select(answers).where(answers.c.remote_id.in_(chunk), fits).order_by(answers.c.seq)
        for row in connection.execute(query):
            result[row.remote_id].append(reading.counted(row))
    return result


def counting_among(connection: Connection, subjects: Iterable[str]) -> dict[str, Row[Any]]:
    """Annotation id -> its record's remote id and its annotator, for those of ``subjects`` (a chunk) that count now."""
    chosen = list(subjects)
    # By way of their records: the view has no index by annotation.
    on = sa.select(log.c.remote_id).where(log.c.kind == "answer", log.c.subject.in_(chosen))
    query = sa.select(answers.c.annotation_id, answers.c.remote_id, answers.c.annotator)
    rows: Iterable[Row[Any]] = connection.execute(query.where(answers.c.remote_id.in_(on)))
    found = {row.annotation_id: row for row in rows}
    return {subject: found[subject] for subject in chosen if subject in found}


def annotation_of(subject: str, moment: datetime, row: Row[Any]) -> Annotation:
    """The annotation that ``row``, of the log or of what counts, holds, as it was given."""
    return Annotation(
        id=subject,
        remote_id=row.remote_id,
        annotator=row.annotator,
        value=codec.load_value(row.value),
        status=AnnotationStatus(row.status),
        updated_at=moment,
        seen_version=row.seen_version,
        is_truth=row.truth,
    )


def _skips_empty(connection: Connection) -> bool:
    return look_up(connection, meta, EMPTY_KEY) == SKIP


def known_names(connection: Connection) -> dict[str, str]:
    """Id -> name, as far as known; those of one name are told apart by their ids."""
    found: dict[str, str] = json.loads(look_up(connection, meta, NAMES_KEY) or "{}")
    taken = Counter(found.values())
    return {one: name if taken[name] == 1 else f"{name} ({one})" for one, name in found.items()}


def _ids_of(connection: Connection, named: frozenset[str]) -> frozenset[str]:
    """The ids of people who are ``named``, by name or by id. Of two with one name, neither is meant."""
    if not named:
        return named
    return named | {one for one, name in known_names(connection).items() if name in named}
