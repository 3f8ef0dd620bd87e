"""Honest figures: held-out predictions, what they are worth and how far that can be trusted.

``crossvalidation`` makes predictions of unseen texts, ``comparison`` tests two models on the same rows and decides
which goes live, ``remaining`` is about rare classes, ``summary`` is all the figures, ``ladder`` chooses how far up it
pays to climb. The figures are in ``metrics``, their intervals in ``intervals``, ``reports`` shows them.
"""

from nextlabel.backend.intervals import Interval, wilson_interval
from nextlabel.backend.metrics import (
    accuracy,
    average_precision,
    class_figures,
    confidence_interval,
    confusion,
    macro_f1,
    roc_auc,
)

from .comparison import Difference, McNemar, mcnemar, mcnemar_of, paired_bootstrap
from .crossvalidation import HeldOut, cross_validate, hold_out, out_of_fold
from .remaining import PrevalenceFigures, Remaining, at_prevalence, remaining_positives
from .summary import Summary, summarise

__all__ = [
    "Difference",
    "HeldOut",
    "Interval",
    "McNemar",
    "PrevalenceFigures",
    "Remaining",
    "Summary",
    "accuracy",
    "at_prevalence",
    "average_precision",
    "class_figures",
    "confidence_interval",
    "confusion",
    "cross_validate",
    "hold_out",
    "macro_f1",
    "mcnemar",
    "mcnemar_of",
    "out_of_fold",
    "paired_bootstrap",
    "remaining_positives",
    "roc_auc",
    "summarise",
    "wilson_interval",
]
