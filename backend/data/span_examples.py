"""Texts with labelled stretches, as everything that trains or evaluates on spans takes them.

They are read from JSON lines of {text, spans}, or from the JSON of restaurant8k.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.content import Content, Readable, text_of
from nextlabel.connectors.errors import DataError, LearningError
from nextlabel.connectors.records import Span

from .examples import assign_folds
from .tables import open_table

Rows = Iterable[tuple[str, str, list[Span], str]]  # place, text, spans, context


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
    if span.start == span.end:
        return f"{where} is empty; the end is the offset after the last character"
    if labels is not None and span.label not in labels:
        return f"{where} has a label that is none of {', '.join(labels)}"
    return ""


def split_held_out(examples: SpanExamples, share: float, rng: np.random.Generator) -> tuple[SpanExamples, SpanExamples]:
    """Examples to train on, and about ``share`` of them to hold out: every label spread evenly, groups kept whole.

    Raises LearningError if nothing would be left on one side.
    """
    bears = np.zeros((len(examples), len(examples.labels)), np.bool_)
    for row, spans in enumerate(examples.spans):
        for span in spans:
            bears[row, examples.labels.index(span.label)] = True
    folds = max(2, round(1 / share)) if share > 0 else 1
    held = assign_folds(bears, folds, rng, examples.groups) == 0
    if folds == 1 or held.all() or not held.any():
        raise LearningError(f"{len(examples)} texts can't be split with {share:.0%} held out; label more texts")
    return examples.take(np.flatnonzero(~held)), examples.take(np.flatnonzero(held))


def read_spans(source: str | Path, *, text: str = "text", spans: str = "spans", context: str = "") -> SpanExamples:
    """Read ``source``: one JSON object a line, or one list in the form of restaurant8k (Coope et al., 2020).

    JSON lines (and Parquet) hold the text in the column ``text`` and a list of {start, end, label} in ``spans``, and
    may hold a second text that is read beside it in ``context``. Of restaurant8k, what was asked for in the turn
    before (``requestedSlots``) becomes the context.

    Raises DataError that names the file, the line and the fix, for spans too that their text can't have.
    """
    path = Path(source)
    rows = _dialogues(path) if _is_list(path) else _lines(str(source), text, spans, context)
    texts: list[Readable] = []
    found = []
    for where, content, marked, beside in rows:
        for span in marked:
            if fault := fault_of(span, content):
                raise DataError(f"{where}: {fault}")
        texts.append(Content(content, context=beside) if beside else content)
        found.append(tuple(marked))
    labels = sorted({span.label for marked in found for span in marked})
    return SpanExamples(tuple(texts), tuple(found), tuple(labels))


def _is_list(path: Path) -> bool:
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def _lines(source: str, text: str, spans: str, context: str) -> Rows:
    table = open_table(source, [text, *([context] if context else [])])
    for row in table.rows:
        where = f"{table.name}:{row.number}"
        content, beside = row.values.get(text), (row.values.get(context) or "") if context else ""
        if not isinstance(content, str) or not isinstance(beside, str):
            raise DataError(f"{where}: the column {text if isinstance(beside, str) else context!r} must hold a text")
        marked = row.values.get(spans)
        if marked is not None and not isinstance(marked, list):
            raise DataError(f"{where}: {spans!r} must be a list of {{start, end, label}}")
        yield where, content, [_span(where, item, "start", "end", "label") for item in marked or ()], beside


def _dialogues(path: Path) -> Rows:
    try:
        turns = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read as JSON: {error}") from None
    for number, turn in enumerate(turns, start=1):
        where = f"{path}: item {number}"
        said = turn.get("userInput") if isinstance(turn, dict) else None
        if not isinstance(said, dict) or not isinstance(said.get("text"), str):
            raise DataError(
                f"{where}: a list must hold {{userInput: {{text}}, labels}}; else write one object per line"
            )
        marked = []
        for label in turn.get("labels") or ():
            place = label.get("valueSpan") if isinstance(label, dict) else None
            if not isinstance(place, dict):
                raise DataError(f"{where}: a label must be {{slot, valueSpan: {{startIndex, endIndex}}}}")
            # An index of 0 is left out of the file, as its maker's JSON writer does.
            flat = {"startIndex": 0, **place, "slot": label.get("slot")}
            marked.append(_span(where, flat, "startIndex", "endIndex", "slot"))
        asked = (turn.get("context") or {}).get("requestedSlots") or ()
        yield where, said["text"], marked, ", ".join(str(slot).replace("_", " ") for slot in asked)


def _span(where: str, item: Any, start: str, end: str, label: str) -> Span:
    values = [item.get(key) for key in (start, end, label)] if isinstance(item, dict) else [None] * 3
    low, high, name = values
    if type(low) is not int or type(high) is not int or not isinstance(name, str) or not name.strip():
        raise DataError(f"{where}: a span needs whole numbers {start!r} and {end!r} and a {label!r}, found {item!r}")
    return Span(low, high, name)
