"""What a record's annotators say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind, Span, Value


def consensus(annotations: Iterable[Annotation], labeling: Labeling) -> Value | None:
    """The majority among a record's current answers, or None while nobody has submitted one.

    Skips and deletions don't count. Everyone has one vote: an annotator's newest answer. Single labels and spans:
    the answer given most often. Multi-label: every label that more than half chose, so () is an answer too. A tie
    goes to the newest answer, which its author could give knowing the older ones; equal times go to the greater id.
    """
    newest: dict[str, Annotation] = {}
    for one in sorted(annotations, key=lambda one: (one.updated_at, one.id)):
        if one.status is AnnotationStatus.SUBMITTED:
            newest.pop(one.annotator, None)  # keeps the votes in the order of their times
            newest[one.annotator] = one
    votes = [_canonical(one.value) for one in newest.values()]
    if not votes:
        return None
    if labeling.kind is LabelKind.MULTI:
        return _label_by_label(votes)
    counts = Counter(votes)
    most = max(counts.values())
    return next(vote for vote in reversed(votes) if counts[vote] == most)


def _label_by_label(votes: list[Value]) -> tuple[str, ...]:
    chosen = Counter(str(label) for vote in votes for label in vote)
    return tuple(
        sorted(
            label for label, n in chosen.items() if n * 2 > len(votes) or (n * 2 == len(votes) and label in votes[-1])
        )
    )


def _canonical(value: Value) -> Value:
    """One form for answers that say the same: the order of labels or spans carries no meaning."""
    spans = {part for part in value if isinstance(part, Span)}
    if spans:
        return tuple(sorted(spans, key=lambda span: (span.start, span.end, span.label)))
    return tuple(sorted({part for part in value if isinstance(part, str)}))
