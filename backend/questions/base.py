"""What a kind of question is to whatever learns from its answers.

A new kind is one class like those in ``choice`` and ``span``, named in ``kinds``, and a line in each connector's table
of platform config.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import SOFTMAX, Activation
from nextlabel.backend.models.card import JobKind
from nextlabel.backend.models.probe import Probe
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, Span, Value

Target: TypeAlias = int | npt.NDArray[np.bool_] | tuple[Span, ...]
"""What the answers to one record come to, for a learner: a class, a flag per label, or spans."""

Column: TypeAlias = tuple[str, Any, tuple[int, ...]]
"""Name, dtype and shape of a column of a table."""


class Question(ABC):
    """One project's question.

    ``several``: whether a record may be given any number of labels. ``activation``: how the probabilities that
    strategies see are to be read. ``reads_tokens``: whether its models read a vector
    per token, and not one per text. ``compares``: whether annotators are compared on its answers. ``votes``: whether
    each annotator's answer is kept as a vote. ``rungs``: what may be trained of a text encoder, the cheapest first.
    ``blank``: the target of a record without an answer, None where nothing says that. ``part``: what values consist of.
    """

    part: ClassVar[type] = str

    several: ClassVar[bool] = False
    activation: ClassVar[Activation] = SOFTMAX
    reads_tokens: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    votes: ClassVar[bool] = True
    rungs: ClassVar[tuple[JobKind, ...]] = ("few-shot", "fine-tune")
    blank: ClassVar[int | None] = None

    def __init__(self, labeling: Labeling) -> None:
        self.labeling = labeling
        self.index = {label: number for number, label in enumerate(labeling.labels)}

    # -- answers -> targets ------------------------------------------------------------------------------------------

    @abstractmethod
    def column(self, name: str) -> Column:
        """A column of targets."""

    @abstractmethod
    def vote_column(self, name: str) -> Column:
        """A column of votes."""

    @abstractmethod
    def vote(self, value: Value) -> Any:
        """One annotator's answer as a vote; None where it is none, or nothing that it says is asked."""

    @abstractmethod
    def _target(self, known: Sequence[str | Span], whole: bool) -> Target | None:
        """The target of what is ``known`` of a value; ``whole``: all of it is."""

    def target(self, value: Value | None) -> tuple[Target | None, frozenset[str]]:
        """What ``value`` is to a learner, and its labels that the question lacks.

        None if there is no value, or nothing in it answers the question.
        """
        parts: tuple[str | Span, ...] = value or ()
        labels = [part.label if isinstance(part, Span) else part for part in parts]
        known = [part for part, label in zip(parts, labels, strict=True) if label in self.index]
        unknown = frozenset(label for label in labels if label not in self.index)
        if value is None or (value and not known):
            return None, unknown
        return self._target(known, len(known) == len(labels)), unknown

    def answers(self, one: Annotation) -> bool:
        """Whether an annotation is an answer to this kind of question: it may be from when it was of another kind."""
        return all(isinstance(part, self.part) for part in one.value)

    def consensus(self, annotations: Iterable[Annotation]) -> Value | None:
        """The majority among a record's current answers, or None while nobody has submitted one.

        Skips and deletions don't count. Everyone has one vote: an annotator's newest answer. A tie goes to the newest
        answer, which its author could give knowing the older ones; equal times go to the greater id.
        """
        newest: dict[str, Annotation] = {}
        for one in sorted(annotations, key=lambda one: (one.updated_at, one.id)):
            if one.status is AnnotationStatus.SUBMITTED:
                newest.pop(one.annotator, None)  # keeps the votes in the order of their times
                newest[one.annotator] = one
        votes = [_canonical(one.value) for one in newest.values()]
        return self._decided(votes) if votes else None

    def _decided(self, votes: Sequence[Value]) -> Value:
        """The value given most often."""
        counts = Counter(votes)
        most = max(counts.values())
        return next(vote for vote in reversed(votes) if counts[vote] == most)

    # -- targets -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def carried(self, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """bool [k, c]: which labels the records with these ``targets`` carry."""

    def count(self, targets: npt.NDArray[Any]) -> dict[str, int]:
        """How many of ``targets`` carry each label; spans as often as they come."""
        counts = self.carried(targets).sum(axis=0)
        return {label: int(count) for label, count in zip(self.labeling.labels, counts, strict=True)}

    # -- kept heads --------------------------------------------------------------------------------------------------

    @abstractmethod
    def head_labels(self, file: Path) -> tuple[tuple[str, ...], bool]:
        """The labels of the kept head in ``file``, and whether it was made for several. Raises LearningError."""

    @abstractmethod
    def prior(self, file: Path) -> tuple[Probe | None, str]:
        """What a trained model's head in ``file`` knows of the labels that are asked, and how its own differ from them.

        None where it knows nothing that is asked, or where probes don't start from heads.
        """


def _canonical(value: Value) -> Value:
    """One form for answers that say the same: the order of labels or spans carries no meaning."""
    spans = {part for part in value if isinstance(part, Span)}
    if spans:
        return tuple(sorted(spans, key=lambda span: (span.start, span.end, span.label)))
    return tuple(sorted({part for part in value if isinstance(part, str)}))
