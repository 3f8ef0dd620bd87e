"""What is measured after each epoch, and which epoch was the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class EpochLoss:
    """Mean training loss of an epoch, from the running sum that the loop keeps: ``total`` over ``steps``."""

    total: float = 0.0
    steps: int = 0
    _sum: float = 0.0
    _step: int = 0

    def start(self, step: int) -> None:
        """The running sum begins anew, at ``step``."""
        self._sum, self._step = 0.0, step

    def add(self, running_sum: float, step: int) -> float:
        """Take in what has come since the last call; the mean loss of these steps."""
        loss, steps = running_sum - self._sum, step - self._step
        self.total, self.steps = self.total + loss, self.steps + steps
        self._sum, self._step = running_sum, step
        return loss / steps if steps else self.total / max(self.steps, 1)

    def end(self) -> float:
        """The mean of the epoch, which ends here."""
        mean = self.total / max(self.steps, 1)
        self.total, self.steps = 0.0, 0
        return mean


def best_of(history: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """The epoch with the least held-out log loss at its own temperature; None where nothing was held out.

    Macro-F1 is in the history too, but among some dozen held-out texts it moves by several points with a single
    one, and log loss moves with each. Its own temperature, because that is what the model will be used with.
    """
    measured = [entry for entry in history if "log_loss" in entry]
    return min(measured, key=lambda entry: entry["log_loss"]) if measured else None
