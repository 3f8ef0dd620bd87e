"""What a model that does not learn is: a question, and what it says of texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.base import Encoder
from nextlabel.backend.models.spans.decoding import ScoredSpan, SpanPrediction
from nextlabel.backend.numeric import as_objects
from nextlabel.backend.questions import Head, Outputs, Prediction, Question, question_of
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import ConfigError

Read: TypeAlias = Callable[[Sequence[Readable]], npt.NDArray[Any]]
"""Contents to an array with one item per content, for the micro-batcher."""


@dataclass(frozen=True, slots=True)
class FrozenModel:
    """``version`` is the name that its suggestions carry, ``question`` what it answers.

    ``read`` makes of contents what ``head`` judges; without a head, what is read are the outputs themselves, as the
    question has them. ``encoder``: what reads, where that is one of ours. ``made_of``: what it was opened from, in
    words. Safe to share between threads.
    """

    version: str
    question: Question
    read: Read
    head: Head | None = None
    encoder: Encoder | None = None
    made_of: str = ""

    def outputs(self, read: npt.NDArray[Any]) -> Outputs:
        """Of what was ``read``: probabilities float32 [n, c], or a SpanPrediction each."""
        return read if self.head is None else self.head.predict_read(read)

    def predictions(self, read: npt.NDArray[Any]) -> list[Prediction]:
        """One prediction for each content of which this was ``read``."""
        return self.question.predictions(self.outputs(read), self.version)

    def renamed(self, names: Mapping[str, str]) -> FrozenModel:
        """The same model with other names for its labels: old -> new. Several may become one, whose chances add up.

        What ``names`` leaves out keeps its name; an empty one drops the label. Where one label excludes the others,
        what a dropped one had goes to the rest in proportion. Raises ConfigError for a label that it does not have, or
        if none is left.
        """
        labels = self.question.labeling.labels
        if unknown := sorted(set(names) - set(labels)):
            raise ConfigError(f"{self.version} has no label {unknown[0]!r}; it has {', '.join(labels)}")
        after = {label: names.get(label, label).strip() for label in labels}
        kept = tuple(dict.fromkeys(filter(None, after.values())))
        if not kept:
            raise ConfigError(f"none of the labels of {self.version} is left: {', '.join(labels)}")
        renaming = _Renaming(self, after, kept)
        question = question_of(replace(self.question.labeling, labels=kept, descriptions={}))
        return replace(self, question=question, read=renaming, head=None)


@dataclass(frozen=True, slots=True)
class _Renaming:
    """Reads with a model and says it in other labels: old -> new, empty if it is left out."""

    model: FrozenModel
    after: Mapping[str, str]
    labels: tuple[str, ...]

    def __call__(self, contents: Sequence[Readable]) -> npt.NDArray[Any]:
        outputs = self.model.outputs(self.model.read(contents))
        if not self.model.question.scores:
            return as_objects([self._spans(one) for one in outputs])
        matrix = np.zeros((len(self.after), len(self.labels)), np.float32)
        for row, new in enumerate(self.after.values()):
            if new:
                matrix[row, self.labels.index(new)] = 1
        return self.model.question.activation.merged(outputs, matrix)

    def _spans(self, one: SpanPrediction) -> SpanPrediction:
        spans = [ScoredSpan(span.start, span.end, self.after[span.label], span.score) for span in one.spans]
        return replace(one, spans=tuple(span for span in spans if span.label))
