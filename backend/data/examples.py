"""Labelled texts, as everything that trains or evaluates takes them, and folds of them for out-of-fold figures.

Folds are stratified and keep groups whole, and no class needs a minimum size.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Activation, Flags, Targets, activation_of
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError


def read_alike(text: Readable) -> Readable:
    """What is equal for texts that an encoder may not tell apart: case, kinds of space and Unicode forms left aside."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()) if isinstance(text, str) else text


def together(texts: Sequence[Readable], groups: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64] | None:
    """What lies on one side of every split, int64 [n]: copies of a text, and the groups, int64 [n].

    Groups that have a text in common are one, so that no text is predicted by a model that has seen it. None where
    every text may go where it likes.
    """
    first: dict[Readable, int] = {}
    copies = np.array([first.setdefault(read_alike(text), at) for at, text in enumerate(texts)], np.int64)
    if groups is None or not len(texts):
        return copies if len(first) < len(texts) else groups
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, codes = np.unique(groups, return_inverse=True)
    size = len(names) + len(texts)
    links = coo_array((np.ones(len(texts), np.bool_), (codes, len(names) + copies)), shape=(size, size))
    part_of = connected_components(links, directed=False)[1][codes].astype(np.int64)
    return groups if len(np.unique(part_of)) == len(names) else part_of


def assign_folds(
    targets: Targets, folds: int, rng: np.random.Generator, groups: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.int64]:
    """Give every row one of ``folds`` folds, int64 [m], with each class spread as evenly as can be.

    ``targets`` int64 [m], or bool [m, c] for multi-label. Rows with equal ``groups`` [m] (same user, same
    template) share a fold. scikit-learn's splitters do the same but warn or refuse when a class has fewer members
    than there are folds, which is how every labelling project begins.
    """
    size = len(targets)
    if groups is None:
        # Sorted by class and dealt round the table, a class never differs by more than one between folds.
        shuffled = rng.permutation(size)
        order = shuffled[np.argsort(rarest_label(targets)[shuffled], kind="stable")]
        fold_of = np.empty(size, np.int64)
        fold_of[order] = (np.arange(size) + rng.integers(folds)) % folds
        return fold_of
    return _whole_groups(targets, folds, rng, groups)


def rarest_label(targets: Targets) -> npt.NDArray[np.int64]:
    """The rarest label of each row, -1 for none: the one that it matters most to spread."""
    flags = activation_of(targets).flags(targets)
    order = np.argsort(flags.sum(axis=0), kind="stable")
    return np.where(flags.any(axis=1), order[flags[:, order].argmax(axis=1)], -1)


def _whole_groups(
    targets: Targets, folds: int, rng: np.random.Generator, groups: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Greedy: the largest group first, each to the fold where it leaves the class shares most even."""
    flags = activation_of(targets).flags(targets)
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    counts = np.zeros((len(sizes), flags.shape[1] + 1))
    np.add.at(counts, group_of, np.column_stack([flags, np.ones(len(targets))]))
    counts /= np.maximum(counts.sum(axis=0), 1)
    filled = np.zeros((folds, counts.shape[1]))
    fold_of_group = np.empty(len(sizes), np.int64)
    shuffled = rng.permutation(len(sizes))
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        # Adding g to f raises the sum of squares by 2 f.g + g.g: the smallest product is the evenest choice.
        fold = int(np.argmin(filled @ counts[group]))
        fold_of_group[group] = fold
        filled[fold] += counts[group]
    return fold_of_group[group_of]


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts with their answers.

    ``targets`` int64 [n] in [0, len(labels)), or bool [n, len(labels)] for multi-label. ``weights`` float32 [n]: how
    much each counts. ``groups`` int64 [n]: examples of one group (same user, same template) never lie on both sides
    of a split, nor do copies of a text (``together``). Raises LearningError if shapes or values don't fit together.
    """

    texts: tuple[Readable, ...]
    targets: Targets
    labels: tuple[str, ...]
    weights: npt.NDArray[np.float32] | None = None
    groups: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.targets.shape != self.activation.shape(len(self), len(self.labels)):
            raise LearningError(f"{len(self)} texts don't go with targets of shape {list(self.targets.shape)}")
        if not self.activation.in_range(self.targets, len(self.labels)):
            raise LearningError(f"targets must lie in [0, {len(self.labels)})")
        for name, column in (("weights", self.weights), ("groups", self.groups)):
            if column is not None and column.shape != (len(self),):
                raise LearningError(f"{len(self)} texts don't go with {name} of shape {list(column.shape)}")

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def activation(self) -> Activation:
        """Whether a text has one label, or may have several."""
        return activation_of(self.targets)

    @property
    def flags(self) -> Flags:
        """bool [n, len(labels)]: which text has which label."""
        return self.activation.flags(self.targets, len(self.labels))

    @property
    def tells_apart(self) -> bool:
        """Whether there is anything to learn: of exclusive labels, two at least."""
        return self.activation.tells_apart(self.targets)

    def together(self) -> npt.NDArray[np.int64] | None:
        """What lies on one side of every split, int64 [n]: see the function of this name."""
        return together(self.texts, self.groups)

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Examples:
        """Some of the examples, in the order of ``rows``."""
        picked = np.asarray(rows, np.int64)
        return replace(
            self,
            texts=tuple(self.texts[row] for row in picked),
            targets=self.targets[picked],
            weights=None if self.weights is None else self.weights[picked],
            groups=None if self.groups is None else self.groups[picked],
        )
