"""All the figures of an evaluation in one object: what the command prints, the page shows and a model card holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import SOFTMAX, Activation, Flags, Targets, activation_of
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.data.image_rules import shorten
from nextlabel.backend.intervals import Interval
from nextlabel.backend.metrics import (
    FIGURES,
    ClassFigures,
    Predicted,
    accuracy,
    class_figures,
    confidence_interval,
    confusion,
    macro_f1,
    precision_of,
    right,
)
from nextlabel.backend.models.calibration import fit_temperature
from nextlabel.backend.numeric import plain
from nextlabel.connectors.content import Readable, content_of
from nextlabel.connectors.errors import ConfigError, LearningError

from .crossvalidation import HeldOut
from .levels import Tree, tree_figures

ERRORS = 30
BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of like confidence: the mean they claimed, and the share that was right."""

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class FoldScore:
    """One fold of one seed: how many rows were held out, how well they were predicted, and by which rung of the ladder.

    ``rung`` is "" where the model does not say.
    """

    seed: int
    fold: int
    rows: int
    accuracy: Interval
    macro_f1: Interval
    rung: str = ""


@dataclass(frozen=True, slots=True)
class ConfidentError:
    """A text that was predicted wrongly, and how sure the model was of its worst mistake there."""

    text: str
    answer: tuple[str, ...]
    said: tuple[str, ...]
    probability: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of held-out predictions.

    ``headline``: accuracy, macro_f1, roc_auc, average_precision, the mean over all seeds with the interval. What
    follows is of the first seed: averaging probabilities over seeds would be another, better model. ``positive``: of
    two exclusive labels, the one that average precision is told of, else "". ``temperature`` is the one that would fit
    these answers best, ``tempered_error`` the calibration error left with it. ``tree``: of labels that stand in one.
    """

    headline: dict[str, Interval]
    positive: str
    classes: list[ClassFigures]
    confusion: npt.NDArray[np.int64]
    reliability: list[Bin]
    calibration_error: float
    temperature: float
    tempered_error: float
    folds: list[FoldScore]
    errors: list[ConfidentError]
    tree: Tree | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not defined is None."""
        return {
            **{name: interval.to_json() for name, interval in self.headline.items()},
            "positive": self.positive or None,
            "calibration_error": plain(self.calibration_error),
            "temperature": plain(self.temperature),
            "classes": plain(self.classes),
            "confusion": self.confusion.tolist(),
            "folds": plain(self.folds),
            **({} if self.tree is None else {"tree": self.tree.to_json()}),
        }


def positive_of(examples: Examples, wanted: str | None = None) -> int | None:
    """Which of two exclusive labels average precision is told of: ``wanted``, or the one that is rarer in the answers.

    None where there are more labels, or a text may have several. Raises ConfigError for one that is none of two.
    """
    binary = examples.activation is SOFTMAX and len(examples.labels) == 2
    if wanted is None:
        return int(examples.flags[:, 1].sum() <= examples.flags[:, 0].sum()) if binary else None
    if not binary:
        raise ConfigError(
            f"--positive {wanted!r} chooses between two labels of which a text has one; here, average precision is the "
            f"mean over {len(examples.labels)} labels"
        )
    if wanted not in examples.labels:
        raise ConfigError(f"--positive {wanted!r} is no label; there are {' and '.join(map(repr, examples.labels))}")
    return examples.labels.index(wanted)


def summarise(found: HeldOut, positive: str | None = None) -> Summary:
    """Work all of it out. ``positive``: see ``positive_of``."""
    examples, first = found.examples, found.runs[0].predicted
    at = positive_of(examples, positive)
    figures = FIGURES if at is None else FIGURES | {"average_precision": precision_of(at)}
    temperature = fit_temperature(examples.activation.logits(first), examples.targets, prior=0)
    return Summary(
        headline={name: found.interval(figure) for name, figure in figures.items()},
        positive="" if at is None else examples.labels[at],
        classes=class_figures(first, examples.targets, examples.labels),
        confusion=confusion(first, examples.targets),
        reliability=reliability(first, examples.targets),
        calibration_error=calibration_error(first, examples.targets),
        temperature=temperature,
        tempered_error=calibration_error(tempered(first, temperature, examples.activation), examples.targets),
        folds=_folds(found),
        errors=confident_errors(first, examples),
        tree=tree_figures(found),
    )


def reliability(predicted: Predicted, targets: Targets, bins: int = BINS) -> list[Bin]:
    """Predictions in ``bins`` of equal size (one more or less), the least sure first.

    Single labels: the probability of the likeliest. Multi-label: every label's probability, against whether it
    applies. Equal confidences are not told apart, so with few distinct ones there are fewer bins.
    """
    if bins < 1:
        raise LearningError(f"{bins} bins hold nothing; 10 is usual")
    claimed, true = activation_of(targets).claims(predicted, targets)
    if not len(claimed):
        return []
    order = np.argsort(claimed, kind="stable")
    claimed, true = claimed[order], true[order]
    edges = np.searchsorted(claimed, claimed[np.arange(1, bins) * len(claimed) // bins])
    parts = np.split(np.arange(len(claimed)), np.unique(edges[edges > 0]))
    return [Bin(len(part), float(claimed[part].mean(dtype=np.float64)), float(true[part].mean())) for part in parts]


def calibration_error(predicted: Predicted, targets: Targets, bins: int = BINS) -> float:
    """Expected calibration error with bins of equal mass (Nixon et al., 2019): 0 is perfect, nan for no rows."""
    table = reliability(predicted, targets, bins)
    total = sum(one.count for one in table)
    return sum(one.count * abs(one.confidence - one.accuracy) for one in table) / total if total else float("nan")


def tempered(predicted: Predicted, temperature: float, activation: Activation) -> Predicted:
    """The probabilities float32 [n, c] that the same logits give at another temperature."""
    if temperature <= 0:
        raise LearningError(f"a temperature of {temperature} is none; it must be above 0")
    return activation.probabilities(activation.logits(predicted) / np.float32(temperature))


def confident_errors(predicted: Predicted, examples: Examples, most: int = ERRORS) -> list[ConfidentError]:
    """The wrong predictions of which the model was surest, the surest first: look here for wrong answers too."""
    activation, answered = examples.activation, examples.flags
    sure, said = activation.mistake(predicted, examples.targets), activation.decided(predicted)
    wrong = np.flatnonzero(~right(predicted, examples.targets))
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:most]
    return [
        ConfidentError(
            shown_as(examples.texts[row]),
            _names(examples, answered[row]),
            _names(examples, said[row]),
            float(sure[row]),
        )
        for row in worst
    ]


def shown_as(readable: Readable) -> str:
    """What people read of it: its text, or where its pictures are."""
    one = content_of(readable)
    return one.text if one.text.strip() else ", ".join(map(shorten, one.images))


def _names(examples: Examples, flags: Flags) -> tuple[str, ...]:
    return tuple(examples.labels[at] for at in np.flatnonzero(flags))


def _folds(found: HeldOut) -> list[FoldScore]:
    scores = []
    for run in found.runs:
        folds = np.unique(run.fold_of)
        for fold, rung in zip(folds, run.rungs or [""] * len(folds), strict=True):
            rows = np.flatnonzero(run.fold_of == fold)
            groups = None if found.groups is None else found.groups[rows]
            accuracies, f1s = (
                confidence_interval(figure, [run.predicted[rows]], found.examples.targets[rows], groups=groups)
                for figure in (accuracy, macro_f1)
            )
            scores.append(FoldScore(run.seed, int(fold), len(rows), accuracies, f1s, rung))
    return scores
