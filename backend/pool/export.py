"""The answers as rows: one per record, with what was agreed on and how sure that is, or one per answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

from nextlabel.backend.annotators.names import annotator_names
from nextlabel.backend.questions import Question, as_json, is_settled, question_of
from nextlabel.backend.store import Store, StoredRecord
from nextlabel.connectors.content import text_of
from nextlabel.connectors.records import Annotation, AnnotationStatus, Finished, Given, Labeling, Suggestion, Value

RECORD_COLUMNS: Final = (
    "uid",
    "answer",
    "likely",
    "answers",
    "agreement",
    "adjudicated",
    "prediction",
    "prediction_score",
    "prediction_unseen",
    "model_version",
    "audit",
    "copy_of",
)
ANSWER_COLUMNS: Final = (
    "uid",
    "annotation",
    "annotator",
    "annotator_id",
    "status",
    "answer",
    "updated_at",
    "seen_version",
    "imported",
    "answered_at",
)
ANNOTATOR: Final = "annotator."
"""Begins the columns with what each annotator answered; the name follows."""


class Truth(Protocol):
    """What came of one record: see loop's Truth."""

    @property
    def answer(self) -> Value | None:
        """The consensus, where it is another thing than the majority's answer."""
        ...

    @property
    def likely(self) -> float | None:
        """How likely the consensus is."""
        ...

    @property
    def suggestion(self) -> Suggestion | None:
        """The model's."""
        ...

    @property
    def unseen(self) -> bool:
        """Whether that was made without the record's own answers."""
        ...


Truths = Mapping[str, Truth]
"""uid -> what came of the record."""
NO_TRUTHS: Truths = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Settled:
    """A record, what was agreed on about it (None without an answer), who ``given`` what, and what else is known.

    ``given``: annotator's id -> what they submitted last. ``audit``: "held-out" of what was answered before we came.
    ``copy_of``: uid of the first record with the same content, if this is a copy; one that the platform lacks has the
    first one's answers.
    """

    item: StoredRecord
    answer: Value | None
    given: Mapping[str, Value]
    adjudicated: bool
    agreement: float | None
    truth: Truth | None

    @property
    def audit(self) -> bool | str:
        """Whether it is in the audit slice, or held out."""
        return "held-out" if self.item.held_out else self.item.audit


def settled_records(
    store: Store, labeling: Labeling, truths: Truths = NO_TRUTHS, *, everything: bool = False
) -> Iterator[Settled]:
    """Every labelled record with what was agreed on, in the order of the data; with ``everything`` the others, too.

    A copy that the platform has by itself has its own answer; one that it lacks has that of the first with its content.
    """
    answers, question, adjudicators = _by_record(store), question_of(labeling), store.adjudicators()
    firsts: dict[str, Settled] = {}
    for item in store.records():
        given = answers.get(item.remote_id or "", [])
        if item.is_copy and (first := firsts.get(item.duplicate_of or "")):
            one = Settled(item, first.answer, first.given, first.adjudicated, first.agreement, first.truth)
        else:
            one = _settled(item, given, question, truths.get(item.record.uid), adjudicators)
            firsts[item.record.uid] = one
        if everything or one.answer is not None:
            yield one


def _settled(
    item: StoredRecord, given: Sequence[Annotation], question: Question, truth: Truth | None, settling: frozenset[str]
) -> Settled:
    text = text_of(question.labeling.content(item.record))
    decided = question.as_given(given, text)
    if decided is not None and truth is not None and truth.answer is not None:
        decided = truth.answer
    said = _said(given)
    peers = [value for who, value in said.items() if who not in settling]
    return Settled(item, decided, said, is_settled(given), question.agreement(peers), truth)


