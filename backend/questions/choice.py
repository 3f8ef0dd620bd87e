"""One label per record, or any number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.activation import SIGMOID, Activation
from nextlabel.backend.annotators.label_errors import LabelErrors, of_several, of_single
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import Encoder, EncoderSpec
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load
from nextlabel.backend.models.card import ModelCard, data_hash, label_counts
from nextlabel.backend.models.crossfit import NOISE
from nextlabel.backend.models.probe import Probe, differences, score_pool
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.hierarchy import above, joined, path_of
from nextlabel.connectors.records import Span, Suggestion, Value

from .base import Column, Prediction, Question, Target, as_json
from .head import Head, Space
from .hierarchy import choose, levels
from .outputs import Flags, Matrix, Outputs, Rows, View
from .stacking import Stacking

LEAST_A_LABEL = 2
"""Answers that two labels at least must have, one to train on and one to spare."""


@dataclass(frozen=True, slots=True)
class ChoiceHead(Head):
    """A probe on one vector per text. Before the first label it knows what the labels are called."""

    probe: Probe

    @override
    def predict(self, cache: EmbeddingCache, rows: Rows) -> Matrix:
        return score_pool(self.probe, cache.matrix, rows)

    @override
    def predict_read(self, read: npt.NDArray[Any]) -> Matrix:
        return self.probe.predict_proba(read)

    @override
    def view(self, cache: EmbeddingCache, rows: Rows, *, spans: bool) -> View:
        return View(self.predict(cache, rows))

    @override
    def held_out(self, cache: EmbeddingCache, rows: Rows) -> Matrix | None:
        return self.probe.held_out_proba(cache.take(rows))

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        return self.probe.names

    @property
    @override
    def several(self) -> bool:
        return self.probe.activation.several

    @override
    def aligned(self, labels: tuple[str, ...], activation: Activation) -> ChoiceHead | None:
        probe = self.probe.aligned(labels, activation)
        return None if probe is None else ChoiceHead(probe)

    @override
    def fault(self, encoder: Encoder) -> str:
        width = self.probe.weights.shape[1]
        return "" if width == encoder.dimension else f"it reads vectors of {width}, not {encoder.dimension} numbers"

    @override
    def save(self, path: Path) -> None:
        self.probe.save(path)


class Choice(Question):
    """Labels of whole records. What is predicted of them is float32 [n, c], the probability of every label."""

    @override
    def value_of(self, target: Any) -> Value:
        flags = self.carried(np.asarray(target)[None])[0]
        return tuple(self.labeling.labels[at] for at in np.flatnonzero(flags))

    @override
    def carried(self, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        return self.activation.flags(targets, len(self.index))

    @override
    def right(self, outputs: Outputs, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        return self.activation.right(outputs, targets)

    @override
    def too_few(self, targets: npt.NDArray[Any]) -> str:
        if sum(count >= LEAST_A_LABEL for count in self.count(targets).values()) >= min(2, len(self.index)):
            return ""
        return f"two labels with {LEAST_A_LABEL} answers each are needed before anything can be trained"

    @override
    def examples(self, texts: Sequence[Readable], targets: npt.NDArray[Any]) -> Examples:
        return Examples(tuple(texts), targets, self.labeling.labels)

    @override
    def noted(self, card: ModelCard, examples: Examples, head: Path) -> ModelCard:
        return replace(
            card,
            activation=examples.activation,
            data_hash=data_hash(examples),
            counts=label_counts(examples),
            temperature=Probe.load(head).temperature,
        )

    @override
    def load_encoder(self, spec: EncoderSpec, threads: int | None = None) -> Encoder:
        return load(spec, threads=threads)

    @override
    def open_cache(self, folder: Path, encoder: Encoder) -> EmbeddingCache:
        return EmbeddingCache.open(folder, encoder)

    @override
    def read(self, cache: EmbeddingCache, rows: Rows) -> Matrix:
        return cache.take(rows)

    @override
    def reader(self, encoder: Encoder) -> Callable[[Sequence[Readable]], Matrix]:
        return encoder.encode

    @override
    def fit(
        self,
        space: Space,
        rows: Rows,
        targets: npt.NDArray[Any],
        warm: Head | None = None,
        settled: Flags | None = None,
    ) -> ChoiceHead:
        before = warm.probe if isinstance(warm, ChoiceHead) else None
        probe = space.fit(space.cache.take(rows), targets, len(self.index), warm=before, settled=settled)
        return ChoiceHead(replace(probe, names=self.labeling.labels))

    @override
    def read_head(self, path: Path) -> ChoiceHead:
        return ChoiceHead(Probe.load(path))

    @override
    def suggestions(self, outputs: Outputs, version: str) -> list[Suggestion]:
        """The likeliest label and its probability; or every label past one half, and the mean certainty over all."""
        labels, chosen = self.labeling.labels, self.activation.decided(outputs)
        sure = self.activation.sureness(outputs)
        scores = sure.mean(axis=tuple(range(1, sure.ndim)))
        return [
            Suggestion(tuple(labels[i] for i in np.flatnonzero(flags)), float(score), version)
            for flags, score in zip(chosen, scores, strict=True)
        ]

    @override
    def predictions(self, outputs: Outputs, version: str) -> list[Prediction]:
        rows = (dict(zip(self.labeling.labels, row, strict=True)) for row in outputs.tolist())
        return [Prediction(*one) for one in zip(self.suggestions(outputs, version), rows, strict=True)]

    @override
    def evidence(self, head: Head, cache: EmbeddingCache, rows: Rows) -> Matrix:
        return np.asarray(head.predict(cache, rows), np.float32)

    @override
    def proposed(self, evidence: Outputs) -> list[Value]:
        flags, labels = self.activation.decided(np.asarray(evidence, np.float32)), self.labeling.labels
        return [tuple(labels[at] for at in np.flatnonzero(row)) for row in flags]

    @property
    @override
    def voicing(self) -> Stacking:
        return Stacking(self.labeling.labels, self.activation)

    @override
    def prior(self, file: Path) -> tuple[Probe | None, str]:
        try:
            head = self.read_head(file)
        except LearningError:
            return None, "its head is for spans, or can't be read"
        wanted = self.labeling.labels
        note = differences(head.labels, wanted, several=head.several, wants_several=self.activation.several)
        prior = head.aligned(self.labeling.labels, self.activation)
        return (prior.probe, note) if prior is not None else (None, f"{note}; its head is not used, its encoder is")


class SingleChoice(Choice):
    """Exactly one label per record. Targets are classes, -1 without an answer."""

    compares: ClassVar[bool] = True

    @override
    def suggestions(self, outputs: Outputs, version: str) -> list[Suggestion]:
        """The likeliest label and its probability; of labels in a tree, a parent where none of its labels is sure.

        See ``hierarchy``.
        """
        tree = self.labeling.tree
        if not tree.parents:
            return super().suggestions(outputs, version)
        found = choose(tree, outputs)
        leaves = zip(found.leaf.tolist(), found.leaf_probability.tolist(), found.is_parent.tolist(), strict=True)
        return [
            Suggestion((found.nodes[at],), score, version, leaf=(tree.labels[leaf], own) if is_parent else None)
            for at, score, (leaf, own, is_parent) in zip(
                found.node.tolist(), found.probability.tolist(), leaves, strict=True
            )
        ]

    @override
    def figures(self, outputs: Outputs, targets: npt.NDArray[Any]) -> dict[str, float]:
        """Of labels in a tree: how often the parent is right, level by level, and what is suggested.

        ``level_1_accuracy`` is that of the top; ``suggested_accuracy`` of what is suggested, leaf or parent, and
        ``suggested_parents`` the share of these.
        """
        tree = self.labeling.tree
        if not tree.parents or not len(targets):
            return {}
        found = {}
        for level, _, members in levels(tree):
            node_of = members.argmax(axis=1)
            right = self.activation.merged(outputs, members).argmax(axis=1) == node_of[targets]
            found[f"level_{level}_accuracy"] = float(right.mean())
        chosen = choose(tree, outputs)
        found["suggested_accuracy"] = float(chosen.right(targets).mean())
        found["suggested_parents"] = float(chosen.is_parent.mean())
        return found

    @override
    def _decided(self, votes: Sequence[Value]) -> Value:
        """Of labels in a tree the majority at the top, then of those who chose it the majority below, and so on.

        Who stops at a parent is for it, and has no vote on its labels.
        """
        if not self.labeling.tree.parents or not all(len(vote) == 1 for vote in votes):
            return super()._decided(votes)
        node: tuple[str, ...] = ()
        while True:
            paths = [path_of(str(vote[0])) for vote in votes]
            finer = [path[: len(node) + 1] for path in paths if path[: len(node)] == node and len(path) > len(node)]
            if not finer:
                return (joined(node),)
            counts = Counter(finer)
            node = next(one for one in reversed(finer) if counts[one] == max(counts.values()))

    @override
    def _alike(self, one: Value, other: Value) -> float:
        """Who stops at a parent says nothing against what another found below it."""
        if len(one) != 1 or len(other) != 1 or not self.labeling.tree.parents:
            return super()._alike(one, other)
        first, second = str(one[0]), str(other[0])
        return float(first == second or first in above(second) or second in above(first))

    @override
    def exported(self, cell: Sequence[Any] | None, *, known: bool = False) -> Any:
        """Its label."""
        found = super().exported(cell, known=known)
        return found[0] if found else None

    @override
    def feature(self, label: Any) -> Any:
        return label

    @override
    def doubts(self, outputs: Outputs, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        flags = self.carried(targets)
        _, doubted = self.activation.belief(outputs, flags.astype(np.float32), NOISE, trusted=np.zeros_like(flags))
        return np.asarray(doubted.any(axis=1), np.bool_)

    @override
    def label_errors(self, evidence: Outputs, targets: npt.NDArray[Any]) -> LabelErrors:
        return of_single(evidence, targets)

    @override
    def in_a_cell(self, value: Value) -> Any:
        """The label; a list where an old answer has none, or several."""
        return value[0] if len(value) == 1 else as_json(value)

    blank: ClassVar[int | None] = -1

    @override
    def column(self, name: str) -> Column:
        return name, np.int64, ()

    @override
    def vote(self, value: Value) -> int | None:
        return self.index.get(str(value[0])) if len(value) == 1 else None

    @override
    def fault(self, value: Value, text: str) -> str:
        return "" if value else "it names no label"

    @override
    def _target(self, known: Sequence[str | Span], whole: bool) -> Target | None:
        return self.index[str(known[0])] if len(known) == 1 and whole else None


class MultiChoice(Choice):
    """Any number of labels per record. Targets are a flag per label."""

    activation: ClassVar[Activation] = SIGMOID

    @override
    def label_errors(self, evidence: Outputs, targets: npt.NDArray[Any]) -> LabelErrors:
        return of_several(evidence, targets)

    @override
    def column(self, name: str) -> Column:
        return name, np.bool_, (len(self.labeling.labels),)

    @override
    def vote(self, value: Value) -> npt.NDArray[np.bool_] | None:
        known = [str(part) for part in value if part in self.index]
        if self.parents_in(value):
            return None
        return self._flags(known) if known or not value else None

    @override
    def _target(self, known: Sequence[str | Span], whole: bool) -> Target | None:
        return self._flags([str(part) for part in known])

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
