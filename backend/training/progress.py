"""How far a training is, and how it is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from nextlabel.connectors.errors import LearningError

Stage: TypeAlias = Literal["tokenising", "training", "evaluating", "embedding"]


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """One report of a running training.

    ``step`` of ``steps`` counts what the stage counts (texts, or steps of the optimiser); ``epoch`` is a fraction.
    ``loss`` is the last one on training texts, ``score`` the last log loss on held-out texts (lower is better).
    ``seconds`` since the training began, those before an interruption included.
    """

    stage: Stage
    step: int
    steps: int
    epoch: float = 0.0
    loss: float | None = None
    score: float | None = None
    seconds: float = 0.0


ProgressReport: TypeAlias = Callable[[TrainingProgress], None]


class TrainingCancelled(LearningError):
    """Whoever watches the training has asked it to stop. Nothing was written but checkpoints."""


def no_report(_: TrainingProgress) -> None:
    """For a training that nobody watches."""


def never() -> bool:
    """For a training that nobody stops."""
    return False


@dataclass(slots=True)
class Watch:
    """Who is told, who may stop it, and how long it has taken, interruptions left out."""

    report: ProgressReport
    stop: Callable[[], bool]
    before: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self.before + time.monotonic() - self.started

    def check(self) -> None:
        """Raises TrainingCancelled when it is to stop."""
        if self.stop():
            raise TrainingCancelled("the training was stopped before its end; the model is as it was")
