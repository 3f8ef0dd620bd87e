"""All of a report: figures where there is enough to say them, and the reason in words where there is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.annotators.quality import LEAST_RANKED, Quality, annotator_quality
from nextlabel.backend.evaluation.remaining import remaining_positives
from nextlabel.backend.intervals import Interval, wilson_interval
from nextlabel.backend.models.card import AUDIT, HELD_OUT, audit_figures, number_in
from nextlabel.backend.numeric import plain
from nextlabel.backend.pool.pool import Positions
from nextlabel.backend.questions import question_of
from nextlabel.backend.selection.stopping import Advice, Confident, FewRemaining, Round, SmallGain, StablePredictions
from nextlabel.backend.store import ModelRow
from nextlabel.backend.training.spec import EpochFigures

from .against_random import Refitted, Saved
from .project_data import LEAST_REPEATED, Agreement, Gathered, Slips, agreement

LEAST_SHARE = 20
"""Audit answers below which no accuracy and no share of a label is given."""
RARE = 0.1
"""A label whose share may not be above this is rare: whether all of it is found is a question of its own."""
MOST_POINTS = 200
"""Points of the learning curve that are kept: a running project has one per label."""


@dataclass(frozen=True, slots=True)
class Point:
    """A model that was in the loop: ``accuracy`` on the ``audited`` audit answers that there were then."""

    model: str
    encoder: str
    labels: int
    accuracy: Interval
    audited: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "model": self.model,
            "encoder_from": self.encoder or None,
            "labels": self.labels,
            "audited": self.audited,
            "accuracy": self.accuracy.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Balance:
    """A label: how many ``chosen`` and audit records carry it, its ``share`` of all, how many are still to be found."""

    label: str
    chosen: int
    audit: int
    share: Interval | None
    left: Interval | None


@dataclass(frozen=True, slots=True)
class ProjectReport:
    """What is known of a project. Parts that can't be said are None or empty; ``silent`` says why, by part.

    ``held_out``: the newest model on answers from before the first start that are kept from training. They were not
    given blind, so they are in no figure with the audit slice's. ``recipe``: what commands about it call it.
    ``issues``: doubtful answers, as ProjectIssues tells them in JSON. ``epochs``: of the encoder in use.
    """

    project: str
    gathered: Gathered
    curve: tuple[Point, ...]
    held_out: Point | None
    saved: Saved | None
    agreement: Agreement | None
    quality: Quality | None
    balance: tuple[Balance, ...]
    advice: tuple[tuple[str, Advice], ...]
    silent: dict[str, str]
    recipe: str = "RECIPE"
    issues: dict[str, Any] | None = None
    epochs: tuple[EpochFigures, ...] = ()

    @property
    def slips(self) -> Slips | None:
        """Answers of the audit slice that the newest model takes for slips."""
        return self.gathered.slips

    @property
    def without_slips(self) -> Interval | None:
        """The newest audit figure if others, asked again, say what the model says of those answers."""
        if self.slips is None or not self.curve:
            return None
        last = self.curve[-1]
        right = min(last.accuracy.mean * last.audited + self.slips.answers, last.audited)
        return Interval(right / last.audited, *wilson_interval(right, last.audited))

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not known is null."""
        found = self.gathered
        return {
            "project": self.project,
            "kind": found.labeling.kind.value,
            "records": found.records,
            "labelled": {
                "chosen": len(found.training),
                "audit": len(found.audited),
                "held_out": len(found.held_out),
            },
            "answers": found.answers,
            "skips": found.skips,
            "annotators_seen": found.people,
            "first": found.first.isoformat(),
            "last": found.last.isoformat(),
            "trained_model": found.trained or None,
            "curve": [one.to_json() for one in self.curve],
            "held_out": None if self.held_out is None else self.held_out.to_json(),
            "saved": None if self.saved is None else self.saved.to_json(),
            "suggesters": [
                {"name": name, "agreeing": one["agreeing"], "blind": one["blind"]}
                for name, one in found.suggesters.items()
            ],
            "slips": plain(self.slips),
            "accuracy_without_slips": plain(self.without_slips),
            "agreement": plain(self.agreement),
            "annotators": None if self.quality is None else [_known(asdict(one)) for one in self.quality.annotators],
            "balance": plain(self.balance),
            "stop": [{"criterion": name, **plain(advice)} for name, advice in self.advice],
            "issues": self.issues,
            "epochs": [dict(entry) for entry in self.epochs],
            "silent": self.silent,
        }


