"""What is looked through: records, everybody's answers to them, and predictions of models that have not seen these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.annotators.consensus import crowdlab_of_others
from nextlabel.backend.annotators.opinions import from_rows
from nextlabel.backend.data.examples import assign_folds, together
from nextlabel.backend.data.image_rules import shorten
from nextlabel.backend.encoders.base import Encoder
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.questions import Outputs, Question, Target, is_settled, newest_answers
from nextlabel.backend.questions.head import Space
from nextlabel.connectors.content import Readable, content_of
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Annotation, Value

FOLDS = 5
LEAST = 10
"""Records to learn from, below which predictions would be of no use."""

Indices: TypeAlias = npt.NDArray[np.int64]
Watch: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """An encoder with its cache, and probes that know nothing beforehand: what labelled files are looked through by."""

    encoder: Encoder
    cache: EmbeddingCache

    def fit(
        self,
        vectors: npt.NDArray[np.float32],
        targets: npt.NDArray[Any],
        classes: int,
        warm: Probe | None = None,
        settled: npt.NDArray[np.bool_] | None = None,
    ) -> Probe:
        """See Probe.fit."""
        return Probe.fit(vectors, targets, classes, warm=warm, settled=settled)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: to the record at ``record``, by ``annotator``, and its place ``at`` in whatever it is from."""

    record: int
    annotator: str
    value: Value
    target: Target
    at: int


