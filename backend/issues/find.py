"""All that is doubtful about a set of answers, the worst first, and how it spreads over labels and annotators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nextlabel.backend.annotators.quality import shrunk
from nextlabel.backend.intervals import Interval, wilson_interval
from nextlabel.backend.numeric import plain
from nextlabel.backend.questions import Outputs
from nextlabel.connectors.records import Value

from .material import Answer, Material, Watch, as_targets, judged, out_of_fold
from .neighbours import Duplicate, Outlier, neighbours


@dataclass(frozen=True, slots=True)
class Issue:
    """An answer, what the model says in its place, and how likely it is right: ``score`` in [0, 1], low is bad.

    ``likely``: cleanlab holds it for an error.
    """

    answer: Answer
    suggested: Value
    score: float
    likely: bool


@dataclass(frozen=True, slots=True)
class Share:
    """Of a label or an annotator: ``answers``, how many of them are ``likely`` wrong, and their ``share`` with 95%.

    ``missed``, of a label: likely wrong answers that lack it, where the model has it.
    """

    name: str
    answers: int
    likely: int
    share: Interval
    missed: int = 0


@dataclass(frozen=True, slots=True)
class Issues:
    """What was found. ``ranked``: all answers, the likeliest errors first.

    ``predicted`` [n]: what was said of each record by models that have not seen it, Question.evidence.
    """

    material: Material
    predicted: Outputs
    ranked: tuple[Issue, ...]
    outliers: tuple[Outlier, ...]
    duplicates: tuple[Duplicate, ...]
    by_label: tuple[Share, ...]
    by_annotator: tuple[Share, ...]

    @property
    def likely(self) -> tuple[Issue, ...]:
        """The likely errors, worst first."""
        return tuple(one for one in self.ranked if one.likely)

    @property
    def share(self) -> Interval:
        """The share of all answers that are likely wrong."""
        return _share(len(self.likely), len(self.ranked))

    def to_json(
        self, issues: Sequence[dict[str, Any]], record: Callable[[int], dict[str, Any]], remarks: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Plain values: ``issues`` as they are to be told, the rest by what ``record`` says of a record."""
        return {
            "answers": len(self.ranked),
            "records": len(self.material),
            "likely": len(self.likely),
            "share": self.share.to_json(),
            "issues": list(issues),
            "outliers": [{**record(one.record), "score": one.score} for one in self.outliers],
            "duplicates": [
                {
                    "records": [{**record(at), "given": self.given(at)} for at in one.records],
                    "likeness": one.likeness,
                }
                for one in self.duplicates
            ],
            "by_label": [plain(one) for one in self.by_label],
            "by_annotator": [plain(one) for one in self.by_annotator],
            "remarks": list(remarks),
        }

    def given(self, record: int) -> Any:
        """What the answers to the record at ``record`` come to, as a cell of a table has it."""
        return self.material.question.in_a_cell(self.material.values[record])

    def given_by(self, annotator: str) -> Issues:
        """The same with the answers of one annotator alone, and near copies that they answered."""
        theirs = {one.answer.record for one in self.ranked if one.answer.annotator == annotator}
        return replace(
            self,
            ranked=tuple(one for one in self.ranked if one.answer.annotator == annotator),
            duplicates=tuple(one for one in self.duplicates if theirs & set(one.records)),
        )

    def worst(self, top: int | None = None) -> tuple[Issue, ...]:
        """The likely errors, worst first; or the ``top`` worst answers, likely wrong or not."""
        return self.likely if top is None else self.ranked[:top]


def find_issues(material: Material, *, seed: int = 0, watch: Watch | None = None) -> Issues:
    """Look through ``material``; ``seed`` makes the folds, ``watch`` is told the fits done and in all.

    Raises LearningError where nothing can be held out, MissingExtra (cleanlab).
    """
    predicted = out_of_fold(material, seed=seed, watch=watch)
    ranked = rank(material, predicted)
    near = neighbours(material.space.cache.take(material.rows), material.copies)
    said = [one.tobytes() for one in material.question.carried(material.targets)]
    return Issues(
        material,
        predicted,
        ranked,
        tuple(near.outliers()),
        tuple(near.duplicates(said)),
        _by_label(material, ranked),
        _by_annotator(ranked),
    )


def rank(material: Material, predicted: Outputs) -> tuple[Issue, ...]:
    """All answers, the likeliest errors first, by what ``predicted`` says of each record.

    An answer to a record with several is likely wrong where the model and the others together say otherwise.
    """
    answered, given, question = material.answered, material.given, material.question
    evidence = judged(material, predicted)
    found, proposed = question.label_errors(evidence, given), question.proposed(evidence)
    contradicted = np.array([one != other.value for one, other in zip(proposed, material.answers, strict=True)])
    several = question.compares & (np.bincount(answered, minlength=len(material))[answered] > 1)
    likely = np.where(several, contradicted, found.likely)
    order = np.lexsort((np.arange(len(answered)), ~likely, found.score))
    return tuple(
        Issue(material.answers[at], proposed[at], float(found.score[at]), bool(likely[at])) for at in order.tolist()
    )


def _by_label(material: Material, ranked: tuple[Issue, ...]) -> tuple[Share, ...]:
    """Every label that somebody gave, or the model has in place of a likely error; the most doubtful first."""
    if not ranked:
        return ()
    question = material.question
    given = question.carried(as_targets(question, [one.answer.target for one in ranked]))
    targets = [question.target(one.suggested)[0] for one in ranked]
    said = question.carried(as_targets(question, [one for one in targets if one is not None]))  # none is: it is ours
    likely = np.array([one.likely for one in ranked])[:, None]
    answers, wrong = given.sum(axis=0), (given & ~said & likely).sum(axis=0)
    missed = (said & ~given & likely).sum(axis=0)
    found = [
        Share(label, int(answers[at]), int(wrong[at]), _share(int(wrong[at]), int(answers[at])), int(missed[at]))
        for at, label in enumerate(question.labeling.labels)
        if answers[at] or missed[at]
    ]
    return _sorted(found)


def _by_annotator(ranked: tuple[Issue, ...]) -> tuple[Share, ...]:
    """Everybody, as annotators.quality has their agreement: shares drawn towards the crowd's, the fewer the more."""
    names = sorted({one.answer.annotator for one in ranked})
    if names in ([], [""]):
        return ()
    number = {name: at for at, name in enumerate(names)}
    who = np.array([number[one.answer.annotator] for one in ranked], np.int64)
    likely = np.array([one.likely for one in ranked])
    answers = np.bincount(who, minlength=len(names)).astype(np.int64)
    wrong = np.bincount(who[likely], minlength=len(names)).astype(np.int64)
    means, lows, highs, _ = shrunk(wrong, answers)
    found = [
        Share(name, int(answers[at]), int(wrong[at]), Interval(float(means[at]), float(lows[at]), float(highs[at])))
        for name, at in number.items()
    ]
    return _sorted(found)


def _sorted(found: Iterable[Share]) -> tuple[Share, ...]:
    """The most doubtful first: by what its share is at the least."""
    return tuple(sorted(found, key=lambda one: (-one.share.low, -one.share.mean, one.name)))


def _share(some: int, of: int) -> Interval:
    return Interval(some / of, *wilson_interval(some, of)) if of else Interval(0.0, 0.0, 1.0)
