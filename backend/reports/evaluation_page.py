"""One page per model: the figures, how sure they are, and what they were measured on. A single file, no scripts.

Every plot of it comes with a caption, and with words that are read aloud in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.evaluation.crossvalidation import HeldOut
from nextlabel.backend.evaluation.curve import LearningCurve
from nextlabel.backend.evaluation.run import About
from nextlabel.backend.evaluation.summary import ConfidentError, FoldScore, Summary
from nextlabel.backend.intervals import TOO_FEW, Interval
from nextlabel.backend.metrics import ClassFigures

from . import plots
from .epochs import epoch_pictures
from .page import NO_NUMBER, Card, Cell, Column, Table, number, render, span
from .plots import Picture
from .tree_tables import tree_tables

SHOWN = {
    "macro_f1": ("Macro-F1", "the labels' mean F1"),
    "accuracy": ("Accuracy", "texts that are right"),
    "roc_auc": ("ROC-AUC", "a yes ranked over a no"),
    "average_precision": ("Average precision", "area under precision–recall"),
}
LONGEST = 400  # characters of a text that are shown
CONFUSED = 12  # pairs of labels that are listed
FEW = 8  # labels, up to which the matrix says it all


def drawn(found: HeldOut, summary: Summary, curve: LearningCurve | None = None) -> list[Picture]:
    """The pictures there are, of the first seed like all of ``summary`` but the headline. Raises MissingExtra."""
    examples, predicted, headline = found.examples, found.runs[0].predicted, summary.headline
    # Of two exclusive labels one curve says it all; without a legend, the caption must say whose it is.
    whose = f" of {summary.positive}" if summary.positive else ""
    shown = [examples.labels.index(summary.positive)] if summary.positive else None
    album = []
    if examples.activation is SOFTMAX:
        right, total = int(np.trace(summary.confusion)), int(summary.confusion.sum())
        album.append(
            Picture(
                "confusion",
                "Confusion",
                "answers down, predictions across",
                f"Confusion matrix: {right:,} of {total:,} texts are on the diagonal, where the prediction is right.",
                plots.confusion_matrix(summary.confusion, examples.labels),
            )
        )
    album += [
        Picture(
            "precision-recall",
            "Precision and recall",
            f"predictions{whose} that are right, by the share found",
            f"Precision against recall: average precision {headline['average_precision']}.",
            plots.precision_recall(predicted, examples.targets, examples.labels, shown),
        ),
        Picture(
            "roc",
            "ROC",
            f"share{whose} that is found, by the false alarms",
            f"True against false positive rate: area under the curve {headline['roc_auc']}.",
            plots.roc(predicted, examples.targets, examples.labels, shown),
        ),
        Picture(
            "calibration",
            "Calibration",
            "on the diagonal, 0.8 means right in 8 of 10",
            f"Share that was right against confidence: calibration error {summary.calibration_error:.3f}.",
            plots.reliability_diagram(summary.reliability),
        ),
    ]
    if curve is not None:
        first, last = curve.points[0], curve.points[-1]
        album.append(
            Picture(
                "learning-curve",
                "Learning curve",
                "macro-F1 by the number of labels learned from",
                f"Macro-F1 against labels learned from: {first.macro_f1} with {first.labels:,}, "
                f"{last.macro_f1} with {last.labels:,}.",
                plots.learning_curve(
                    [one.labels for one in curve.points], [one.macro_f1 for one in curve.points], "macro-F1"
                ),
            )
        )
    if len(summary.folds) > 1:
        differ = len({one.rung for one in summary.folds}) > 1
        names = [_fold_name(one, len(found.runs), differ) for one in summary.folds]
        scores = [one.macro_f1 for one in summary.folds]
        least, most = min(one.mean for one in scores), max(one.mean for one in scores)
        album.append(
            Picture(
                "folds",
                "Fold by fold",
                "each with its interval, the band is all together",
                f"Macro-F1 of every fold: from {least:.3f} to {most:.3f}.",
                plots.fold_scores(names, scores, headline["macro_f1"], "macro-F1"),
            )
        )
    return album + epoch_pictures([epochs for run in found.runs for epochs in run.histories])


def _fold_name(one: FoldScore, runs: int, differ: bool) -> str:
    fold = f"fold {one.fold + 1}" if runs == 1 else f"seed {one.seed}, fold {one.fold + 1}"
    return f"{fold}, {one.rung}" if differ else fold


def page(found: HeldOut, summary: Summary, about: About, drawn: Sequence[Picture], verdict: str | None = None) -> str:
    """The page as HTML, with the pictures that :func:`drawn` makes, and a learning curve's verdict."""
    how = about.facts.get("How", "")
    sure = (
        "Bands are 95% intervals, in which groups count as one"
        if found.groups is not None
        else "Bands are 95% intervals"
    )
    return render(
        "evaluation.html",
        about.title,
        about.subtitle,
        headline=_cards(summary),
        how=f"{how[:1].upper()}{how[1:]}. {sure}." if how else f"{sure}.",
        verdict=verdict,
        remarks=about.remarks,
        classes=_classes(summary.classes),
        tree=None if summary.tree is None else tree_tables(summary.tree, _classes),
        drawn=drawn,
        confused=_confused(summary),
        errors=_errors(summary.errors),
        about=about.facts,
    )