@dataclass(frozen=True, slots=True)
class Material:
    """n records that are answered and can be read.

    ``rows`` int64 [n]: theirs in the space's cache. ``targets`` [n]: what their answers come to, as the question has
    it, and ``values``, as they say it. ``groups`` int64 [n]: records of one group are never on both sides of a fold;
    ``copies`` int64 [n]: equal for copies of a text, which are of one group. ``learned`` bool [n]: whether models may
    learn from them. ``settled`` bool [n]: whether one of its answers is the truth for good, so that no model doubts
    what they come to. ``answers``: everybody's, to all of them.
    """

    question: Question
    space: Space
    rows: Indices
    targets: npt.NDArray[Any]
    values: tuple[Value, ...]
    groups: Indices
    copies: Indices
    learned: npt.NDArray[np.bool_]
    settled: npt.NDArray[np.bool_]
    answers: tuple[Answer, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def given(self) -> npt.NDArray[Any]:
        """The answers as targets, [o]."""
        return as_targets(self.question, [one.target for one in self.answers])

    @property
    def answered(self) -> Indices:
        """int64 [o]: the record of each answer."""
        return np.array([one.record for one in self.answers], np.int64)


def as_shown(readable: Readable) -> dict[str, Any]:
    """What a record says and shows, for JSON: its ``text``, and its ``images`` by their addresses if it has any."""
    one = content_of(readable)
    return {"text": one.text, **({"images": [shorten(image) for image in one.images]} if one.images else {})}


def as_targets(question: Question, found: Sequence[Target]) -> npt.NDArray[Any]:
    """A column of targets as the question has it, [n]."""
    name, kind, shape = question.column("target")
    column: npt.NDArray[Any] = np.zeros(len(found), [(name, kind, shape)])[name]
    for at, one in enumerate(found):
        column[at] = one
    return column


def answers_of(question: Question, record: int, given: Iterable[Annotation], places: dict[str, int]) -> list[Answer]:
    """Everybody's newest answer about ``record``, as far as it says what is asked; ``places``: annotation id -> at."""
    found = []
    for who, one in newest_answers(one for one in given if question.answers(one)).items():
        target, _ = question.target(one.value)
        if target is not None:
            found.append(Answer(record, who, one.value, target, places.get(one.id, 0)))
    return found


def material_of(
    question: Question,
    space: Space,
    texts: Sequence[Readable],
    given: Sequence[Sequence[Annotation]],
    *,
    groups: Indices | None = None,
    learned: npt.NDArray[np.bool_] | None = None,
    places: dict[str, int] | None = None,
    watch: Watch | None = None,
) -> tuple[Material, Indices]:
    """Encode ``texts``, each with the annotations ``given`` to it, and leave out what says nothing or can't be read.

    Returns the material, and which of the texts its records are, int64 [n]. Copies of a text are one group, see
    data.examples. ``places``: annotation id -> place, for Answer.at. Raises LearningError if too little is left.
    """
    places = places or {}
    rows = space.cache.ensure(list(texts), space.encoder, watch)
    kept: list[int] = []
    targets: list[Target] = []
    values: list[Value] = []
    answers: list[Answer] = []
    for at in np.flatnonzero(rows >= 0).tolist():
        value = question.consensus(one for one in given[at] if question.answers(one))
        target, _ = question.target(value)
        found = answers_of(question, len(kept), given[at], places)
        if value is None or target is None or not found:
            continue
        kept.append(at)
        values.append(value)
        targets.append(target)
        answers += found
    picked = np.array(kept, np.int64)
    may = np.ones(len(kept), np.bool_) if learned is None else learned[picked]
    if may.sum() < LEAST:
        raise LearningError(f"{may.sum()} answered records to learn from are too few to doubt any answer; {LEAST} do")
    read = [texts[at] for at in kept]
    found_groups, copies = (
        _codes(together(read, one), len(kept)) for one in (None if groups is None else groups[picked], None)
    )
    columns = as_targets(question, targets)
    settled = np.array([is_settled(one for one in given[at] if question.answers(one)) for at in kept], np.bool_)
    return Material(
        question, space, rows[picked], columns, tuple(values), found_groups, copies, may, settled, tuple(answers)
    ), picked


def _codes(same: Indices | None, size: int) -> Indices:
    """int64 [size]: equal where ``same`` is; each its own without it."""
    return np.arange(size, dtype=np.int64) if same is None else same


def out_of_fold(material: Material, *, folds: int = FOLDS, seed: int = 0, watch: Watch | None = None) -> Outputs:
    """What heads that have not seen a record, nor its group, say of it: one row per record, Question.evidence.

    Folds are stratified. Records that are not to be learned from are predicted by a head of all others, but of none of
    their own group. Raises LearningError where there is only one group.
    """
    groups, learned = material.groups, np.flatnonzero(material.learned)
    if len(np.unique(groups[learned])) < 2:
        raise LearningError(
            "all records are of one group: nothing can be held out; group by another column, or by none"
        )
    carried = material.question.carried(material.targets[learned])
    fold_of = np.full(len(material), -1, np.int64)
    fold_of[learned] = assign_folds(carried, folds, np.random.default_rng(seed), groups[learned])
    # What is not learned goes with its group, if that is learned: it may be a copy.
    home = dict(zip(groups[learned].tolist(), fold_of[learned].tolist(), strict=True))
    for at in np.flatnonzero(~material.learned).tolist():
        fold_of[at] = home.get(int(groups[at]), -1)
    parts = np.unique(fold_of).tolist()
    found: dict[int, Outputs] = {}
    for done, fold in enumerate(parts):
        held = np.flatnonzero(fold_of == fold)
        kept = learned[fold_of[learned] != fold]
        learned_from = material.rows[kept], material.targets[kept]
        head = material.question.fit(material.space, *learned_from, settled=material.settled[kept])
        outputs = material.question.evidence(head, material.space.cache, material.rows[held])
        found |= {row: outputs[at] for at, row in enumerate(held.tolist())}
        if watch is not None:
            watch(done + 1, len(parts))
    return _stacked([found[row] for row in range(len(material))])


def _stacked(rows: Sequence[Any]) -> Outputs:
    if isinstance(rows[0], np.ndarray):
        return np.stack(rows)
    column = np.empty(len(rows), np.object_)
    column[:] = rows
    return column


def judged(material: Material, predicted: Outputs) -> Outputs:
    """What each answer is held against, one row per answer: what is ``predicted`` of its record.

    Where annotators are compared and some records have answers of several, together with what the others answered, by
    CROWDLAB (annotators.consensus).
    """
    answered, labels = material.answered, material.question.labeling.labels
    if not material.question.compares or len(labels) < 2 or len(answered) == len(material):
        return np.asarray(predicted[answered])
    rows = [(one.record, one.annotator, int(one.target)) for one in material.answers if isinstance(one.target, int)]
    opinions = from_rows(rows, len(material), labels)
    # Opinions are sorted by record, then by annotator's name; ours stand as they came.
    order = sorted(range(len(rows)), key=lambda at: rows[at][:2])
    found = np.empty((len(rows), len(labels)))
    found[order] = crowdlab_of_others(opinions, np.asarray(predicted, np.float64))
    return found
