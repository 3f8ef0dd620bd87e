"""Learning curves from a finished run: what the model would have known after each label, and a twin in random order.

Both use the probe and the embeddings of the run itself. The demo knows all the answers, so accuracy here is the
true accuracy on every record that had no label at that moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nextlabel.backend.models.probe import Probe

from .annotators import noisy

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Curve:
    """True accuracy on the unlabelled rest after ``labels`` labels."""

    labels: list[int]
    accuracy: list[float]


@dataclass(frozen=True, slots=True)
class Material:
    """What a replay needs: vectors float32 [n, d], truth int64 [n], anchors float32 [c, d], audit bool [n]."""

    vectors: npt.NDArray[np.float32]
    truth: Ints
    anchors: npt.NDArray[np.float32]
    audit: npt.NDArray[np.bool_]

    @property
    def classes(self) -> int:
        """Number of labels."""
        return len(self.anchors)

    def accuracy(self, probe: Probe, but: Sequence[int] | Ints) -> float:
        """True accuracy of ``probe`` on every record ``but`` these rows."""
        rest = np.setdiff1d(np.arange(len(self.truth)), but)
        predicted = probe.predict_proba(self.vectors[rest]).argmax(axis=1)
        return float((predicted == self.truth[rest]).mean())

    def curve(self, order: Sequence[int], given: Sequence[int], steps: Sequence[int]) -> Curve:
        """Replay answers ``given`` (classes) to the records ``order`` (rows), measured after each of ``steps``."""
        accuracy = []
        probe: Probe | None = None
        for step in steps:
            rows, targets = np.array(order[:step], np.int64), np.array(given[:step], np.int64)
            trained = ~self.audit[rows]
            probe = Probe.fit(
                self.vectors[rows[trained]], targets[trained], self.classes, anchors=self.anchors, warm=probe
            )
            accuracy.append(self.accuracy(probe, order[:step]))
        return Curve(list(steps), accuracy)

    def random_twin(
        self,
        labels: Sequence[str],
        error_rates: Sequence[float],
        audit_share: float,
        seed: Sequence[int],
        steps: Sequence[int],
    ) -> Curve:
        """As many labels, by the same annotators and with the same audit share, in random order."""
        rng = np.random.default_rng(seed)
        n, names = steps[-1], list(labels)
        order = rng.permutation(len(self.truth))[:n]
        audit = np.zeros(len(self.truth), np.bool_)
        audit[rng.choice(order, round(audit_share * n), replace=False)] = True
        given = [
            names.index(noisy(names[self.truth[row]], names, error_rates[i % len(error_rates)], rng))
            for i, row in enumerate(order)
        ]
        return replace(self, audit=audit).curve(order.tolist(), given, steps)
