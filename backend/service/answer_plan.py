"""What becomes of a file of answers from elsewhere, before anything is changed: records, people, rows.

A row's record is found by its id, else by what it shows; texts of tools that change white space, without it. A person
is an account of the platform. Nothing that somebody answered there is overwritten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nextlabel.backend.annotators.names import note_names
from nextlabel.backend.data.given import FORMATS, Fault, GivenRow, Reading, open_given
from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.data.rows import first_few
from nextlabel.backend.questions import question_of
from nextlabel.backend.recipe.existing import ExistingAnswers
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.store import ImportedAnswer, Rule, Store, StoredRecord
from nextlabel.connectors.base import Connector
from nextlabel.connectors.errors import ConfigError, LabelingMismatch
from nextlabel.connectors.records import Annotation, AnnotationStatus, Record, Value, check_labels

from .given_people import People
from .given_records import Found, Records

REASONS = 8
"""So many reasons for refused rows a summary names."""
CHUNK = 2000
"""Records whose answers are noted in one transaction."""
AUDITED = "its record is of the audit slice and was answered there; --audit takes it all the same"


@dataclass
class AnswerPlan:
    """What becomes of the answers in a file.

    ``known`` and ``new``: the records that they are about, by uid. ``answers``: those to be put on the platform, with
    the file's name of who gave each. ``there``: how many are there already; ``otherwise`` the rows of those where the
    same person answered otherwise there; ``replaced`` of those that a later row of the same person replaces.
    ``refused``: row -> why.
    """

    reading: Reading
    people: People
    known: set[str] = field(default_factory=set)
    new: dict[str, Record] = field(default_factory=dict)
    answers: list[tuple[str, ImportedAnswer]] = field(default_factory=list)
    found: int = 0
    there: int = 0
    otherwise: list[int] = field(default_factory=list)
    replaced: list[int] = field(default_factory=list)
    refused: list[Fault] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether anything is to be put on the platform."""
        return bool(self.answers)

    def lines(self) -> list[str]:
        """It in sentences."""
        read, what = self.reading, self.reading.what
        records = f"{len(self.known) + len(self.new):,} records: {len(self.known):,} known, {len(self.new):,} new"
        lines = [
            f"{read.name}: {read.form or FORMATS[read.format]}",
            f"{self.found:,} answers of {len(self.people.names):,} people, about {records}",
            f"{len(self.answers):,} answers are put on the platform; {self.there:,} are there already",
        ]
        told = (
            (self.otherwise, "where the same person has answered otherwise, which stays"),
            (self.replaced, "that a later answer of the same person to the same record replaces"),
        )
        lines += [f"{len(rows):,} {text} ({what} {first_few(rows)})" for rows, text in told if rows]
        if read.unanswered:
            lines.append(f"{read.unanswered:,} {what}s without an answer")
        if self.refused:
            lines.append(f"{len(self.refused):,} {what}s are refused:")
            lines += [f"  {what} {first_few(rows)}: {why}" for why, rows in self._reasons()]
        return [*lines, *self.people.lines(), *(f"note: {remark}" for remark in read.remarks)]

    def _reasons(self) -> list[tuple[str, list[int]]]:
        rows: dict[str, list[int]] = {}
        for one in self.refused:
            rows.setdefault(one.reason, []).append(one.number)
        return sorted(rows.items(), key=lambda item: -len(item[1]))[:REASONS]

    def as_json(self) -> dict[str, Any]:
        """Plain values. Every refused row is in it."""
        return {
            "file": self.reading.name,
            "format": self.reading.format,
            "answers": self.found,
            "people": len(self.people.names),
            "records_known": len(self.known),
            "records_new": len(self.new),
            "new": len(self.answers),
            "there": self.there,
            "otherwise": self.otherwise,
            "replaced": self.replaced,
            "unanswered": self.reading.unanswered,
            "refused": [{self.reading.what: one.number, "reason": one.reason} for one in self.refused],
            "accounts": dict(self.people.accounts),
            "without_account": list(self.people.missing),
        }


def plan_answers(
    recipe: Recipe,
    store: Store,
    connector: Connector | None,
    spec: ExistingAnswers,
    rule: Rule,
    rules: ImageRules | None = None,
) -> AnswerPlan:
    """Read the file and hold it against what ``store`` knows. Changes nothing.

    Without a ``connector``, as the project is yet to be made, nobody's account is looked up. Raises ConfigError,
    DataError or MissingExtra for a file that can't be read at all, ConnectorError.
    """
    labeling = recipe.labeling()
    question = question_of(labeling)
    columns = {name: source.column for name, source in recipe.fields.items()}
    wanted = replace(
        spec.wanted(recipe.question, recipe.labels, columns, recipe.id),
        marks=question.marks,
        several=question.several,
    )
    reading = open_given(spec.file, wanted, spec.format)
    people = People(connector, spec, store)
    plan = AnswerPlan(reading, people)
    rows: list[GivenRow] = []
    for one in reading.rows:
        if isinstance(one, Fault):
            plan.refused.append(one)
        else:
            rows.append(one)
    plan.found = len(rows) + len(plan.refused)
    people.look_up(Counter(one.annotator for one in rows))
    found = Records(recipe, store, rule, rules, add=not spec.known_only).find(rows)
    _sort_out(plan, spec, rows, found, Checked(recipe), store)
    return plan


