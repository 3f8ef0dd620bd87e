"""Marks in texts, held against these: what counts of them, and what people are told of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nextlabel.backend.questions import Question
from nextlabel.backend.store import Notice, Store
from nextlabel.connectors.content import text_of
from nextlabel.connectors.records import Annotation

MARK = "mark"
"""The kind of notices about marks that mark nothing."""
FIX = "mark it again on the platform; until then it is left out of counts, figures and training"

Answers = Mapping[str, Sequence[Annotation]]
"""Remote id -> what was answered about the record."""


class Marks:
    """Tells which answers mark something, and how much of them. Belongs to one thread."""

    def __init__(self, store: Store, question: Question) -> None:
        self._store, self._question = store, question
        told = store.notices(kind=MARK) if question.reads_tokens else []
        self._told = {one.key: one for one in told}

    def counted(self, answers: Answers) -> dict[str, Sequence[Annotation]]:
        """``answers`` without what is no mark in the text of its record; those to records that we lack as they are."""
        if not self._question.reads_tokens:
            return dict(answers)
        counted, told = fitted(self._store, self._question, answers)
        before = {key for key, one in self._told.items() if one.remote_id in answers}
        if over := before - told.keys():
            self._store.dismiss(over)
        news = [one for key, one in told.items() if key not in before or self._told[key].message != one.message]
        self._store.notify(*news)
        self._told = {key: one for key, one in self._told.items() if key not in over} | told
        return counted


def fitted(
    store: Store, question: Question, answers: Answers
) -> tuple[dict[str, Sequence[Annotation]], dict[str, Notice]]:
    """What counts of ``answers``, and by its key what is to be told of each that has a mark which marks nothing."""
    known = store.get_remote(list(answers))
    counted: dict[str, Sequence[Annotation]] = dict(answers)
    told: dict[str, Notice] = {}
    for remote_id, item in known.items():
        text, kept = text_of(question.labeling.content(item.record)), []
        for one in answers[remote_id]:
            counts, faults = question.fitted(one, text)
            kept += [] if counts is None else [counts]
            if faults:
                notice = _notice(one, faults)
                told[notice.key] = notice
        counted[remote_id] = kept
    return counted, told


def _notice(one: Annotation, faults: Sequence[str]) -> Notice:
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    message = f"annotation {one.id} by annotator {one.annotator} of record {one.remote_id}: {faults[0]}{more}"
    return Notice(f"{MARK} {one.id}", MARK, message, FIX, one.remote_id)
