"""One label per record, or any number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.activation import SIGMOID, Activation
from nextlabel.backend.models.label_names import differences
from nextlabel.backend.models.probe import Probe
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span, Value

from .base import Column, Question, Target


class Choice(Question):
    """Labels of whole records."""

    @override
    def head_labels(self, file: Path) -> tuple[tuple[str, ...], bool]:
        probe = Probe.load(file)
        return probe.names, probe.activation.several

    @override
    def prior(self, file: Path) -> tuple[Probe | None, str]:
        try:
            head = Probe.load(file)
        except LearningError:
            return None, "its head is for spans, or can't be read"
        made_for_several = head.activation.several
        note = differences(head.names, self.labeling.labels, several=made_for_several, wants_several=self.several)
        prior = head.aligned(self.labeling.labels, self.activation)
        return prior, note if prior is not None else f"{note}; its head is not used, its encoder is"


class SingleChoice(Choice):
    """Exactly one label per record. Targets are classes, -1 without an answer."""

    compares: ClassVar[bool] = True
    blank: ClassVar[int | None] = -1

    @override
    def column(self, name: str) -> Column:
        return name, np.int64, ()

    @override
    def vote_column(self, name: str) -> Column:
        return name, np.int64, ()

    @override
    def vote(self, value: Value) -> int | None:
        return self.index.get(str(value[0])) if len(value) == 1 else None

    @override
    def _target(self, known: Sequence[str | Span], whole: bool) -> Target | None:
        return self.index[str(known[0])] if len(known) == 1 and whole else None

    @override
    def carried(self, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        carried: npt.NDArray[np.bool_] = targets[:, None] == np.arange(len(self.labeling.labels))
        return carried


class MultiChoice(Choice):
    """Any number of labels per record. Targets are a flag per label."""

    several: ClassVar[bool] = True
    activation: ClassVar[Activation] = SIGMOID

    @override
    def column(self, name: str) -> Column:
        return name, np.bool_, (len(self.labeling.labels),)

    @override
    def vote_column(self, name: str) -> Column:
        return self.column(name)

    @override
    def vote(self, value: Value) -> npt.NDArray[np.bool_] | None:
        known = [str(part) for part in value if part in self.index]
        return self._flags(known) if known or not value else None

    @override
    def _target(self, known: Sequence[str | Span], whole: bool) -> Target | None:
        return self._flags([str(part) for part in known])

    @override
    def carried(self, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        return np.asarray(targets, np.bool_)

    @override
    def _decided(self, votes: Sequence[Value]) -> Value:
        """Every label that more than half chose, so () is an answer too."""
        chosen = Counter(str(label) for vote in votes for label in vote)
        half = len(votes) / 2
        return tuple(sorted(label for label, n in chosen.items() if n > half or (n == half and label in votes[-1])))

    def _flags(self, labels: Sequence[str]) -> npt.NDArray[np.bool_]:
        row = np.zeros(len(self.index), dtype=np.bool_)
        row[[self.index[label] for label in labels]] = True
        return row
