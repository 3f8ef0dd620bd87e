"""Honest figures: held-out predictions, what they are worth and how far that can be trusted.

``resampled`` holds the figures of ``metrics`` on many resamples at once, ``intervals`` how sure they are,
``calibration`` what probabilities mean, ``crossvalidation`` makes predictions of unseen texts, ``comparison`` tests two
models on the same rows, ``remaining`` is about rare classes, ``summary`` is all of it. ``reports`` shows it.
"""

from nextlabel.backend.metrics import accuracy, average_precision, class_figures, confusion, macro_f1, roc_auc

from .comparison import Difference, McNemar, mcnemar, mcnemar_of, paired_bootstrap
from .crossvalidation import HeldOut, cross_validate, hold_out, out_of_fold
from .intervals import Interval, bootstrap, wilson_interval
from .remaining import PrevalenceFigures, Remaining, at_prevalence, remaining_positives
from .summary import AuditReport, Summary, audit_report, summarise

__all__ = [
    "AuditReport",
    "Difference",
    "HeldOut",
    "Interval",
    "McNemar",
    "PrevalenceFigures",
    "Remaining",
    "Summary",
    "accuracy",
    "at_prevalence",
    "audit_report",
    "average_precision",
    "bootstrap",
    "class_figures",
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
