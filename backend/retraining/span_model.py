"""Models for spans: a probe on the vectors of tokens. For what models of whole texts do, see probe_model.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.data.span_examples import longest_apart
from nextlabel.backend.evaluation import wilson_interval
from nextlabel.backend.models.spans.decoding import SpanPrediction
from nextlabel.backend.models.spans.encoder import SpanEncoder, TokenCache, TokenStack, TokenVectors
from nextlabel.backend.models.spans.metrics import all_right, span_f1
from nextlabel.backend.models.spans.probe import SpanProbe
from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.selection import Pool
from nextlabel.backend.selection.evidence import Spans
from nextlabel.backend.serving.batcher import Encode
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling, Span, Suggestion

from .embedding_space import EmbeddingSpace
from .prediction import Prediction
from .probe_model import CachedVectors, Kind, Model

CHUNK = 1024  # texts whose token vectors are in memory together: some 25 MB of short ones


@dataclass(frozen=True, slots=True)
class SpanModel:
    """A probe on token vectors. Fulfils Model."""

    version: str
    probe: SpanProbe
    log_seq: int
    space: EmbeddingSpace

    @property
    def is_blank(self) -> bool:
        """See Model: what spans are, only answers tell."""
        return self.probe.texts == 0

    def view(self, pool: PoolState, candidates: Positions, *, spans: bool = False) -> Pool:
        """See Model. A doubt u in [0, 1] about a text's spans stands as the probabilities 1 - u/2 and u/2.

        So margin and least confidence are u itself, and the entropy grows with it. The doubt is that all spans are
        right, and none is missing: taken a token, as in SpanPrediction.uncertainty, it asks about the shortest texts,
        which teach little (benchmarks/spans_loop.py). Vectors are the means of the tokens' vectors.
        """
        rows, training, cache = pool.rows[candidates], pool.training(), self.space.cache
        if spans:
            found = self._predict(rows)
            doubts = np.array([1 - one.confidence for one in found], np.float32)
        else:
            found, doubts = [], np.ones(len(rows), np.float32)
            for at, stack in self._stacks(rows) if not self.is_blank else ():  # who knows nothing doubts all alike
                doubts[at : at + len(stack)] = self.probe.doubts(stack)
        return Pool(
            probabilities=np.stack([1 - doubts / 2, doubts / 2], axis=1),
            vectors=CachedVectors(cache, rows),
            labelled_vectors=cache.take(pool.rows[training]),
            spans=_evidence(found, self.probe.labels) if spans else None,
        )

    def held_out(self, pool: PoolState, positions: Positions) -> npt.NDArray[np.float32] | None:
        """See Model. Nothing here needs it of spans."""
        return None

    def suggestions(self, pool: PoolState, positions: Positions) -> list[Suggestion]:
        """See Model."""
        return self._suggestions(self._predict(pool.rows[positions]))

    def _suggestions(self, found: list[SpanPrediction]) -> list[Suggestion]:
        return [
            Suggestion(
                tuple(Span(span.start, span.end, span.label) for span in one.spans),
                one.confidence,
                self.version,
                tuple(span.score for span in one.spans),
            )
            for one in found
        ]

    def audit(self, pool: PoolState) -> dict[str, float]:
        """See Model: a text is right if its spans are exactly those of the answer. ``span_f1`` beside it."""
        audited = pool.audited()
        if not len(audited):
            return {}
        found, answers = self._predict(pool.rows[audited]), pool.targets(audited).tolist()
        said = [one.spans for one in found]
        n, right = len(said), int(all_right(said, answers).sum())
        low, high = wilson_interval(right, n)
        f1 = span_f1(said, answers)
        return {"n": n, "accuracy": right / n, "low": low, "high": high, "span_f1": f1}

    @property
    def reader(self) -> Encode:
        """See Model."""
        return Reader(encoder_of(self.space))

    def known(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
        """See Model."""
        return _objects(cache_of(self.space).tokens(rows).texts())

    def judge(self, read: npt.NDArray[Any]) -> list[Prediction]:
        """See Model."""
        return [Prediction(one, {}) for one in self._suggestions(self.probe.predict(read.tolist()))]

    def save(self, path: Path) -> None:
        """See Model."""
        self.probe.save(path)

    def _predict(self, rows: npt.NDArray[np.int64]) -> list[SpanPrediction]:
        return [one for _, stack in self._stacks(rows) for one in self.probe.predict(stack.texts())]

    def _stacks(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, TokenStack]]:
        """The token vectors of the texts in ``rows``, some at a time; and which of them is the first."""
        cache = cache_of(self.space)
        for at in range(0, len(rows), CHUNK):
            yield at, cache.tokens(rows[at : at + CHUNK])


@dataclass(frozen=True, slots=True)
class SpanKind(Kind):
    """Makes SpanModels. Fulfils Kind."""

    labeling: Labeling

    def fit(self, pool: PoolState, version: str, log_seq: int, space: EmbeddingSpace, warm: Model | None) -> SpanModel:
        """See Kind. Of spans of an answer that overlap, the longer is learned."""
        training = pool.training()
        before = warm.probe if isinstance(warm, SpanModel) and warm.space is space else None
        texts = cache_of(space).tokens(pool.rows[training]).texts()
        spans = [longest_apart(value) for value in pool.targets(training)]
        probe = SpanProbe.fit(texts, spans, self.labeling.labels, warm=before)
        return SpanModel(version, probe, log_seq, space)

    @override
    def load(self, path: Path, version: str, log_seq: int, space: EmbeddingSpace) -> SpanModel | None:
        probe = SpanProbe.load(path).aligned(self.labeling.labels)
        if probe is not None and probe.weights.shape[1] not in (0, 3 * space.encoder.dimension):
            raise LearningError(f"it reads other vectors than those of {space.encoder.name}")
        return None if probe is None else SpanModel(version, probe, log_seq, space)

    @override
    def is_for(self, path: Path) -> bool:
        try:
            return SpanProbe.load(path).labels == self.labeling.labels
        except LearningError:
            return False


@dataclass(frozen=True, slots=True)
class Reader:
    """Token vectors of texts for the micro-batcher: an object array, one TokenVectors per text."""

    encoder: SpanEncoder

    def __call__(self, texts: list[str]) -> npt.NDArray[np.object_]:
        """One TokenVectors per text."""
        return _objects(self.encoder.tokens(texts).texts())


def encoder_of(space: EmbeddingSpace) -> SpanEncoder:
    """The encoder of a space that was opened for spans. Raises LearningError for any other."""
    if not isinstance(space.encoder, SpanEncoder):
        raise LearningError(f"{space.encoder.name} makes one vector per text; spans need one for every token")
    return space.encoder


def cache_of(space: EmbeddingSpace) -> TokenCache:
    """The cache of a space that was opened for spans. Raises LearningError for any other."""
    if not isinstance(space.cache, TokenCache):
        raise LearningError(f"the vectors of {space.encoder.name} are kept a text; spans need those of every token")
    return space.cache


def _objects(texts: list[TokenVectors]) -> npt.NDArray[np.object_]:
    found = np.empty(len(texts), np.object_)
    found[:] = texts
    return found


def _evidence(found: list[SpanPrediction], labels: tuple[str, ...]) -> Spans:
    """What is proposed in all texts, as strategies take it."""
    number = {label: index for index, label in enumerate(labels)}
    spans = [(row, number[span.label], span.score) for row, one in enumerate(found) for span in one.spans]
    records, kinds, scores = zip(*spans, strict=True) if spans else ((), (), ())
    return Spans(np.array(records, np.int64), np.array(kinds, np.int64), np.array(scores, np.float32))
