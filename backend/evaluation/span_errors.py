"""What goes wrong with marks: of what kind it is, and the texts in which a model was surest of something wrong.

The kinds are those of MUC-5 as Chinchor and Sundheim count them (MUC-5 Evaluation Metrics, 1993), in our words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from nextlabel.backend.models.spans.decoding import ScoredSpan
from nextlabel.backend.models.spans.metrics import SpanLists
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.records import Span

KINDS = {
    "right": "start, end and label",
    "other label": "the right place",
    "other place": "the right label, at a place that overlaps",
    "both": "a place that overlaps, and another label",
    "invented": "proposed where nothing is marked",
    "missed": "marked where nothing is proposed",
}
"""What may become of a mark or a proposal, and what that means."""
SHOWN = 20

Marked: TypeAlias = Span | ScoredSpan


@dataclass(frozen=True, slots=True)
class WrongText:
    """A text in which something wrong is proposed: what is marked and proposed, and how sure the worst of it was."""

    text: str
    marked: tuple[str, ...]
    proposed: tuple[str, ...]
    probability: float


def kinds_of(predicted: SpanLists, truth: SpanLists) -> dict[str, int]:
    """How many marks and proposals are of each of KINDS. Each mark goes with one proposal at most, the likest."""
    found: Counter[str] = Counter()
    for said, there in zip(predicted, truth, strict=True):
        open_said, open_there = list(said), list(there)
        for kind, fits in MATCHES.items():
            for mark in list(open_there):
                match = next((one for one in open_said if fits(one, mark)), None)
                if match is not None:
                    found[kind] += 1
                    open_said.remove(match)
                    open_there.remove(mark)
        found["invented"] += len(open_said)
        found["missed"] += len(open_there)
    return {kind: found[kind] for kind in KINDS}


def surest_wrong(texts: Sequence[Readable], predicted: SpanLists, truth: SpanLists) -> tuple[WrongText, ...]:
    """Texts with a wrong proposal, the surest first, SHOWN at most. Some may be marked wrong."""
    found = []
    for text, said, there in zip(texts, predicted, truth, strict=True):
        marked = {(one.start, one.end, one.label) for one in there}
        wrong = [
            one.score for one in said if isinstance(one, ScoredSpan) and (one.start, one.end, one.label) not in marked
        ]
        if wrong:
            words = text_of(text)
            found.append(WrongText(words, _named(words, there), _named(words, said), max(wrong)))
    return tuple(sorted(found, key=lambda one: -one.probability)[:SHOWN])


def _named(text: str, spans: Sequence[Marked]) -> tuple[str, ...]:
    return tuple(f"{text[one.start : one.end]} ({one.label})" for one in spans)


def _right(one: Marked, other: Marked) -> bool:
    return _same_place(one, other) and one.label == other.label


def _same_place(one: Marked, other: Marked) -> bool:
    return (one.start, one.end) == (other.start, other.end)


def _same_label(one: Marked, other: Marked) -> bool:
    return _near(one, other) and one.label == other.label


def _near(one: Marked, other: Marked) -> bool:
    return one.start < other.end and other.start < one.end


MATCHES = {"right": _right, "other label": _same_place, "other place": _same_label, "both": _near}
"""How a mark and a proposal go together, the best first."""