def record_rows(
    store: Store,
    labeling: Labeling,
    sources: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    truths: Truths = NO_TRUTHS,
    *,
    people: bool = False,
    everything: bool = False,
) -> Iterator[dict[str, Any]]:
    """One row per record, see :func:`settled_records`: RECORD_COLUMNS, then annotators, fields and metadata.

    ``sources``: uid -> field -> what stands in place of the copy of a picture that annotators are shown. ``people``:
    with a column for each annotator's answer. The order is that of the data.
    """
    names = annotator_names(store)
    for one in settled_records(store, labeling, truths, everything=everything):
        item, truth = one.item, one.truth
        suggestion = None if truth is None else truth.suggestion
        said = {f"{ANNOTATOR}{names.get(who, who)}": as_json(value) for who, value in one.given.items()}
        yield {
            "uid": item.record.uid,
            "answer": None if one.answer is None else as_json(one.answer),
            "likely": None if truth is None else _rounded(truth.likely),
            "answers": len(one.given),
            "agreement": _rounded(one.agreement),
            "adjudicated": one.adjudicated,
            "prediction": None if suggestion is None else as_json(suggestion.value),
            "prediction_score": None if suggestion is None else _rounded(suggestion.score),
            "prediction_unseen": None if suggestion is None or truth is None else truth.unseen,
            "model_version": None if suggestion is None else suggestion.model_version,
            "audit": one.audit,
            "copy_of": item.duplicate_of,
            **(said if people else {}),
            **{
                f"field.{name}": text
                for name, text in {**labeling.seen(item.record), **sources.get(item.record.uid, {})}.items()
            },
            **{f"metadata.{name}": value for name, value in item.record.metadata.items()},
        }


def finished(
    store: Store, labeling: Labeling, truths: Truths = NO_TRUTHS, *, people: bool = False, everything: bool = False
) -> Iterator[Finished]:
    """The same as a platform takes it in, without what its question no longer offers; ``people``: all their answers.

    Copies that the platform lacks are left out: they were never there.
    """
    names = annotator_names(store)
    for one in settled_records(store, labeling, truths, everything=everything):
        if one.item.is_copy:
            continue
        answer = None if one.answer is None else _offered(labeling, one.answer)
        given = [(who, _offered(labeling, value)) for who, value in one.given.items()] if people else []
        suggestion = None if one.truth is None else one.truth.suggestion
        yield Finished(
            one.item.record,
            answer,
            one.adjudicated,
            tuple(Given(who, names.get(who, who), value) for who, value in given if value is not None),
            suggestion,
        )


def _offered(labeling: Labeling, value: Value) -> Value | None:
    """What of ``value`` the question offers; None where nothing of it is."""
    question = question_of(labeling)
    target, unknown = question.target(value)
    if not unknown:
        return value
    return None if target is None else question.value_of(target)


def answer_rows(store: Store) -> Iterator[dict[str, Any]]:
    """One row per answer, skips included: record, annotator, status, answer, time, model version seen.

    ``imported``: it was given elsewhere; ``answered_at``: when, if somebody said so, else as the platform has it.
    """
    answers, names, imported = _by_record(store), annotator_names(store), store.imported_annotations()
    for item in store.records():
        for one in answers.get(item.remote_id or "", []):
            yield {
                "uid": item.record.uid,
                "annotation": one.id,
                "annotator": names.get(one.annotator, one.annotator),
                "annotator_id": one.annotator,
                "status": one.status.value,
                "answer": as_json(one.value),
                "updated_at": one.updated_at.isoformat(),
                "seen_version": None if one.id in imported else one.seen_version,
                "imported": one.id in imported,
                "answered_at": (imported.get(one.id) or one.updated_at).isoformat(),
            }


def _by_record(store: Store) -> dict[str, list[Annotation]]:
    found: dict[str, list[Annotation]] = {}
    for annotation in store.answers():
        found.setdefault(annotation.remote_id, []).append(annotation)
    return found


def _said(given: Sequence[Annotation]) -> dict[str, Value]:
    """Annotator's id -> what they submitted last, in the order of their times, whatever settles the record."""
    submitted = (one for one in given if one.status is AnnotationStatus.SUBMITTED)
    ordered = sorted(submitted, key=lambda one: (one.updated_at, one.id))
    return {one.annotator: one.value for one in ordered}


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
