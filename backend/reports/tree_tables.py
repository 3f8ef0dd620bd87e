"""Tables of labels in a tree: the parents, level by level, and what would be suggested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nextlabel.backend.evaluation.levels import Tree
from nextlabel.backend.intervals import Interval
from nextlabel.backend.metrics import ClassFigures

from .page import Column, Table, number, span


@dataclass(frozen=True, slots=True)
class TreeTables:
    """``whole``: the figures of all levels; ``levels``: a heading and a table for each; ``says``: what to know."""

    whole: Table
    levels: Sequence[tuple[str, Table]]
    says: str


def tree_tables(tree: Tree, classes: Callable[[Sequence[ClassFigures]], Table]) -> TreeTables:
    """``classes`` makes the table of labels."""
    rows = [
        (f"level {one.level}", name, number(value.mean), span(value, ".3f"))
        for one in tree.levels
        for name, value in (("accuracy", one.accuracy), ("macro-F1", one.macro_f1))
    ]
    says, said = "", tree.suggested
    if said is not None:
        shown: list[tuple[str, Interval]] = [
            ("right, at the level suggested", said.accuracy),
            ("share that is a parent", said.parents),
            ("right, if all were leaves", said.leaf_accuracy),
        ]
        rows += [("suggested", name, number(value.mean), span(value, ".3f")) for name, value in shown]
        says = (
            "Suggested is a label where it holds at least half of its parent's probability, else the parent. Of the "
            f"labels suggested {number(said.on_leaves)} are right, of the parents {number(said.on_parents)}."
        )
    columns = [Column("of", "label"), Column("figure", "label"), Column("value"), Column("interval")]
    return TreeTables(Table(columns, rows), [(f"Level {one.level}", classes(one.classes)) for one in tree.levels], says)
