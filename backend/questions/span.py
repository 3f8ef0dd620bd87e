"""Labelled stretches of the first text field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.models.card import JobKind
from nextlabel.backend.models.label_names import differences
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.spans.probe import SpanProbe
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span, Value

from .base import Column, Question, Target


class Spans(Question):
    """Any number of spans per record. Targets are tuples of Span, and nobody weighs annotators on them."""

    part: ClassVar[type] = Span
    reads_tokens: ClassVar[bool] = True
    votes: ClassVar[bool] = False
    rungs: ClassVar[tuple[JobKind, ...]] = ("spans",)

    @override
    def column(self, name: str) -> Column:
        return name, np.object_, ()

    @override
    def vote_column(self, name: str) -> Column:
        return name, np.int64, ()

    @override
    def vote(self, value: Value) -> None:
        return None

    @override
    def _target(self, known: Sequence[str | Span], whole: bool) -> Target | None:
        return tuple(part for part in known if isinstance(part, Span))

    @override
    def carried(self, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        carried = np.zeros((len(targets), len(self.index)), np.bool_)
        for row, spans in enumerate(targets):
            carried[row, [self.index[span.label] for span in spans]] = True
        return carried

    @override
    def count(self, targets: npt.NDArray[Any]) -> dict[str, int]:
        classes = [self.index[span.label] for spans in targets for span in spans]
        counts = np.bincount(np.array(classes, np.int64), minlength=len(self.index))
        return {label: int(count) for label, count in zip(self.labeling.labels, counts, strict=True)}

    @override
    def head_labels(self, file: Path) -> tuple[tuple[str, ...], bool]:
        return SpanProbe.load(file).labels, False

    @override
    def prior(self, file: Path) -> tuple[Probe | None, str]:
        """A span probe starts anew from what is marked."""
        try:
            known = SpanProbe.load(file).labels
        except LearningError:
            return None, "its head is for whole texts, or can't be read"
        return None, differences(known, self.labeling.labels, several=True, wants_several=True)