class Checked:
    """Says of a value whether it can be an answer here."""

    def __init__(self, recipe: Recipe) -> None:
        self._labeling = recipe.labeling()
        self._question = question_of(self._labeling)

    def value(self, row: GivenRow, found: Found, rename: Mapping[str, str]) -> Value:
        """The value as it is given here. Raises LabelingMismatch with the reason if it can't be."""
        if row.status is AnnotationStatus.SKIPPED:
            return ()
        value = found.placed(self._question.renamed(row.value, rename))
        check_labels(self._labeling, value)
        if fault := self._question.fault(value, found.text):
            raise LabelingMismatch(fault)
        return value


def _sort_out(
    plan: AnswerPlan,
    spec: ExistingAnswers,
    rows: Iterable[GivenRow],
    found: Mapping[int, Found | str],
    checked: Checked,
    store: Store,
) -> None:
    """Of all rows that can be taken, the newest of each person to each record; then those that are no news."""
    newest: dict[tuple[str, str], tuple[GivenRow, ImportedAnswer]] = {}
    for place, row in enumerate(rows):
        here = found[place]
        if isinstance(here, str):
            plan.refused.append(Fault(row.number, here))
            continue
        try:
            value = checked.value(row, here, spec.rename)
        except LabelingMismatch as error:
            plan.refused.append(Fault(row.number, str(error)))
            continue
        (plan.new.setdefault(here.uid, here.new) if here.new else plan.known.add(here.uid))
        who = plan.people.key(row.annotator)
        one = ImportedAnswer(here.uid, who, value, row.status, row.when, plan.reading.name, spec.audit)
        before = newest.get((here.uid, who))
        if before is None or _is_later(one, before[1]):
            newest[here.uid, who] = (row, one)
        if before is not None:
            plan.replaced.append(before[0].number if newest[here.uid, who][0] is row else row.number)
    noted = store.imported({uid for uid, _ in newest})
    stored = {item.record.uid: item for item in store.get(sorted(plan.known))}
    given = _answered(store, stored)
    for key, (row, one) in newest.items():
        item, there = stored.get(one.uid), noted.get(key)
        live = given.get(key)
        if item is not None and item.gone:
            plan.refused.append(Fault(row.number, "its record was deleted on the platform"))
        elif there is not None or live is not None:
            same = (there and (there.value, there.status)) or (live and (live.value, live.status))
            if same == (one.value, one.status):
                plan.there += 1
            else:
                plan.otherwise.append(row.number)
        elif item is not None and item.audit and not spec.audit and any(uid == one.uid for uid, _ in given.by(one.uid)):
            plan.refused.append(Fault(row.number, AUDITED))
        else:
            plan.answers.append((row.annotator, one))
    plan.refused.sort(key=lambda one: one.number)
    used = {one.uid for _, one in plan.answers}
    plan.new = {uid: record for uid, record in plan.new.items() if uid in used}


def _is_later(one: ImportedAnswer, other: ImportedAnswer) -> bool:
    """Whether it counts in place of the ``other``, which stands in an earlier row."""
    return one.answered_at is None or other.answered_at is None or one.answered_at >= other.answered_at


class _Given(dict[tuple[str, str], Annotation]):
    """(uid, annotator) -> what the log has of it."""

    def __init__(self) -> None:
        super().__init__()
        self._by: dict[str, list[tuple[str, str]]] = {}

    def add(self, uid: str, one: Annotation) -> None:
        self[uid, one.annotator] = one
        self._by.setdefault(uid, []).append((uid, one.annotator))

    def by(self, uid: str) -> list[tuple[str, str]]:
        """The keys about one record."""
        return self._by.get(uid, [])


def _answered(store: Store, stored: Mapping[str, StoredRecord]) -> _Given:
    remote = {item.remote_id: uid for uid, item in stored.items() if item.remote_id is not None}
    found = _Given()
    for remote_id, answers in store.answers_on(remote).items():
        for one in answers:
            found.add(remote[remote_id], one)
    return found


def note_plan(plan: AnswerPlan, store: Store, connector: Connector) -> int:
    """Have it done: accounts are made, and records and answers noted in the store; how many answers are news there.

    Raises ConfigError if there are people without an account who shall get none; ConnectorError.
    """
    ids = plan.people.make(connector, {who for who, _ in plan.answers})
    note_names(store, plan.people.named(ids))
    by_record: dict[str, list[ImportedAnswer]] = {}
    for who, one in plan.answers:
        by_record.setdefault(one.uid, []).append(replace(one, annotator=ids[who]))
    added, uids = 0, list(by_record)
    for start in range(0, len(uids), CHUNK):
        part = uids[start : start + CHUNK]
        records = [plan.new[uid] for uid in part if uid in plan.new]
        added += store.plan_answers(records, [one for uid in part for one in by_record[uid]])
    return added


def refuse_missing(plan: AnswerPlan) -> None:
    """Raise ConfigError if somebody has no account, and shall get none."""
    if plan.people.missing and not plan.people.makes:
        raise ConfigError(plan.people.advice())
