"""Texts with labelled stretches, as everything that trains or evaluates on spans takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span

from .examples import assign_folds, together


@dataclass(frozen=True, slots=True)
class SpanExamples:
    """Texts with their spans, in character offsets of the text, end exclusive.

    ``spans[i]`` may be empty (nothing to mark), and spans may overlap; see ``without_overlaps``. What a text has as its
    context is read by the model beside it and holds no spans: the question that the text answers, say.
    ``groups`` int64 [n]: examples of one group never lie on both sides of a split.

    Raises LearningError for a span that is empty, reaches out of its text, or has a label not in ``labels``.
    """

    texts: tuple[Readable, ...]
    spans: tuple[tuple[Span, ...], ...]
    labels: tuple[str, ...]
    groups: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        for name, column in (("spans", self.spans), ("groups", self.groups)):
            if column is not None and len(column) != len(self):
                raise LearningError(f"{len(self)} texts don't go with {len(column)} {name}")
        for row, (text, spans) in enumerate(zip(self.texts, self.spans, strict=True)):
            for span in spans:
                if fault := fault_of(span, text_of(text), self.labels):
                    raise LearningError(f"text {row}: {fault}")

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def count(self) -> int:
        """How many spans there are in all."""
        return sum(map(len, self.spans))

    @property
    def bears(self) -> npt.NDArray[np.bool_]:
        """bool [n, len(labels)]: which labels each text bears."""
        found = np.zeros((len(self), len(self.labels)), np.bool_)
        for row, spans in enumerate(self.spans):
            found[row, [self.labels.index(span.label) for span in spans]] = True
        return found

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> SpanExamples:
        """Some of the examples, in the order of ``rows``."""
        picked = [int(row) for row in rows]
        return replace(
            self,
            texts=tuple(self.texts[row] for row in picked),
            spans=tuple(self.spans[row] for row in picked),
            groups=None if self.groups is None else self.groups[picked],
        )

    def without_overlaps(self) -> tuple[SpanExamples, int]:
        """The same with no two spans of a text sharing a character, and how many spans that took away.

        A token bears one tag, so one of two has to go. The longer stays; of equal ones the one that begins first,
        then the one given first.
        """
        kept = tuple(map(longest_apart, self.spans))
        return replace(self, spans=kept), self.count - sum(map(len, kept))


def longest_apart(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Those of ``spans`` that stay when overlaps are resolved in favour of the longer, in order of their start."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start - span.end, span.start)):
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    return tuple(sorted(kept, key=lambda span: span.start))


def fault_of(span: Span, text: str, labels: Sequence[str] | None = None) -> str:
    """What is wrong with ``span`` in ``text``, in words, or "" if nothing is. ``labels`` None: any label will do."""
    where = f"the span {span.label!r} from {span.start} to {span.end}"
    if not 0 <= span.start <= span.end <= len(text):
        return f"{where} reaches out of a text of {len(text)} characters; offsets count characters, not bytes"
    if not text[span.start : span.end].strip():
        return f"{where} is empty; the end is the offset after the last character"
    if labels is not None and span.label not in labels:
        return f"{where} has a label that is none of {', '.join(labels)}"
    return ""


def trimmed(span: Span, text: str) -> Span:
    """``span`` without the white space at its ends."""
    marked = text[span.start : span.end]
    left, right = len(marked) - len(marked.lstrip()), len(marked) - len(marked.rstrip())
    return replace(span, start=span.start + left, end=span.end - right) if left or right else span


def split_held_out(examples: SpanExamples, share: float, rng: np.random.Generator) -> tuple[SpanExamples, SpanExamples]:
    """Examples to train on, and about ``share`` of them to hold out: labels spread evenly, groups, copies kept whole.

    Raises LearningError if nothing would be left on one side.
    """
    folds = max(2, round(1 / share)) if share > 0 else 1
    held = assign_folds(examples.bears, folds, rng, together(examples.texts, examples.groups)) == 0
    if folds == 1 or held.all() or not held.any():
        raise LearningError(f"{len(examples)} texts can't be split with {share:.0%} held out; label more texts")
    return examples.take(np.flatnonzero(~held)), examples.take(np.flatnonzero(held))
