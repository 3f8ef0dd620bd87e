"""The span probe: a linear layer on frozen token vectors, fitted in a second, so that spans are proposed early.

Each unit is read with its neighbours (its own vector between that before and that after it), tags are chosen under
the rules of BIO. The rung below fine-tuning: see benchmarks/spans.py for how far each gets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nextlabel.backend.blas import one_blas_thread
from nextlabel.backend.files import atomic_path
from nextlabel.backend.models.crossfit import fit_linear
from nextlabel.backend.models.probe import by_name
from nextlabel.backend.numeric import unit_rows
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span

from .decoding import SpanPrediction, decode, doubts
from .encoder import TokenStack, TokenVectors
from .tagging import TagSet

Matrix = npt.NDArray[np.float32]
FORMAT = "nextlabel-span-probe-1"
STRENGTH = (
    30.0  # scikit-learn's C, for rows of length 1; found on held-out texts of restaurant8k, 10 and 100 do as well
)
TOLERANCE = 1e-5
MOST = 20_000  # units that it is fitted on, some 2,000 sentences: beyond, fine-tuning is the better use of time


@dataclass(frozen=True, slots=True)
class SpanProbe:
    """A fitted probe. Immutable; safe to share between threads.

    ``weights`` float32 [k, 3 d] for k tags, ``bias`` float32 [k]; ``texts`` it was fitted on.
    """

    weights: Matrix
    bias: Matrix
    tags: TagSet
    texts: int = 0

    @classmethod
    def fit(
        cls,
        vectors: Sequence[TokenVectors],
        spans: Sequence[Sequence[Span]],
        labels: Sequence[str],
        *,
        warm: SpanProbe | None = None,
    ) -> SpanProbe:
        """Fit on texts with their spans, none overlapping (``SpanExamples.without_overlaps``).

        ``warm``: an earlier probe; it saves time and does not change what is found. With no text at all, it says
        nothing of any text. Of many texts, as many are taken as hold 20,000 units, evenly spread over their order.

        Raises LearningError when they don't fit together.
        """
        if len(vectors) != len(spans):
            raise LearningError(f"{len(vectors)} texts don't go with {len(spans)} lists of spans")
        tags = TagSet.of(labels)
        size = sum(len(one.bounds) for one in vectors)
        count = len(vectors) if size <= MOST else max(1, len(vectors) * MOST // size)
        spread = np.linspace(0, len(vectors) - 1, count).round().astype(int).tolist() if vectors else []
        rows = [row for row in spread if len(vectors[row].bounds)]
        if not rows:
            return cls(np.zeros((len(tags), 0), np.float32), np.eye(1, len(tags), dtype=np.float32)[0], tags)
        x = np.concatenate([features(vectors[row].vectors) for row in rows])
        said = np.concatenate([tags.encode(vectors[row].bounds, spans[row])[0] for row in rows])
        start = None
        if warm is not None and (warm.tags, warm.weights.shape[1]) == (tags, x.shape[1]):
            start = np.column_stack([warm.weights, warm.bias]).astype(np.float64)
        with one_blas_thread():
            weights, bias = fit_linear(
                x,
                np.eye(len(tags), dtype=np.float32)[said],
                np.ones(len(x), np.float32),
                strength=STRENGTH,
                start=start,
                tolerance=TOLERANCE,
            )
        return cls(weights.astype(np.float32), bias.astype(np.float32), tags, len(vectors))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels it tells apart."""
        return self.tags.labels

    def aligned(self, labels: Sequence[str]) -> SpanProbe | None:
        """The same probe for ``labels``, whatever their order when it was fitted; None if it knows none of them.

        A tag that it knows keeps its row; one of a new label gets the mean of all rows, which is
        the likeliest only where a tag that is gone was.
        """
        tags = TagSet.of(labels)
        if tags == self.tags:
            return self
        if not set(self.labels) & set(labels):
            return None
        layer = np.column_stack([self.weights, self.bias])
        layer = by_name(layer, self.tags.names, tags.names, layer.mean(axis=0))
        return replace(self, weights=layer[:, :-1].copy(), bias=layer[:, -1].copy(), tags=tags)

    def predict(self, vectors: Sequence[TokenVectors]) -> list[SpanPrediction]:
        """Spans and uncertainty of every text. Raises LearningError for vectors of another encoder."""
        if not vectors:
            return []
        stack = TokenStack.of(vectors, vectors[0].vectors.shape[1])
        return decode(np.split(self.logits(stack), stack.starts[1:-1]), [one.bounds for one in vectors], self.tags)

    def doubts(self, stack: TokenStack) -> Matrix:
        """1 minus the confidence of every text, float32 [n], as ``predict`` has it: what a queue needs of a pool."""
        return doubts(self.logits(stack), stack.starts, self.tags)

    def logits(self, stack: TokenStack) -> Matrix:
        """What is said of every unit, float32 [u, k]. Raises LearningError for vectors of another encoder."""
        width, tags = self.weights.shape[1], len(self.bias)
        out = np.tile(self.bias, (len(stack.bounds), 1))
        if not width or not len(out):
            return out
        size = stack.vectors.shape[1]
        if 3 * size != width:
            raise LearningError(f"the probe takes vectors of {width // 3}, not {size} numbers")
        units = np.asarray(stack.vectors, np.float32)
        with one_blas_thread():
            said = units @ self.weights.reshape(tags, 3, size).transpose(2, 1, 0).reshape(size, 3 * tags)
        before, own, after = said.reshape(-1, 3, tags).transpose(1, 0, 2)
        lengths = np.einsum("ij,ij->i", units, units)
        first, last = np.zeros((2, len(out)), np.bool_)
        held = np.diff(stack.starts) > 0
        first[stack.starts[:-1][held]] = last[stack.starts[1:][held] - 1] = True
        has_before, has_after = np.flatnonzero(~first), np.flatnonzero(~last)
        known, length = own.copy(), lengths.copy()  # as features() has it: before it, itself, after it
        known[has_before] += before[has_before - 1]
        length[has_before] += lengths[has_before - 1]
        known[has_after] += after[has_after + 1]
        length[has_after] += lengths[has_after + 1]
        return np.asarray(out + known / np.maximum(np.sqrt(length), 1e-6)[:, None], np.float32)

    def save(self, path: str | Path) -> None:
        """Write the probe to ``path`` (safetensors, with a JSON header), whole or not at all."""
        from safetensors.numpy import save_file

        header = json.dumps({"format": FORMAT, "tags": self.tags.names, "texts": self.texts})
        with atomic_path(Path(path)) as temporary:
            save_file({"weights": self.weights, "bias": self.bias}, temporary, metadata={"nextlabel": header})

    @classmethod
    def load(cls, path: str | Path) -> SpanProbe:
        """Read what ``save`` wrote. Raises LearningError for anything else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                header = json.loads((file.metadata() or {}).get("nextlabel", "{}"))
                if header.get("format") != FORMAT:
                    raise LearningError(f"{path} is not a span probe of this version ({FORMAT}); delete it and refit")
                tags = TagSet(tuple(header["tags"]))
                return cls(file.get_tensor("weights"), file.get_tensor("bias"), tags, int(header["texts"]))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise LearningError(f"{path} can't be read as a span probe: {error}; delete it and refit") from error


def features(vectors: npt.NDArray[np.floating]) -> Matrix:
    """What a unit is told apart by, float32 [u, 3 d] of length 1: before it, itself, after it."""
    rows = np.pad(np.asarray(vectors, np.float32), ((1, 1), (0, 0)))
    beside = np.concatenate([rows[:-2], rows[1:-1], rows[2:]], axis=1)
    return unit_rows(beside)
