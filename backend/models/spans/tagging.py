"""From spans to a tag for every unit of a text, and back (BIO: Ramshaw & Marcus, 1995; BILOU: Ratinov & Roth, 2009).

A unit is a stretch of characters that a token stands for; see tokens.py. Spans are snapped to units: a unit that a
span touches belongs to it as a whole, and white space at a span's ends falls away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span

Scheme: TypeAlias = Literal["bio", "bilou"]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

OUTSIDE = "O"
_ALIASES = {"E": "L", "S": "U"}  # BIOES is BILOU in other letters


@dataclass(frozen=True)
class TagSet:
    """The tags of a model in the order of its outputs: ``O``, and ``B-x``, ``I-x`` (``L-x``, ``U-x``) for label x."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, labels: Sequence[str], scheme: Scheme = "bio") -> TagSet:
        """The tags for ``labels``: 1 + 2 c of them, or 1 + 4 c for BILOU."""
        letters = "BI" if scheme == "bio" else "BILU"
        return cls((OUTSIDE, *(f"{letter}-{label}" for label in labels for letter in letters)))

    @classmethod
    def from_config(cls, names: Mapping[int, str] | Mapping[str, str]) -> TagSet:
        """The tags that a model's ``id2label`` names. Raises LearningError if they are no BIO or BILOU tags."""
        ordered = tuple(name for _, name in sorted((int(index), name) for index, name in names.items()))
        tags = cls(ordered)
        if OUTSIDE not in ordered or any(name != OUTSIDE and "B" not in tags._ids(name[2:]) for name in ordered):
            raise LearningError(f"the model's labels are no BIO or BILOU tags: {', '.join(ordered[:8])}")
        return tags

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def parts(self) -> list[tuple[str, str]]:
        """Letter and label of every tag; ("O", "") outside."""
        pairs = ((name[:1], name[2:]) if name[1:2] == "-" else (OUTSIDE, "") for name in self.names)
        return [(_ALIASES.get(letter, letter), label) for letter, label in pairs]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of their first tag."""
        return tuple(dict.fromkeys(label for _, label in self.parts if label))

    @cached_property
    def _letters(self) -> dict[str, dict[str, int]]:
        table: dict[str, dict[str, int]] = {}
        for index, (letter, label) in enumerate(self.parts):
            table.setdefault(label, {})[letter] = index
        return table

    def _ids(self, label: str) -> dict[str, int]:
        """Tag by letter, of one label."""
        return self._letters.get(label, {})

    @cached_property
    def first(self) -> BoolArray:
        """Which tags may stand first in a text, bool [k]."""
        return np.array([letter in "OBU" for letter, _ in self.parts])

    @cached_property
    def last(self) -> BoolArray:
        """Which tags may stand last in a text, bool [k]."""
        return np.array([not self._unfinished(index) for index in range(len(self))])

    @cached_property
    def follows(self) -> BoolArray:
        """Whether tag j may come right after tag i, bool [k, k]."""
        table = np.zeros((len(self), len(self)), np.bool_)
        for i, (letter, label) in enumerate(self.parts):
            for j, (then, other) in enumerate(self.parts):
                goes_on = then in "IL"
                table[i, j] = (label == other and letter in "BI") if goes_on else not self._unfinished(i)
        return table

    def _unfinished(self, index: int) -> bool:
        letter, label = self.parts[index]
        return letter in "BI" and "L" in self._ids(label)

    def encode(self, bounds: IntArray, spans: Iterable[Span]) -> tuple[IntArray, int]:
        """Tags int64 [u] for units with ``bounds`` [u, 2], and how many spans could not be said with them.

        Of two spans that touch one unit, the one that starts first has it, and the other begins after it.
        """
        tags = np.full(len(bounds), self.names.index(OUTSIDE), np.int64)
        free, lost = 0, 0
        for span in sorted(spans, key=lambda span: (span.start, -span.end)):
            low = max(int(np.searchsorted(bounds[:, 1], span.start, "right")), free)
            high = int(np.searchsorted(bounds[:, 0], span.end, "left"))
            if low >= high:
                lost += 1
                continue
            ids = self._ids(span.label)
            if not ids:
                raise LearningError(f"the label {span.label!r} is none of {', '.join(self.labels)}")
            tags[low], tags[low + 1 : high] = ids["B"], ids["I"]
            if "L" in ids:
                tags[high - 1] = ids["U"] if high == low + 1 else ids["L"]
            free = high
        return tags, lost

    def stretches(self, tags: Sequence[int] | IntArray) -> list[tuple[int, int, str]]:
        """(first unit, unit after the last, label) of every span that ``tags`` [u] say.

        Tags that break the rules are read kindly: what should go on a span but has none begins one.
        """
        found: list[tuple[int, int, str]] = []
        begun = ""  # the label of the span that is open before this unit
        for at, index in enumerate(tags):
            letter, label = self.parts[index]
            if letter in "IL" and begun == label:
                found[-1] = (found[-1][0], at + 1, label)
            elif letter != OUTSIDE:
                found.append((at, at + 1, label))
            begun = label if letter in "BI" else ""
        return found

    def decode(self, bounds: IntArray, tags: Sequence[int] | IntArray) -> tuple[Span, ...]:
        """The spans that ``tags`` [u] say of units with ``bounds`` [u, 2]."""
        return tuple(
            Span(int(bounds[start, 0]), int(bounds[end - 1, 1]), label) for start, end, label in self.stretches(tags)
        )
