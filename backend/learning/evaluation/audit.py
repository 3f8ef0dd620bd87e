"""Accuracy on the audit slice: records drawn at random before anything was learned, so that nothing flatters it."""

from __future__ import annotations

from dataclasses import dataclass

from nextlabel.backend.learning.evaluation.intervals import LEVEL, wilson_interval
from nextlabel.backend.learning.evaluation.metrics import Predicted, accuracy, macro_f1, right
from nextlabel.backend.learning.folds import Targets


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Accuracy on the answered part of the audit slice, with its Wilson interval at 95%.

    Measured against people's answers, so people's errors count as the model's. nan while ``n`` is 0.
    """

    n: int
    correct: int
    accuracy: float
    low: float
    high: float
    macro_f1: float


def audit_report(predicted: Predicted, answers: Targets, level: float = LEVEL) -> AuditReport:
    """Hold ``predicted`` [n, c] against the ``answers`` to the audit slice: int64 [n], or bool [n, c]."""
    correct, n = int(right(predicted, answers).sum()), len(answers)
    low, high = wilson_interval(correct, n, level)
    return AuditReport(n, correct, accuracy(predicted, answers), low, high, macro_f1(predicted, answers))