def _cards(summary: Summary) -> list[Card]:
    cards = [_card(name, says, summary.headline[key]) for key, (name, says) in SHOWN.items()]
    if summary.positive:
        cards[-1] = replace(cards[-1], name=f"{cards[-1].name} of {summary.positive}")
    error = summary.calibration_error
    if error == error:
        verdict = (
            f"how far probabilities are off; {summary.tempered_error:.3f} at temperature {summary.temperature:.2f}"
        )
        cards.append(Card("Calibration error", f"{error:.3f}", [verdict]))
    return cards


def _card(name: str, says: str, value: Interval) -> Card:
    if value.mean != value.mean:
        return Card(name, NO_NUMBER, ["not defined for these answers"])
    if not value.told:
        return Card(name, number(value.mean), [TOO_FEW, says])
    return Card(name, number(value.mean), [span(value, ".3f"), says], value)


def _classes(found: Sequence[ClassFigures]) -> Table:
    names = ("precision", "recall", "ROC-AUC", "average precision", "rows", "predicted")
    return Table(
        [Column("label", "label"), Column("F1", "f1"), *(Column(name) for name in names)],
        [
            (
                one.label,
                Cell(number(one.f1), bar=one.f1 if one.f1 == one.f1 else None),
                number(one.precision),
                number(one.recall),
                number(one.roc_auc),
                number(one.average_precision),
                f"{one.support:,}",
                f"{one.said:,}",
            )
            for one in found
        ],
    )


def _confused(summary: Summary) -> Table:
    """The pairs that are mixed up most, where the matrix is too large to find them."""
    labels = [one.label for one in summary.classes]
    columns = [Column("answer", "label"), Column("predicted", "label"), Column("texts")]
    if summary.confusion.ndim != 2 or len(labels) <= FEW:
        return Table(columns, [])
    wrong = summary.confusion - np.diag(np.diag(summary.confusion))
    worst = [divmod(int(at), len(labels)) for at in np.argsort(-wrong, axis=None, kind="stable")[:CONFUSED]]
    rows = [(labels[answer], labels[said], f"{wrong[answer, said]:,}") for answer, said in worst if wrong[answer, said]]
    return Table(columns, rows)


def _errors(found: Sequence[ConfidentError]) -> Table:
    return Table(
        [Column("text", "text"), Column("answer", "label"), Column("predicted", "label"), Column("probability")],
        [
            (
                one.text if len(one.text) <= LONGEST else one.text[:LONGEST] + "…",
                ", ".join(one.answer) or "none",
                ", ".join(one.said) or "none",
                f"{one.probability:.2f}",
            )
            for one in found
        ],
    )
