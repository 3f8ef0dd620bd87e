"""What a loop needs to learn spans: fit on texts with spans, predict spans and uncertainty. Nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.spans.decoding import SpanPrediction
from nextlabel.backend.learning.spans.examples import SpanExamples
from nextlabel.backend.learning.spans.model import SpanModel
from nextlabel.backend.learning.spans.probe import SpanProbe
from nextlabel.backend.learning.spans.token_vectors import TokenEncoder
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span

Proposals = tuple[list[SpanPrediction], npt.NDArray[np.float32]]


class SpanFinder(Protocol):
    """Finds spans: a fitted SpanLearner, or a fine-tuned model behind ``FineTunedSpans``."""

    def predict(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> Proposals:
        """Spans per text, and the uncertainty of each text in [0, 1], float32 [n]: which to ask about next."""
        ...


class SpanLearner:
    """Refits a span probe after every answer. A refit starts from the last one, and texts are encoded once."""

    def __init__(self, encoder: TokenEncoder) -> None:
        self._encoder = encoder
        self.probe: SpanProbe | None = None

    def fit(
        self,
        texts: Sequence[str],
        spans: Sequence[Sequence[Span]],
        labels: Sequence[str],
        contexts: Sequence[str] | None = None,
    ) -> None:
        """Learn from all the answers so far. Of spans that overlap, the longer is learned. Raises LearningError."""
        beside = None if contexts is None else tuple(contexts)
        examples = SpanExamples(tuple(texts), tuple(map(tuple, spans)), tuple(labels), beside)
        apart, _ = examples.without_overlaps()
        vectors = self._encoder.encode(apart.texts, apart.contexts)
        self.probe = SpanProbe.fit(vectors, apart.spans, apart.labels, warm=self.probe)

    def predict(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> Proposals:
        """See SpanFinder. Raises LearningError before the first fit."""
        if self.probe is None:
            raise LearningError("the span probe has not been fitted yet")
        return _proposals(self.probe.predict(self._encoder.encode(texts, contexts)))


class FineTunedSpans:
    """A fine-tuned model as a SpanFinder."""

    def __init__(self, model: SpanModel) -> None:
        self._model = model

    def predict(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> Proposals:
        """See SpanFinder."""
        return _proposals(self._model.predict(texts, contexts))


def _proposals(found: list[SpanPrediction]) -> Proposals:
    return found, np.array([one.uncertainty for one in found], np.float32)
