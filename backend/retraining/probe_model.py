"""What the loop asks of a model, whatever the question: to rank, to suggest, to answer requests, to be audited.

Single and multiple labels are a probe on one vector per text (TextModel); spans are a probe on the vectors of a text's
tokens (spans.SpanModel). Here and there is all that tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.evaluation import audit_report
from nextlabel.backend.models.probe import Probe, score_pool
from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.questions import question_of
from nextlabel.backend.selection import Pool
from nextlabel.backend.serving.batcher import Encode
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling, Suggestion

from .embedding_space import EmbeddingSpace
from .prediction import Prediction


class Model(Protocol):
    """A fitted probe: its version, the head of the annotation log that it has seen, and the space it reads."""

    @property
    def version(self) -> str:
        """The name it is kept under."""
        ...

    @property
    def log_seq(self) -> int:
        """It has learned from all answers up to this one."""
        ...

    @property
    def space(self) -> EmbeddingSpace:
        """Where its vectors come from."""
        ...

    @property
    def is_blank(self) -> bool:
        """Whether it knows nothing yet, so that it is not worth writing its suggestions down."""
        ...

    def view(self, pool: PoolState, candidates: Positions, *, spans: bool = False) -> Pool:
        """``candidates`` as a strategy sees them; with ``spans`` also what is proposed in them, if it proposes spans.

        Whatever the question, ``pool.rows`` are rows of the cache of the model's space.
        """
        ...

    def held_out(self, pool: PoolState, positions: Positions) -> npt.NDArray[np.float32] | None:
        """Probabilities [k, c] of answered records, as if it had not learned from them: see EmbeddingSpace.held_out.

        Rows of nan where it can't tell; None if it can for none.
        """
        ...

    def suggestions(self, pool: PoolState, positions: Positions) -> list[Suggestion]:
        """What it suggests for the records at ``positions``, in order."""
        ...

    def audit(self, pool: PoolState) -> dict[str, float]:
        """``accuracy``, ``low``, ``high`` and ``n`` on the answered part of the audit slice; empty while there is none.

        Measured against people's answers, so people's errors count as the model's.
        """
        ...

    @property
    def reader(self) -> Encode:
        """Reads texts for ``judge``: one item per text. Equal for models of one space."""
        ...

    def known(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """What ``reader`` would return for the texts in these rows of the cache."""
        ...

    def judge(self, read: npt.NDArray[Any]) -> list[Prediction]:
        """A prediction for each of the texts that ``reader`` has read."""
        ...

    def save(self, path: Path) -> None:
        """Write it to ``path``, safetensors."""
        ...


class Kind(Protocol):
    """How the models of one kind of question are made."""

    def fit(self, pool: PoolState, version: str, log_seq: int, space: EmbeddingSpace, warm: Model | None) -> Model:
        """A model from all answers in ``pool``; it may have none. Deterministic but for ``warm``, which saves time."""
        ...

    def load(self, path: Path, version: str, log_seq: int, space: EmbeddingSpace) -> Model | None:
        """The model in ``path``, brought to the labels that are asked; None if nothing that it knows is.

        Raises LearningError if it can't be read, or reads other vectors than those of ``space``.
        """
        ...

    def is_for(self, path: Path) -> bool:
        """Whether the model in ``path`` is one for just these labels, as far as that is known."""
        ...


@dataclass(frozen=True, slots=True)
class CachedVectors:
    """Embeddings of candidates, read from the memory-mapped cache only where a strategy asks for them."""

    cache: EmbeddingCache
    rows: npt.NDArray[np.int64]

    def take(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """float32 [k, d] for int64 [k] indices into the candidates."""
        return self.cache.take(self.rows[indices])


@dataclass(frozen=True, slots=True)
class TextModel:
    """A probe on one vector per text. Fulfils Model."""

    version: str
    probe: Probe
    log_seq: int
    space: EmbeddingSpace
    labeling: Labeling

    is_blank = False  # before the first label it knows what the labels are called

    def view(self, pool: PoolState, candidates: Positions, *, spans: bool = False) -> Pool:
        """See Model."""
        rows, training, cache = pool.rows[candidates], pool.training(), self.space.cache
        return Pool(
            probabilities=score_pool(self.probe, cache.matrix, rows),
            vectors=CachedVectors(cache, rows),
            labelled_vectors=cache.take(pool.rows[training]),
            labelled_targets=pool.targets(training),
            activation=question_of(self.labeling).activation,
            labelled_probabilities=score_pool(self.probe, cache.matrix, pool.rows[training]),
        )

    def held_out(self, pool: PoolState, positions: Positions) -> npt.NDArray[np.float32] | None:
        """See Model."""
        return self.space.held_out(self.probe, pool.rows[positions], positions)

    def suggestions(self, pool: PoolState, positions: Positions) -> list[Suggestion]:
        """See Model."""
        return self._suggestions(score_pool(self.probe, self.space.cache.matrix, pool.rows[positions]))

    def _suggestions(self, probabilities: npt.NDArray[np.float32]) -> list[Suggestion]:
        """One suggestion per row of ``probabilities``, float32 [n, c].

        Single: the likeliest label and its probability. Multi: every label past one half, and the mean
        certainty over all labels.
        """
        labels = self.labeling.labels
        if question_of(self.labeling).several:
            chosen = probabilities > 0.5
            scores = np.maximum(probabilities, 1 - probabilities).mean(axis=1)
            values = [tuple(labels[i] for i in np.flatnonzero(row)) for row in chosen]
        else:
            best = probabilities.argmax(axis=1)
            scores = probabilities[np.arange(len(best)), best]
            values = [(labels[i],) for i in best]
        return [Suggestion(value, float(score), self.version) for value, score in zip(values, scores, strict=True)]

    def audit(self, pool: PoolState) -> dict[str, float]:
        """See Model."""
        audited = pool.audited()
        predicted = score_pool(self.probe, self.space.cache.matrix, pool.rows[audited])
        report = audit_report(predicted, pool.targets(audited))
        if not report.n:
            return {}
        return {"n": report.n, "accuracy": report.accuracy, "low": report.low, "high": report.high}

    @property
    def reader(self) -> Encode:
        """See Model."""
        return self.space.served.encode

    def known(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """See Model."""
        return self.space.cache.take(rows)

    def judge(self, read: npt.NDArray[Any]) -> list[Prediction]:
        """See Model."""
        probabilities = self.probe.predict_proba(read)
        return [
            Prediction(suggestion, dict(zip(self.labeling.labels, row, strict=True)))
            for suggestion, row in zip(self._suggestions(probabilities), probabilities.tolist(), strict=True)
        ]

    def save(self, path: Path) -> None:
        """See Model."""
        self.probe.save(path)


@dataclass(frozen=True, slots=True)
class TextKind(Kind):
    """Makes TextModels."""

    labeling: Labeling

    @override
    def fit(self, pool: PoolState, version: str, log_seq: int, space: EmbeddingSpace, warm: Model | None) -> TextModel:
        training = pool.training()
        before = warm.probe if isinstance(warm, TextModel) and warm.space is space else None
        vectors, targets = space.cache.take(pool.rows[training]), pool.learned_targets(training)
        probe = space.fit(vectors, targets, len(self.labeling.labels), warm=before)
        return TextModel(version, replace(probe, names=self.labeling.labels), log_seq, space, self.labeling)

    @override
    def load(self, path: Path, version: str, log_seq: int, space: EmbeddingSpace) -> TextModel | None:
        probe = Probe.load(path).aligned(self.labeling.labels, question_of(self.labeling).activation)
        if probe is not None and probe.weights.shape[1] != space.encoder.dimension:
            raise LearningError(f"it reads vectors of {probe.weights.shape[1]}, not {space.encoder.dimension} numbers")
        return None if probe is None else TextModel(version, probe, log_seq, space, self.labeling)

    @override
    def is_for(self, path: Path) -> bool:
        try:
            probe = Probe.load(path)
        except LearningError:
            return False
        return probe.activation is question_of(self.labeling).activation and probe.names in ((), self.labeling.labels)
