"""Figures of labels in a tree, worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.evaluation.crossvalidation import HeldOut, Run
from nextlabel.backend.evaluation.levels import suggested, tree_figures
from nextlabel.connectors.hierarchy import Hierarchy

LABELS = ("a > 1", "a > 2", "a > 3", "b")


def held_out(targets: Any, predicted: Any, labels: tuple[str, ...] = LABELS) -> HeldOut:
    rows = len(targets)
    examples = Examples(tuple(f"text {at}" for at in range(rows)), np.asarray(targets), labels)
    return HeldOut(examples, (Run(0, np.zeros(rows, np.int64), np.asarray(predicted, np.float32), 0.0),), None)


FOUR = held_out(
    [0, 1, 2, 3],
    [
        [0.7, 0.1, 0.1, 0.1],  # the right leaf
        [0.3, 0.2, 0.2, 0.3],  # another leaf, the right parent: a leaf has less than half of it
        [0.5, 0.1, 0.1, 0.3],  # another leaf, and sure of it
        [0.2, 0.2, 0.2, 0.4],  # the wrong parent, no leaf sure
    ],
)


def test_parents_are_as_probable_as_their_leaves_and_measured_level_by_level() -> None:
    tree = tree_figures(FOUR)
    assert tree is not None
    [top] = tree.levels
    assert (top.level, top.accuracy.mean) == (1, 0.75)
    assert [(one.label, one.support) for one in top.classes] == [("a", 3), ("b", 1)]


def test_what_is_suggested_is_right_at_its_level() -> None:
    tree = tree_figures(FOUR)
    assert tree is not None
    said = tree.suggested
    assert said is not None
    assert (said.accuracy.mean, said.parents.mean, said.leaf_accuracy.mean) == (0.5, 0.5, 0.5)
    assert (said.on_leaves, said.on_parents) == (0.5, 0.5)
    always = suggested(FOUR, Hierarchy.of(LABELS), sure=0.0)
    assert always.parents.mean == 0
    assert np.isnan(always.on_parents)
    assert tree.to_json()["suggested"]["accuracy"]["mean"] == pytest.approx(0.5)


def test_labels_side_by_side_have_no_tree() -> None:
    assert tree_figures(held_out([0, 1], np.eye(2), ("a", "b"))) is None


def test_with_several_labels_a_parent_is_given_where_one_of_its_leaves_is() -> None:
    flags = np.array([[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1]], np.bool_)
    tree = tree_figures(held_out(flags, [[0.9, 0.1, 0.1, 0.2], [0.1, 0.1, 0.1, 0.9], [0.1, 0.6, 0.1, 0.9]]))
    assert tree is not None
    assert tree.suggested is None
    [top] = tree.levels
    assert [one.support for one in top.classes] == [2, 2]
    assert top.accuracy.mean == 1


def test_trees_with_more_levels_and_with_one_parent_of_all() -> None:
    deep = held_out([0, 1, 2], np.eye(3), ("a > x > 1", "a > x > 2", "a > y"))
    tree = tree_figures(deep)
    assert tree is not None
    assert [[one.label for one in level.classes] for level in tree.levels] == [["a"], ["a > x", "a > y"]]
    assert [level.accuracy.mean for level in tree.levels] == [1, 1]
