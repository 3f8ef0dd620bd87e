"""What others than the head say of records, and how far they are believed beside it.

A *suggester* is a model or a rule that a team has (see ``suggesters``). What it says of a record is a
:class:`Proposal`. Beside the head it is one more *voice*: before the first answer the voices decide; later each counts
for as much as answers that neither it nor the head has seen say, and for nothing where these say so. What that means,
each kind of question knows, by its :class:`Voicing`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.intervals import wilson_interval
from nextlabel.backend.models.spans.decoding import ScoredSpan

from .outputs import Matrix, Outputs, View

ASSUMED = 0.7
"""How likely a suggestion is right that comes without a probability, as long as no answer tells."""
LEAST = 20
"""Answers from which on the head is heard as it does on records that it has not seen; below, it has too few."""
FOLDS = 5
MOST = 500
"""Answers at most by which voices are weighed: a handful of weights gets no better by more."""
GROWTH = 0.1
"""Of the answers, after which voices are weighed anew."""

Block: TypeAlias = npt.NDArray[Any]
"""What the voices say of some records, in the order of their names: as the question keeps it."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a suggester says of one record, in labels of the question.

    ``probabilities``: label -> how likely it is, in (0, 1]; of a label that is left out it says nothing. ``marks``:
    stretches of the first text field. One that says nothing at all of a record has no proposal.
    """

    probabilities: Mapping[str, float] = field(default_factory=dict)
    marks: tuple[ScoredSpan, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.probabilities or self.marks)

    def to_json(self) -> list[Any]:
        """Plain values."""
        return [dict(self.probabilities), [[one.start, one.end, one.label, one.score] for one in self.marks]]

    @classmethod
    def from_json(cls, written: Sequence[Any]) -> Proposal:
        """What ``to_json`` made."""
        return cls(written[0], tuple(ScoredSpan(*one) for one in written[1]))


@dataclass(frozen=True, slots=True)
class Weights:
    """How much the head counts beside the voices, and each voice; where no voice says anything, the head is alone.

    ``answers``: how many answers told; 0 before the first, where the voices decide. ``gain``: by how much log loss an
    answer (or F1, for spans) that neither has seen is told better by both than by the head alone; None if not known.
    """

    head: float = 1.0
    voices: Mapping[str, float] = field(default_factory=dict)
    answers: int = 0
    gain: float | None = None

    @property
    def speak(self) -> bool:
        """Whether any voice counts."""
        return any(weight > 0 for weight in self.voices.values())

    def row(self, names: Iterable[str]) -> npt.NDArray[np.float32]:
        """float32 [s]: the weights of these voices."""
        return np.array([self.voices.get(name, 0.0) for name in names], np.float32)

    def is_fresh(self, names: Iterable[str], answers: int) -> bool:
        """Whether they are still good for ``answers`` answers and these voices."""
        grown = abs(answers - self.answers) > GROWTH * self.answers
        return self.answers > 0 and not grown and set(self.voices) == set(names)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"head": self.head, "voices": dict(self.voices), "answers": self.answers, "gain": self.gain}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Weights:
        """What ``to_json`` made."""
        return cls(written["head"], dict(written["voices"]), written["answers"], written["gain"])


@dataclass(frozen=True, slots=True)
class Agreeing:
    """How often people say what a suggester says: ``right`` of the ``proposed`` labels (or marks) on ``said`` records.

    ``answered``: on how many records there is an answer.
    """

    answered: int
    said: int
    proposed: int
    right: int

    def to_json(self) -> dict[str, float]:
        """Plain values: ``accuracy`` with its 95% interval (Wilson) where anything was proposed, and the counts."""
        counts: dict[str, float] = {"answered": self.answered, "said": self.said, "n": self.proposed}
        if not self.proposed:
            return counts
        low, high = wilson_interval(self.right, self.proposed)
        return {"accuracy": self.right / self.proposed, "low": low, "high": high, **counts}


class Voices:
    """What each suggester says of the records of a pool, by position; ``form`` makes what is kept of a proposal.

    Memory: what ``form`` makes, for each record that something is said of. Belongs to one thread.
    """

    def __init__(self, names: Sequence[str], column: npt.DTypeLike, shape: tuple[int, ...]) -> None:
        self.names = tuple(names)
        self._dtype, self._shape = np.dtype(column), shape
        self._rows = {name: np.empty((0, *shape), self._dtype) for name in self.names}
        # position -> row; -1 nothing, -2 not asked
        self._at: dict[str, npt.NDArray[np.int64]] = {name: np.empty(0, np.int64) for name in self.names}
        self._used = dict.fromkeys(self.names, 0)

    def note(self, name: str, positions: Sequence[int], formed: Sequence[Any]) -> None:
        """What ``name`` says of these records, as the question forms it; None for nothing."""
        at = self._reserved(name, max(positions, default=-1) + 1)
        for position, one in zip(positions, formed, strict=True):
            if one is None:
                at[position] = -1
                continue
            if at[position] < 0:
                at[position] = self._used[name]
                self._used[name] += 1
            self._put(name, int(at[position]), one)

    def forget(self, positions: Iterable[int]) -> None:
        """These records say something else now: nobody has been asked about them."""
        for at in self._at.values():
            for position in positions:
                if position < len(at):
                    at[position] = -2

    def block(self, positions: npt.NDArray[np.int64]) -> Block:
        """[k, s, ...]: what the voices say of these records; what stands for nothing where they say nothing."""
        found = np.zeros((len(positions), len(self.names), *self._shape), self._dtype)
        if self._dtype == np.object_:
            found[:] = None
        for number, name in enumerate(self.names):
            rows = self.places(name, positions)
            found[rows >= 0, number] = self._rows[name][rows[rows >= 0]]
        return found

    def places(self, name: str, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """int64 [k]: not negative where ``name`` says something; -1 where nothing, -2 where it was not asked."""
        at = self._at[name]
        found = np.full(len(positions), -2, np.int64)
        known = positions < len(at)
        found[known] = at[positions[known]]
        return found

    def _reserved(self, name: str, size: int) -> npt.NDArray[np.int64]:
        at = self._at[name]
        if size > len(at):
            self._at[name] = np.concatenate([at, np.full(max(size, 2 * len(at)) - len(at), -2, np.int64)])
        return self._at[name]

    def _put(self, name: str, row: int, one: Any) -> None:
        rows = self._rows[name]
        if row >= len(rows):
            more = np.empty((max(1024, len(rows)), *self._shape), self._dtype)
            self._rows[name] = rows = np.concatenate([rows, more])
        rows[row] = one


class Voicing(ABC):
    """How one question hears voices. ``names`` are those of the voices, in the order of a block."""

    @abstractmethod
    def voices(self, names: Sequence[str]) -> Voices:
        """Room for what suggesters of these ``names`` say of a pool's records."""

    @abstractmethod
    def formed(self, proposal: Proposal | None) -> Any:
        """``proposal`` as voices keep it; None where nothing in it answers the question."""

    def block(self, names: Sequence[str], proposals: Sequence[Mapping[str, Proposal | None]]) -> Block:
        """What voices say of some records, as Voices.block has it: for each record, name -> proposal."""
        voices, at = self.voices(names), range(len(proposals))
        for name in names:
            voices.note(name, at, [self.formed(one.get(name)) for one in proposals])
        return voices.block(np.arange(len(proposals)))

    @abstractmethod
    def joined(self, outputs: Outputs, block: Block, weights: Weights, names: Sequence[str]) -> Outputs:
        """What head and voices say together; ``outputs`` is the head's alone, ``block`` what the voices say."""

    @abstractmethod
    def joined_view(self, view: View, block: Block, weights: Weights, names: Sequence[str]) -> View:
        """The same of records as a strategy sees them."""

    @abstractmethod
    def weighed(
        self,
        block: Block,
        targets: npt.NDArray[Any],
        names: Sequence[str],
        held_out: Matrix | None,
        crossed: Callable[[npt.NDArray[np.int64]], Outputs],
    ) -> Weights:
        """What head and voices count, by answers to records of which the voices say ``block``.

        ``held_out`` [m, c]: what the head says that has not seen them; rows of nan, or None, where it can't tell.
        ``crossed`` finds that out for some of the rows by fitting heads anew, for kinds whose heads can't tell.
        """

    @abstractmethod
    def agreeing(self, block: Block, targets: npt.NDArray[Any]) -> list[Agreeing]:
        """How often answers say what each voice says."""


def evenly(rows: int, most: int = MOST) -> npt.NDArray[np.int64]:
    """int64: at most ``most`` of so many rows, evenly spread."""
    return np.linspace(0, rows - 1, min(rows, most)).astype(np.int64)
