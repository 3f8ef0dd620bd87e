"""Labels that are places in a tree: ``sexist > threats > incitement`` is a leaf, ``sexist > threats`` its parent.

The parts of a path stand apart by ``" > "``, so ``>50K`` and ``a->b`` are plain labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

SEPARATOR = " > "
"""What stands between a label and the one above it."""


def path_of(label: str) -> tuple[str, ...]:
    """The parts of a label's path, the outermost first; one for a plain label."""
    return tuple(label.split(SEPARATOR))


def joined(path: Sequence[str]) -> str:
    """The label with this path."""
    return SEPARATOR.join(path)


def above(label: str) -> tuple[str, ...]:
    """All that a label stands below, the outermost first."""
    path = path_of(label)
    return tuple(joined(path[:size]) for size in range(1, len(path)))


def chosen(ticked: Sequence[str], *, several: bool) -> tuple[str, ...]:
    """What somebody chose in a tree whose page ticks all below a parent, too, and a parent all below which is ticked.

    Of ``several`` labels, those ticked with nothing below them. Else the one such label; of more the parent that all of
    them are ticked with, and all of them where there is none: that is no choice of one.
    """
    higher = {parent for label in ticked for parent in above(label)}
    lowest = tuple(dict.fromkeys(label for label in ticked if label not in higher))
    if several or len(lowest) < 2:
        return lowest
    shared = [node for node in ticked if all(node in above(label) for label in lowest)]
    return (max(shared, key=len),) if shared else lowest


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The tree that ``labels``, its leaves, stand in. ``parents``: all that they stand below, each before its own.

    Without parents the labels are side by side, and nothing here says anything of them.
    """

    labels: tuple[str, ...]
    parents: tuple[str, ...]

    @classmethod
    def of(cls, labels: Sequence[str]) -> Hierarchy:
        """The tree of ``labels``. Raises ValueError for a path with an empty part, and for a leaf that is a parent."""
        return _hierarchy(tuple(labels))

    @property
    def depth(self) -> int:
        """How many parts the longest path has."""
        return max(len(path_of(label)) for label in self.labels)

    @property
    def nodes(self) -> list[str]:
        """All parents and labels, each before what is below it, in the order of the labels."""
        return list(dict.fromkeys(node for label in self.labels for node in (*above(label), label)))

    def within(self, node: str) -> list[int]:
        """Which of ``labels`` are ``node`` or stand below it."""
        return [at for at, label in enumerate(self.labels) if label == node or node in above(label)]

    def children(self, node: str = "") -> list[str]:
        """What stands directly below a parent, or, without one, at the top: in the order of the labels."""
        size = len(path_of(node)) + 1 if node else 1
        paths = [path_of(self.labels[at]) for at in self.within(node)] if node else list(map(path_of, self.labels))
        return list(dict.fromkeys(joined(path[:size]) for path in paths))

    def at(self, level: int) -> list[str]:
        """All that stands at ``level``, 1 being the top, and the leaves that end above it."""
        return list(dict.fromkeys(joined(path_of(label)[:level]) for label in self.labels))


@lru_cache(maxsize=256)
def _hierarchy(labels: tuple[str, ...]) -> Hierarchy:
    for label in labels:
        path = path_of(label)
        if len(path) > 1 and any(not part.strip(" >") for part in path):
            raise ValueError(
                f"the label {label!r} has an empty part: between two {SEPARATOR!r} a name is expected, as in "
                "'sexist > threats'"
            )
        if len(path) > 1 and any(part != part.strip() or part.startswith("> ") for part in path):
            raise ValueError(f"the label {label!r}: write one space on each side of every '>', and one '>' at a time")
    parents = tuple(dict.fromkeys(parent for label in labels for parent in above(label)))
    if both := [label for label in labels if label in parents]:
        example = next(label for label in labels if both[0] in above(label))
        raise ValueError(
            f"{both[0]!r} is a label and also the parent of {example!r}: records that are {both[0]!r} and none of its "
            f"labels need one of their own, like {joined((both[0], 'other'))!r}"
        )
    return Hierarchy(labels, parents)
