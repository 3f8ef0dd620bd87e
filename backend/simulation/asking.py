"""Who answers next about each record, what was answered so far, and what that comes to.

A question reveals one more answer to a record, of somebody who has not answered it: in the order of the file, or in
one that the seed draws. All strategies of a seed get the answers to a record in the same order.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.annotators.consensus import agree
from nextlabel.backend.annotators.opinions import Opinions
from nextlabel.backend.models.probe import Probe
from nextlabel.connectors.errors import LearningError

from .arms import Arm
from .data import NO_ANSWER, Material

Rows = npt.NDArray[np.int64]
Order: TypeAlias = Literal["seed", "file"]


def in_turn(material: Material, order: Order, rng: np.random.Generator) -> tuple[npt.NDArray[Any], Rows | None]:
    """The answers as they will come, like ``Material.answers`` and ``people``: the first to be asked comes first."""
    answers, people = material.answers, material.people
    if answers.ndim > 2 or order == "file":
        return answers, people
    luck = rng.random(answers.shape)
    turn = np.argsort(np.where(answers == NO_ANSWER, 2.0, luck), axis=1, kind="stable")
    return (
        np.take_along_axis(answers, turn, axis=1),
        None if people is None else np.take_along_axis(people, turn, axis=1),
    )


class Asking:
    """The records that were asked about, in their order, and the answers to each.

    ``answers`` int64 [n, a] (or bool [n, 1, c]) and ``people`` int64 [n, a] in the order in which they come, ``most``
    answers to a record at most.
    """

    def __init__(self, answers: npt.NDArray[Any], people: Rows | None, classes: int, most: int | None = None) -> None:
        self._answers, self._people, self._classes = answers, people, classes
        has = np.ones(len(answers), np.int64) if people is None else (answers != NO_ANSWER).sum(axis=1)
        self.most = has if most is None else np.minimum(has, most)
        """int64 [n]: how many answers each record gets at most."""
        self.given: Rows = np.zeros(len(answers), np.int64)
        """int64 [n]: answers so far."""
        self.answered: Rows = np.empty(0, np.int64)
        """int64 [m]: the records with an answer, in the order in which they were first asked about."""

    @property
    def again(self) -> bool:
        """Whether any record can be asked about a second time."""
        return bool((self.most > 1).any())

    def ask(self, records: Rows) -> None:
        """One more answer for each of ``records``, int64. Raises LearningError where nobody is left to be asked."""
        self.answered = np.concatenate([self.answered, *_firsts(records[self.given[records] == 0])])
        np.add.at(self.given, records, 1)
        if (self.given > self.most).any():
            raise LearningError("a record was asked about more often than there are answers to it")

    def opinions(self, records: Rows) -> Opinions:
        """The answers so far about distinct ``records`` int64 [k], numbered as they stand there."""
        if self._people is None:
            raise LearningError("nobody knows who gave these answers")
        row, turn = np.nonzero(np.arange(self._answers.shape[1]) < self.given[records][:, None])
        who, label = self._people[records[row], turn], self._answers[records[row], turn]
        names = tuple(f"{number}" for number in range(int(self._people.max()) + 1))
        labels = tuple(f"{number}" for number in range(self._classes))
        return Opinions(row, np.asarray(who, np.int64), np.asarray(label, np.int64), len(records), names, labels)

    def majority(self) -> npt.NDArray[Any]:
        """int64 [m], or bool [m, c]: what most said of ``answered``; of a tie, the newest answer, as in the loop."""
        return majority_in_turn(self._answers[self.answered], self.given[self.answered], self._classes)


def _firsts(records: Rows) -> list[Rows]:
    """Each of ``records`` once, where it comes first."""
    return [records[np.sort(np.unique(records, return_index=True)[1])]]


def majority_in_turn(answers: npt.NDArray[Any], given: Rows, classes: int) -> npt.NDArray[Any]:
    """The label given most often in the first ``given`` int64 [m] of ``answers`` int64 [m, a]; of a tie, the newest.

    Answers with several labels, bool [m, 1, c], are as they are.
    """
    if answers.ndim > 2:
        return np.array(answers[:, 0], np.bool_)
    turns, rows = np.arange(answers.shape[1]), np.arange(len(answers))
    counts = np.zeros((len(answers), classes), np.int64)
    row, turn = np.nonzero(turns < given[:, None])
    np.add.at(counts, (row, answers[row, turn]), 1)
    most, found = counts.max(axis=1, initial=0), np.full(len(answers), NO_ANSWER, np.int64)
    for at in turns:
        label = np.asarray(answers[:, at], np.int64)
        wins = (at < given) & (counts[rows, label] == most)
        found[wins] = label[wins]
    return found


def settled(arm: Arm, asking: Asking, vectors: npt.NDArray[Any], first: Probe | None) -> npt.NDArray[Any]:
    """What the model learns of ``asking.answered``: int64 [m], bool [m, c], or float64 [m, c] where the arm is soft.

    As the loop settles it: by the majority until some record has a second answer. ``first``: a probe on the majority's
    labels of these records, ``vectors`` [m, d], whose held-out predictions go into the consensus; None where there is
    none to trust.
    """
    majority = asking.majority()
    if (arm.consensus == "majority" and not arm.soft) or not (asking.given > 1).any():
        return majority
    predicted = None if first is None else first.held_out_proba(vectors)
    said = agree(
        asking.opinions(asking.answered), arm.consensus, None if predicted is None else predicted.astype(np.float64)
    )
    if arm.soft:
        return said.probabilities
    return majority if arm.consensus == "majority" else said.labels
