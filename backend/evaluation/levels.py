"""Figures of labels in a tree: of the parents, level by level, and of what would be suggested, leaf or parent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nextlabel.backend.activation import SOFTMAX, Targets
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.intervals import Interval
from nextlabel.backend.metrics import ClassFigures, Predicted, accuracy, class_figures, macro_f1
from nextlabel.backend.numeric import plain
from nextlabel.backend.questions.hierarchy import SURE, choose, levels
from nextlabel.connectors.hierarchy import Hierarchy

from .crossvalidation import HeldOut


@dataclass(frozen=True, slots=True)
class Level:
    """Figures of all that stands at one ``level`` of the tree, 1 being the top; ``classes`` are of the first seed.

    A parent is as probable as its leaves together; of records with several labels, as the likeliest of them.
    """

    level: int
    accuracy: Interval
    macro_f1: Interval
    classes: list[ClassFigures]


@dataclass(frozen=True, slots=True)
class Suggested:
    """What would be suggested, over all seeds: ``accuracy``, the share that is right at the level suggested.

    ``parents``: the share that is a parent; ``leaf_accuracy``: that of suggestions if all were the likeliest leaf;
    ``on_leaves`` and ``on_parents``: of what is suggested at each, the share that is right; nan where nothing is.
    """

    accuracy: Interval
    parents: Interval
    leaf_accuracy: Interval
    on_leaves: float
    on_parents: float


@dataclass(frozen=True, slots=True)
class Tree:
    """All of it. ``suggested`` is None where a record may have several labels: then leaves are suggested."""

    levels: tuple[Level, ...]
    suggested: Suggested | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found: dict[str, Any] = plain(self)
        return found


def tree_figures(found: HeldOut) -> Tree | None:
    """None where the labels stand side by side."""
    tree = Hierarchy.of(found.examples.labels)
    if not tree.parents:
        return None
    measured = tuple(_level(found, level, nodes, members) for level, nodes, members in levels(tree))
    return Tree(measured, suggested(found, tree) if found.examples.activation is SOFTMAX else None)


def _level(found: HeldOut, level: int, nodes: Sequence[str], members: Predicted) -> Level:
    activation = found.examples.activation
    flags = found.examples.flags.astype(np.float32) @ members > 0
    targets: Targets = flags.argmax(axis=1) if activation is SOFTMAX else flags
    merged = _of(found, [activation.merged(one, members) for one in found.predicted], targets, nodes)
    figures = class_figures(merged.runs[0].predicted, targets, nodes)
    return Level(level, merged.interval(accuracy), merged.interval(macro_f1), figures)


def suggested(found: HeldOut, tree: Hierarchy, sure: float = SURE) -> Suggested:
    """What would be suggested of single labels; ``sure``: see ``choose``."""
    answers = np.asarray(found.examples.targets, np.int64)
    chosen = [choose(tree, predicted, sure) for predicted in found.predicted]
    right, parents = [one.right(answers) for one in chosen], [one.is_parent for one in chosen]
    hits, fell = np.concatenate(right), np.concatenate(parents)
    return Suggested(
        accuracy=_share(found, right),
        parents=_share(found, parents),
        leaf_accuracy=found.interval(accuracy),
        on_leaves=_mean(hits[~fell]),
        on_parents=_mean(hits[fell]),
    )


def _of(found: HeldOut, predicted: Sequence[Predicted], targets: Targets, labels: Sequence[str]) -> HeldOut:
    """The same rows with other targets and predictions."""
    examples = Examples(found.examples.texts, targets, tuple(labels), groups=found.examples.groups)
    return replace(found.predicting(predicted), examples=examples)


def _share(found: HeldOut, flags: Sequence[Any]) -> Interval:
    """How often each run's flags, bool [n], are set."""
    predicted = [np.stack([one, ~one], axis=1).astype(np.float32) for one in flags]
    return _of(found, predicted, np.zeros(len(found.examples), np.int64), ("yes", "no")).interval(accuracy)


def _mean(hits: Any) -> float:
    return float(hits.mean()) if len(hits) else float("nan")
