"""What ``evaluate`` shows of labels in a tree: the parents' figures, and what would be suggested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .common import print_table

if TYPE_CHECKING:
    from nextlabel.backend.evaluation.levels import Tree
    from nextlabel.backend.intervals import Interval


def show_tree(tree: Tree) -> None:
    """Print tables."""
    rows = [
        [f"level {one.level}", name, *_shown(value)]
        for one in tree.levels
        for name, value in (("accuracy", one.accuracy), ("macro-F1", one.macro_f1))
    ]
    if (said := tree.suggested) is not None:
        rows += [
            ["suggested", "right, at the level suggested", *_shown(said.accuracy)],
            ["suggested", "share that is a parent", *_shown(said.parents)],
            ["suggested", "right, if all were leaves", *_shown(said.leaf_accuracy)],
        ]
    print_table(["tree", "figure", "value", "95% interval"], rows, title="labels in a tree, 1 is the top")
    for one in tree.levels:
        print_table(
            ["parent or label", "precision", "recall", "F1", "rows"],
            [[c.label, f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}", f"{c.support:,}"] for c in one.classes],
            title=f"level {one.level}",
        )


def _shown(one: Interval) -> tuple[str, str]:
    return f"{one.mean:.3f}", f"{one.low:.3f} – {one.high:.3f}" if one.told else "too few rows to say"
