"""All pictures of an evaluation, each with what a caption says and what is read aloud in its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nextlabel.backend.learning.atomic import write_atomically
from nextlabel.backend.learning.evaluation import pictures
from nextlabel.backend.learning.evaluation.crossvalidation import HeldOut
from nextlabel.backend.learning.evaluation.curve import LearningCurve
from nextlabel.backend.learning.evaluation.summary import FoldScore, Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing with its file name (no suffix), title, a line below it, and the text that stands for it."""

    name: str
    title: str
    says: str
    alt: str
    figure: Figure


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
                pictures.confusion_matrix(summary.confusion, examples.labels),
            )
        )
    album += [
        Picture(
            "precision-recall",
            "Precision and recall",
            f"predictions{whose} that are right, by the share found",
            f"Precision against recall: average precision {headline['average_precision']}.",
            pictures.precision_recall(predicted, examples.targets, examples.labels),
        ),
        Picture(
            "roc",
            "ROC",
            f"share{whose} that is found, by the false alarms",
            f"True against false positive rate: area under the curve {headline['roc_auc']}.",
            pictures.roc(predicted, examples.targets, examples.labels),
        ),
        Picture(
            "calibration",
            "Calibration",
            "on the diagonal, 0.8 means right in 8 of 10",
            f"Share that was right against confidence: calibration error {summary.calibration_error:.3f}.",
            pictures.reliability_diagram(summary.reliability),
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
                pictures.learning_curve(curve.points),
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
                pictures.fold_scores(names, scores, headline["macro_f1"], "macro-F1"),
            )
        )
    return album


def save(album: list[Picture], folder: Path) -> list[Path]:
    """Write each picture to ``folder`` as NAME.png, over what may be there; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{picture.name}.png" for picture in album]
    for path, picture in zip(paths, album, strict=True):
        write_atomically(path, pictures.png(picture.figure))
    return paths


def _fold_name(one: FoldScore, runs: int, differ: bool) -> str:
    fold = f"fold {one.fold + 1}" if runs == 1 else f"seed {one.seed}, fold {one.fold + 1}"
    return f"{fold}, {one.rung}" if differ else fold
