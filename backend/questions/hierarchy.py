"""Suggestions from labels in a tree: the leaf where the model is sure of it, else the parent.

A parent is as probable as its leaves together. From the top down, the likeliest child is taken; below the first level
only while it is more likely than the rest of its parent, that is, while it holds at least SURE of the parent's
probability. This is Chow's rule (On Optimum Recognition Error and Reject Tradeoff, 1970) at every parent, a wrong child
costing 1 and stopping 1 - SURE; that a coarser answer is preferred to a wrong one follows Deng, Krause, Berg and
Fei-Fei (Hedging Your Bets, CVPR 2012), who choose one threshold for the whole tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.hierarchy import Hierarchy, above

SURE = 0.5
"""The share of its parent's probability from which on a child is suggested in its place."""

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is suggested for n records: for each a leaf or a parent.

    ``nodes``: all that could be, the leaves first, in their order. ``node`` int64 [n]: which it is, with its
    ``probability`` float32 [n]. ``leaf`` int64 [n]: the likeliest leaf in it, with its ``leaf_probability``.
    """

    nodes: tuple[str, ...]
    node: Numbers
    probability: Floats
    leaf: Numbers
    leaf_probability: Floats
    members: npt.NDArray[np.bool_]

    @property
    def is_parent(self) -> npt.NDArray[np.bool_]:
        """bool [n]: where a parent is suggested."""
        return np.asarray(self.node >= self.members.shape[0], np.bool_)

    def right(self, targets: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.bool_]:
        """bool [n]: where the leaf of the answer, int64 [n], is what is suggested, or stands below it."""
        return np.asarray(self.members[targets, self.node], np.bool_)


def choose(tree: Hierarchy, probabilities: Floats, sure: float = SURE) -> Chosen:
    """From the probabilities of the leaves, float32 [n, c], rows that sum to 1."""
    nodes = (*tree.labels, *tree.parents)
    number = {node: at for at, node in enumerate(nodes)}
    members = _members(tree, nodes)
    mass = probabilities @ members.astype(np.float32)
    rows = np.arange(len(mass))
    top = np.array([number[node] for node in tree.children()])
    node = top[mass[:, top].argmax(axis=1)]
    for parent in tree.parents:  # each before its own
        below = np.array([number[child] for child in tree.children(parent)])
        at = rows[node == number[parent]]
        best = below[mass[np.ix_(at, below)].argmax(axis=1)]
        goes = mass[at, best] >= sure * mass[at, number[parent]]
        node[at[goes]] = best[goes]
    leaf = np.where(members[:, node].T, probabilities, -1.0).argmax(axis=1)
    return Chosen(nodes, node, mass[rows, node], leaf, probabilities[rows, leaf], members)


def levels(tree: Hierarchy) -> Iterator[tuple[int, list[str], Floats]]:
    """Each level above the leaves: its number, 1 being the top, what stands there, and 0 or 1 [c, k], who is in it."""
    for level in range(1, tree.depth):
        nodes = tree.at(level)
        yield level, nodes, _members(tree, nodes).astype(np.float32)


def parent_counts(tree: Hierarchy, counts: Mapping[str, int], stopped: Mapping[str, int]) -> dict[str, int]:
    """How often each parent was answered: its labels' ``counts``, and answers that ``stopped`` at or below it."""
    return {
        parent: sum(counts.get(tree.labels[at], 0) for at in tree.within(parent))
        + sum(n for label, n in stopped.items() if label == parent or parent in above(label))
        for parent in tree.parents
    }


def _members(tree: Hierarchy, nodes: list[str] | tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """bool [c, k]: which labels are in which of ``nodes``."""
    members = np.zeros((len(tree.labels), len(nodes)), np.bool_)
    for at, node in enumerate(nodes):
        members[tree.within(node), at] = True
    return members