def build(
    found: Gathered,
    project: str,
    refitted: Refitted | None,
    why: str = "",
    recipe: str = "RECIPE",
    issues: dict[str, Any] | str = "nobody looked",
    epochs: Sequence[EpochFigures] = (),
) -> ProjectReport:
    """The report, which calls the recipe ``recipe`` in commands.

    ``refitted`` is what the fits told; without it, ``why`` says why they were not made. ``issues``: see there, or why
    nothing is known of them. ``epochs``: of the training of the encoder in use.
    """
    silent = {} if refitted is not None else {"saved": why}
    if isinstance(issues, str):
        silent["issues"] = issues
    curve = learning_curve(found.models)
    if not curve:
        silent["curve"] = (
            f"no model was tested on {LEAST_SHARE} answers to the audit slice yet: {len(found.audited):,} are there"
        )
    agreed, quality = None, None
    if found.opinions is None:
        silent["annotators"] = "annotators are compared where a record has one label"
        agreed = found.marks
        if agreed is None:
            marked = f"fewer than {LEAST_REPEATED} texts were marked by two people"
            silent["agreement"] = marked if question_of(found.labeling).reads_tokens else silent["annotators"]
    else:
        agreed, quality = agreement(found.opinions), annotator_quality(found.opinions)
        if agreed is None:
            silent["agreement"] = (
                f"{quality.repeated:,} records have answers of two people: it takes {LEAST_REPEATED}; "
                "ask for more with `nextlabel relabel`"
            )
        if not any(one.compared >= LEAST_RANKED for one in quality.annotators):
            silent["annotators"] = f"nobody has {LEAST_RANKED} answers that others can be held against"
    if len(found.audited) < LEAST_SHARE:
        silent["balance"] = (
            f"shares of all records are known from the audit slice alone, and {len(found.audited):,} of it are "
            f"answered: it takes {LEAST_SHARE}. What was chosen to be labelled tells nothing of the rest"
        )
    balance = class_balance(found)
    return ProjectReport(
        project=project,
        gathered=found,
        curve=curve,
        held_out=next(iter(learning_curve(found.models, HELD_OUT)[-1:]), None),
        saved=None if refitted is None else refitted.saved,
        agreement=agreed,
        quality=quality,
        balance=balance,
        advice=tuple(_advice(curve, refitted, balance, found.trained)),
        silent=silent,
        recipe=recipe,
        issues=None if isinstance(issues, str) else issues,
        epochs=tuple(epochs),
    )


def learning_curve(models: Sequence[ModelRow], kind: str = AUDIT) -> tuple[Point, ...]:
    """The models with figures of this ``kind``, oldest first, the newest of each number of labels; thinned."""
    points: dict[int, Point] = {}
    for row in models:
        labels = number_in(row.metrics, "labels")
        for one in audit_figures(row.metrics, kind):
            if labels >= 1 and one.n >= LEAST_SHARE:
                accuracy = Interval(one.value, one.low, one.high)
                points[int(labels)] = Point(row.version, row.base, int(labels), accuracy, one.n)
    return thinned(tuple(points[labels] for labels in sorted(points)), MOST_POINTS)


def thinned(points: tuple[Point, ...], most: int) -> tuple[Point, ...]:
    """``most`` of the points, the ends always there."""
    if len(points) <= most:
        return points
    return tuple(points[at] for at in np.unique(np.linspace(0, len(points) - 1, most).round().astype(int)))


def class_balance(found: Gathered) -> tuple[Balance, ...]:
    """Every label, in the order of the question. The share and what is left come from the audit slice.

    They are of the records that it was drawn from: what was answered before we came is counted as chosen, no more.
    """
    chosen, audit = _carried(found, found.training), _carried(found, found.audited)
    after = np.isin(found.training, found.before, invert=True)
    rows = []
    for at, label in enumerate(found.labeling.labels):
        learned, hits, audited = int(chosen[:, at].sum()), int(audit[:, at].sum()), len(audit)
        share = left = None
        if audited >= LEAST_SHARE:
            known = remaining_positives(
                pool=found.drawn_from,
                audited=audited,
                hits=hits,
                labelled=int(after.sum()) + audited,
                found=int(chosen[after, at].sum()) + hits,
            )
            share, left = known.total.over(found.drawn_from), known.remaining
        rows.append(Balance(label, learned, hits, share, left))
    return tuple(rows)


def _carried(found: Gathered, positions: Positions) -> npt.NDArray[np.bool_]:
    """bool [k, c]: which labels the records carry, spans of a label at least once."""
    return question_of(found.labeling).carried(found.pool.targets(positions))


def _advice(
    curve: Sequence[Point], refitted: Refitted | None, balance: Sequence[Balance], trained: str
) -> list[tuple[str, Advice]]:
    """Every criterion that has something to look at."""
    live = [Round(one.labels, audit=one.accuracy.mean, audit_size=one.audited) for one in curve]
    # A trained encoder in use has left the refitted probes behind: they would speak of another model.
    rounds = live if refitted is None or trained else refitted.rounds
    found = [(SmallGain.name, SmallGain().advise(rounds))]
    if any(one.predictions is not None for one in rounds):
        found.append((StablePredictions.name, StablePredictions().advise(rounds)))
    if any(one.confidence is not None for one in rounds):
        found.append((Confident.name, Confident().advise(rounds)))
    for one in balance:
        if one.share is not None and one.left is not None and one.share.high <= RARE and one.chosen + one.audit:
            last = Round(0, found=one.chosen + one.audit, remaining_high=one.left.high)
            found.append((f"{FewRemaining.name}: {one.label}", FewRemaining().advise([last])))
    return found


def _known(annotator: dict[str, Any]) -> dict[str, Any]:
    """An annotator with too few comparisons keeps the counts and loses the figures."""
    few = annotator["compared"] < LEAST_RANKED
    return annotator | ({"agreement": None, "low": None, "high": None} if few else {})
