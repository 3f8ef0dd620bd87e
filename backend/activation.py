"""How logits become probabilities, and all that follows from it: one label per record, or any number of them.

Labels that exclude each other share a softmax; where each may be given or not, each has a sigmoid. Whoever handles
predictions asks one of the two objects here, :data:`SOFTMAX` and :data:`SIGMOID`, and has no cases of its own.
``predicted`` is floating [n, c] throughout, probabilities; ``targets`` is int64 [n] under a softmax, bool [n, c] under
sigmoids; ``flags`` is bool [n, c] under both, or float [n, c] where the answers themselves are in doubt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.connectors.records import LabelKind

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Flags: TypeAlias = npt.NDArray[np.bool_]
Targets: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.bool_]

THRESHOLD = 0.5  # of a label's probability, where a text may have several
_LEAST = 1e-7  # a probability of 0 has no logarithm
_FIELD = "multi_label"  # what files call it


class Activation(ABC):
    """What the two have in common.

    ``problem_type``: the name that transformers has for it. ``curvature``: Böhning's bound of the loss's second
    derivative (Multinomial Logistic Regression Algorithm, 1992).
    """

    kind: ClassVar[LabelKind]
    several: ClassVar[bool]
    problem_type: ClassVar[str]
    curvature: ClassVar[float]

    def __reduce__(self) -> str:
        return type(self).__name__.upper().lstrip("_")  # copies and other processes have the one object too

    @property
    def header(self) -> dict[str, bool]:
        """How files say which of the two it is; :func:`activation_in` reads it."""
        return {_FIELD: self.several}

    # -- logits ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def probabilities(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits [n, c] to probabilities, in place where it can, without overflow."""

    @abstractmethod
    def of_tensor(self, logits: Any) -> Any:
        """The same for a torch tensor, in a graph that can be traced."""

    @abstractmethod
    def logits(self, predicted: Floats) -> npt.NDArray[np.float32]:
        """Logits float32 [n, c] that give ``predicted``, which is kept off 0 and 1."""

    @abstractmethod
    def leaning(self, said: Mapping[int, float], classes: int, least: float) -> npt.NDArray[np.float32]:
        """Logits float32 [c] of somebody who ``said`` how likely some labels are, none below ``least``.

        0 stands for nothing said. Where labels exclude each other, what is left of 1 goes to the others alike.
        """

    @abstractmethod
    def loss(self, logits: Floats, flags: Floats) -> tuple[Floats, Floats]:
        """Cross-entropy of each row [n, 1] or label [n, c], and its derivative by the logits [n, c]."""

    # -- answers -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def shape(self, rows: int, classes: int) -> tuple[int, ...]:
        """The shape of the targets of so many rows."""

    @abstractmethod
    def flags(self, targets: npt.NDArray[Any], classes: int = 0) -> Flags:
        """``targets`` with a flag per label; without ``classes``, up to the last one that occurs."""

    @abstractmethod
    def in_range(self, targets: npt.NDArray[Any], classes: int) -> bool:
        """Whether targets of the right shape name no label beyond ``classes``."""

    @abstractmethod
    def tells_apart(self, targets: Targets) -> bool:
        """Whether there is anything to learn: of exclusive labels, two at least."""

    # -- predictions -------------------------------------------------------------------------------------------------

    @abstractmethod
    def decide(self, predicted: Floats) -> Targets:
        """What is said, in the form of targets: the likeliest label, or all past one half."""

    def decided(self, predicted: Floats) -> Flags:
        """What is said, a flag per label."""
        return self.flags(self.decide(predicted), predicted.shape[1])

    @abstractmethod
    def right(self, predicted: Floats, targets: Targets) -> Flags:
        """Which rows are right, bool [n]: where a text may have several labels, every one of them has to be."""

    @abstractmethod
    def sureness(self, predicted: Floats) -> Floats:
        """How sure it is: of the likeliest label [n], or of each label [n, c]."""

    @abstractmethod
    def mistake(self, predicted: Floats, targets: Targets) -> Floats:
        """How sure it is of the worst that it says of each row, [n], if that is wrong."""

    @abstractmethod
    def claims(self, predicted: Floats, targets: Targets) -> tuple[Floats, Flags]:
        """All that is claimed with a probability, [k], and whether it is so: of the likeliest labels, or of each."""

    @abstractmethod
    def likelihood(self, predicted: Floats, targets: Targets) -> Floats:
        """The probability that is given to what was answered: [n, 1], or of each label [n, c]."""

    @abstractmethod
    def normalised(self, predicted: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Rows that sum to 1, where they should."""

    @abstractmethod
    def merged(self, predicted: Floats, groups: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probabilities float32 [n, k] of groups of labels, ``groups`` [c, k] being 1 where a label is in one, or 0.

        A label is in one group at most; where labels exclude each other, what is in none goes to the rest in
        proportion.
        """

    @abstractmethod
    def distributions(self, predicted: Floats) -> npt.NDArray[np.float32]:
        """What divergences compare, no 0 in it: rows that sum to 1 [n, c], or yes and no of each label [n, 2 c]."""

    @abstractmethod
    def confusion(self, predicted: Floats, targets: Targets) -> npt.NDArray[np.int64]:
        """Counts [c, c], answers down, predictions across; under sigmoids [c, 2, 2], one such table per label."""

    def curve_columns(self, classes: int) -> list[int]:
        """The labels that have a curve of their own: of two exclusive ones only the second."""
        return list(range(classes))

    # -- answers that may be wrong, a share ``noise`` of them, any other label being as likely -------------------------

    @abstractmethod
    def log_likelihood(self, predicted: Floats, flags: Floats, noise: float) -> Floats:
        """Logarithm of how likely the answers are: [n, 1], or of each label [n, c]."""

    @abstractmethod
    def belief(self, predicted: Floats, flags: Floats, noise: float, trusted: Flags) -> tuple[Floats, Flags]:
        """How likely each label is to be true, given prediction and answer, [n, c]; and which answers it turns down.

        The latter bool [n, 1], or of each label [n, c]. None of the answers [n, c] that are ``trusted`` is.
        """


class _Softmax(Activation):
    kind = LabelKind.SINGLE
    several = False
    problem_type = "single_label_classification"
    curvature = 0.5

    @override
    def probabilities(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return logits

    @override
    def of_tensor(self, logits: Any) -> Any:
        return logits.softmax(-1)

    @override
    def logits(self, predicted: Floats) -> npt.NDArray[np.float32]:
        return np.log(np.clip(predicted.astype(np.float64), _LEAST, 1 - _LEAST)).astype(np.float32)

    @override
    def leaning(self, said: Mapping[int, float], classes: int, least: float) -> npt.NDArray[np.float32]:
        left = max(1.0 - sum(said.values()), 0.0)
        p = np.full(classes, left / max(classes - len(said), 1))
        p[list(said)] = list(said.values())
        logits = np.log(np.maximum(p / p.sum(), least))
        return np.asarray(logits - logits.mean(), np.float32)

    @override
    def loss(self, logits: Floats, flags: Floats) -> tuple[Floats, Floats]:
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        total = odds.sum(axis=1, keepdims=True)
        return np.log(total) - (flags * logits).sum(axis=1, keepdims=True), odds / total - flags

    @override
    def shape(self, rows: int, classes: int) -> tuple[int, ...]:
        return (rows,)

    @override
    def flags(self, targets: npt.NDArray[Any], classes: int = 0) -> Flags:
        columns = classes or int(targets.max(initial=-1)) + 1
        return np.asarray(targets[:, None] == np.arange(columns))

    @override
    def in_range(self, targets: npt.NDArray[Any], classes: int) -> bool:
        return not len(targets) or bool(0 <= targets.min() <= targets.max() < classes)

    @override
    def tells_apart(self, targets: Targets) -> bool:
        return len(np.unique(targets)) > 1

    @override
    def decide(self, predicted: Floats) -> Targets:
        return np.asarray(predicted.argmax(axis=1), np.int64)

    @override
    def right(self, predicted: Floats, targets: Targets) -> Flags:
        return np.asarray(predicted.argmax(axis=1) == targets)

    @override
    def sureness(self, predicted: Floats) -> Floats:
        return np.asarray(predicted.max(axis=1, initial=0.0))

    @override
    def mistake(self, predicted: Floats, targets: Targets) -> Floats:
        return self.sureness(predicted)

    @override
    def claims(self, predicted: Floats, targets: Targets) -> tuple[Floats, Flags]:
        return self.sureness(predicted), self.right(predicted, targets)

    @override
    def likelihood(self, predicted: Floats, targets: Targets) -> Floats:
        return np.asarray(predicted[np.arange(len(predicted)), targets][:, None])

    @override
    def normalised(self, predicted: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(predicted / predicted.sum(axis=1, keepdims=True), np.float32)

    @override
    def merged(self, predicted: Floats, groups: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self.normalised(np.asarray(np.maximum(predicted @ groups, _LEAST), np.float32))

    @override
    def distributions(self, predicted: Floats) -> npt.NDArray[np.float32]:
        return self.normalised(_off_zero(predicted))

    @override
    def confusion(self, predicted: Floats, targets: Targets) -> npt.NDArray[np.int64]:
        classes = predicted.shape[1]
        pairs = targets * classes + predicted.argmax(axis=1)
        return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)

    @override
    def curve_columns(self, classes: int) -> list[int]:
        return [1] if classes == 2 else super().curve_columns(classes)

    @override
    def log_likelihood(self, predicted: Floats, flags: Floats, noise: float) -> Floats:
        said = (1 - noise) * predicted + noise / max(predicted.shape[1] - 1, 1) * (1 - predicted)
        return np.asarray((flags * np.log(said)).sum(axis=1, keepdims=True))

    @override
    def belief(self, predicted: Floats, flags: Floats, noise: float, trusted: Flags) -> tuple[Floats, Flags]:
        belief = predicted * np.where(flags > 0.5, 1 - noise, noise / max(flags.shape[1] - 1, 1))
        belief /= belief.sum(axis=1, keepdims=True)
        turned_down = (belief * flags).sum(axis=1, keepdims=True) < 0.5
        return belief, turned_down & ~trusted.any(axis=1, keepdims=True)


class _Sigmoid(Activation):
    kind = LabelKind.MULTI
    several = True
    problem_type = "multi_label_classification"
    curvature = 0.25

    @override
    def probabilities(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        np.clip(logits, -60, 60, out=logits)
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)

    @override
    def of_tensor(self, logits: Any) -> Any:
        return logits.sigmoid()

    @override
    def logits(self, predicted: Floats) -> npt.NDArray[np.float32]:
        p = np.clip(predicted.astype(np.float64), _LEAST, 1 - _LEAST)
        return np.asarray(np.log(p) - np.log1p(-p), np.float32)

    @override
    def leaning(self, said: Mapping[int, float], classes: int, least: float) -> npt.NDArray[np.float32]:
        found = np.zeros(classes, np.float32)
        p = np.clip(list(said.values()), least, 1 - least)
        found[list(said)] = np.log(p) - np.log1p(-p)
        return found

    @override
    def loss(self, logits: Floats, flags: Floats) -> tuple[Floats, Floats]:
        losses = np.logaddexp(0, logits) - flags * logits
        return losses, 1 / (1 + np.exp(-np.clip(logits, -60, 60))) - flags

    @override
    def shape(self, rows: int, classes: int) -> tuple[int, ...]:
        return rows, classes

    @override
    def flags(self, targets: npt.NDArray[Any], classes: int = 0) -> Flags:
        return np.asarray(targets, np.bool_)

    @override
    def in_range(self, targets: npt.NDArray[Any], classes: int) -> bool:
        return True

    @override
    def tells_apart(self, targets: Targets) -> bool:
        return True

    @override
    def decide(self, predicted: Floats) -> Targets:
        return np.asarray(predicted > THRESHOLD)

    @override
    def right(self, predicted: Floats, targets: Targets) -> Flags:
        return np.asarray(((predicted > THRESHOLD) == targets).all(axis=1))

    @override
    def sureness(self, predicted: Floats) -> Floats:
        return np.maximum(predicted, 1 - predicted)

    @override
    def mistake(self, predicted: Floats, targets: Targets) -> Floats:
        return np.asarray(np.where(targets, 1 - predicted, predicted).max(axis=1, initial=0.0))

    @override
    def claims(self, predicted: Floats, targets: Targets) -> tuple[Floats, Flags]:
        return predicted.ravel(), targets.ravel() != 0

    @override
    def likelihood(self, predicted: Floats, targets: Targets) -> Floats:
        return np.where(targets, predicted, 1 - predicted)

    @override
    def normalised(self, predicted: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return predicted

    @override
    def merged(self, predicted: Floats, groups: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """That any of its labels is given is at least as likely as the likeliest of them is."""
        return np.asarray((predicted[:, :, None] * groups[None]).max(axis=1, initial=0.0), np.float32)

    @override
    def distributions(self, predicted: Floats) -> npt.NDArray[np.float32]:
        clipped = _off_zero(predicted)
        return np.concatenate([clipped, np.maximum(1 - clipped, np.float32(_LEAST))], axis=1)

    @override
    def confusion(self, predicted: Floats, targets: Targets) -> npt.NDArray[np.int64]:
        said, true = self.decided(predicted), self.flags(targets)
        cells = [[(~true & ~said), (~true & said)], [(true & ~said), (true & said)]]
        return np.array([[cell.sum(axis=0) for cell in row] for row in cells], np.int64).transpose(2, 0, 1)

    @override
    def log_likelihood(self, predicted: Floats, flags: Floats, noise: float) -> Floats:
        yes, no = np.where(flags > 0.5, predicted, 1 - predicted), np.where(flags > 0.5, 1 - predicted, predicted)
        return np.asarray(np.log((1 - noise) * yes + noise * no))

    @override
    def belief(self, predicted: Floats, flags: Floats, noise: float, trusted: Flags) -> tuple[Floats, Flags]:
        yes = predicted * np.where(flags > 0.5, 1 - noise, noise)
        no = (1 - predicted) * np.where(flags > 0.5, noise, 1 - noise)
        belief = yes / (yes + no)
        return belief, ((belief > 0.5) != (flags > 0.5)) & ~trusted


SOFTMAX: Activation = _Softmax()
"""Exactly one label per record."""
SIGMOID: Activation = _Sigmoid()
"""Any number of labels per record."""


def activation_of(targets: npt.NDArray[Any]) -> Activation:
    """The one that ``targets`` are for: classes [n], or a flag per label [n, c]."""
    return SIGMOID if targets.ndim == 2 else SOFTMAX


def activation_for(*, several: bool) -> Activation:
    """The one for records that may have several labels, or not."""
    return SIGMOID if several else SOFTMAX


def activation_in(header: Mapping[str, Any]) -> Activation:
    """The one that a file's header names. Raises KeyError if it names none."""
    return activation_for(several=bool(header[_FIELD]))


def _off_zero(predicted: Floats) -> npt.NDArray[np.float32]:
    return np.maximum(np.nan_to_num(np.asarray(predicted, dtype=np.float32)), np.float32(_LEAST))
