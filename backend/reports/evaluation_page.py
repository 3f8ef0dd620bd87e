"""One page per model: the figures, how sure they are, and what they were measured on. A single file, no scripts.

Every plot of it comes with a caption, and with words that are read aloud in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from nextlabel.backend.evaluation.crossvalidation import HeldOut
from nextlabel.backend.evaluation.curve import LearningCurve
from nextlabel.backend.evaluation.intervals import Interval
from nextlabel.backend.evaluation.run import About
from nextlabel.backend.evaluation.summary import ConfidentError, FoldScore, Summary
from nextlabel.backend.metrics import ClassFigures

from . import plots
from .page import bar, card, facts, figures, framed, notes, sentence, table
from .picture import Picture


def drawn(found: HeldOut, summary: Summary, curve: LearningCurve | None = None) -> list[Picture]:
    """The pictures there are, of the first seed like all of ``summary`` but the headline. Raises MissingExtra."""
    examples, predicted, headline = found.examples, found.runs[0].predicted, summary.headline
    # Of two exclusive labels one curve says it all; without a legend, the caption must say whose it is.
    whose = f" of {examples.labels[1]}" if not examples.multi_label and len(examples.labels) == 2 else ""
    album = []
    if summary.confusion.ndim == 2:
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
            plots.precision_recall(predicted, examples.targets, examples.labels),
        ),
        Picture(
            "roc",
            "ROC",
            f"share{whose} that is found, by the false alarms",
            f"True against false positive rate: area under the curve {headline['roc_auc']}.",
            plots.roc(predicted, examples.targets, examples.labels),
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
                plots.learning_curve(curve.points),
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
    return album


def _fold_name(one: FoldScore, runs: int, differ: bool) -> str:
    fold = f"fold {one.fold + 1}" if runs == 1 else f"seed {one.seed}, fold {one.fold + 1}"
    return f"{fold}, {one.rung}" if differ else fold


SHOWN = {
    "macro_f1": ("Macro-F1", "the labels' mean F1"),
    "accuracy": ("Accuracy", "texts that are right"),
    "roc_auc": ("ROC-AUC", "a yes ranked over a no"),
    "average_precision": ("Average precision", "area under precision–recall"),
}

LONGEST = 400  # characters of a text that are shown

CONFUSED = 12  # pairs of labels that are listed

FEW = 8  # labels, up to which the matrix says it all


def page(found: HeldOut, summary: Summary, about: About, album: Sequence[Picture], verdict: str | None = None) -> str:
    """The page as HTML, with the pictures that :func:`.album.drawn` makes, and a learning curve's verdict."""
    how = about.facts.get("How", "")
    sure = (
        "Bands are 95% intervals from whole groups drawn anew"
        if found.groups is not None
        else "Bands are 95% intervals"
    )
    return framed(
        __package__,
        about.title,
        about.subtitle,
        cards=_cards(summary),
        how=escape(f"{how[:1].upper()}{how[1:]}. {sure}." if how else f"{sure}."),
        verdict=f"<p>{escape(sentence(verdict))}</p>" if verdict else "",
        notes=notes(about.remarks),
        classes=_classes(summary.classes),
        pictures=figures(album),
        confused=_confused(summary),
        errors=_errors(summary.errors),
        facts=facts(about.facts),
    )


def _cards(summary: Summary) -> str:
    cards = [_card(name, says, summary.headline[key]) for key, (name, says) in SHOWN.items()]
    error = summary.calibration_error
    if error == error:
        verdict = (
            f"how far probabilities are off; {summary.tempered_error:.3f} at temperature {summary.temperature:.2f}"
        )
        cards.append(card("Calibration error", f"{error:.3f}", [verdict]))
    return "".join(cards)


def _card(name: str, says: str, value: Interval) -> str:
    if value.mean != value.mean:
        return card(name, "–", ["not defined for these answers"])
    return card(name, f"{value.mean:.3f}", [f"{value.low:.3f} to {value.high:.3f}", says], value)


def _classes(found: Sequence[ClassFigures]) -> str:
    head = ("label", "F1", "n:precision", "n:recall", "n:ROC-AUC", "n:average precision", "n:rows", "n:predicted")
    rows = (
        [
            ("label", escape(one.label)),
            ("f1", _number(one.f1) + (bar(0, one.f1) if one.f1 == one.f1 else "")),
            ("n", _number(one.precision)),
            ("n", _number(one.recall)),
            ("n", _number(one.roc_auc)),
            ("n", _number(one.average_precision)),
            ("n", f"{one.support:,}"),
            ("n", f"{one.said:,}"),
        ]
        for one in found
    )
    return table(head, rows, "pinned")


def _confused(summary: Summary) -> str:
    """The pairs that are mixed up most, where the matrix is too large to find them."""
    labels = [one.label for one in summary.classes]
    if summary.confusion.ndim != 2 or len(labels) <= FEW:
        return ""
    wrong = summary.confusion - np.diag(np.diag(summary.confusion))
    worst = [
        (int(at) // len(labels), int(at) % len(labels))
        for at in np.argsort(-wrong, axis=None, kind="stable")[:CONFUSED]
    ]
    rows = [
        [("label", escape(labels[answer])), ("label", escape(labels[said])), ("n", f"{wrong[answer, said]:,}")]
        for answer, said in worst
        if wrong[answer, said]
    ]
    return f"<h2>Mixed up most</h2>{table(('answer', 'predicted', 'n:texts'), rows)}" if rows else ""


def _errors(found: Sequence[ConfidentError]) -> str:
    if not found:
        return '<p class="soft">Nothing was wrong.</p>'
    rows = (
        [
            ("text", escape(one.text if len(one.text) <= LONGEST else one.text[:LONGEST] + "…")),
            ("label", escape(", ".join(one.answer) or "none")),
            ("label", escape(", ".join(one.said) or "none")),
            ("n", f"{one.probability:.2f}"),
        ]
        for one in found
    )
    says = "The wrong predictions it was surest of. Some of them may be wrong answers: they are worth a second look."
    return f'<p class="soft small">{says}</p>{table(("text", "answer", "predicted", "n:probability"), rows, "wrapped")}'


def _number(value: float) -> str:
    return f"{value:.3f}" if value == value else "–"
