"""Comparing what a platform asks with what we were told, and answers with what may be answered."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import Labeling, LabelKind, Span, Value


class Form(Protocol):
    """A labeling with the names that one platform has for its parts."""

    @property
    def labeling(self) -> Labeling:
        """The labeling in our words."""

    @property
    def shown(self) -> Collection[str]:
        """The fields that annotators see."""


def expect(found: Form, wanted: Labeling) -> None:
    """Check that a project asks what we were told it asks. Raises LabelingMismatch with the difference and the fix."""
    parts = differences(found.labeling, wanted)
    if absent := [one.name for one in wanted.fields if one.name not in found.shown]:
        parts.append(f"it does not show the fields {', '.join(absent)}")
    if parts:
        raise LabelingMismatch(
            f"the project's labeling differs from the one asked for: {'; '.join(parts)}. "
            "Change one of them, or use another project"
        )


def differences(have: Labeling, wanted: Labeling) -> list[str]:
    """How what a project asks differs from what it should ask, in words; nothing if only the order of labels does."""
    parts = []
    if have.kind is not wanted.kind:
        parts.append(f"it asks for a {have.kind} answer, not a {wanted.kind} one")
    if missing := [label for label in wanted.labels if label not in have.labels]:
        parts.append(f"it lacks the labels {', '.join(missing)}")
    if extra := [label for label in have.labels if label not in wanted.labels]:
        parts.append(f"it has other labels: {', '.join(extra)}")
    return parts


def can_be_given(labeling: Labeling, value: Value) -> bool:
    """Whether ``value`` is an answer to ``labeling``."""
    try:
        check_labels(labeling, value)
    except LabelingMismatch:
        return False
    return True


def check_labels(labeling: Labeling, value: Value) -> None:
    """Raises LabelingMismatch if ``value`` is of another kind, names a label that is not in the config, or too many."""
    names = [one.label if isinstance(one, Span) else one for one in value]
    wants_spans = labeling.kind is LabelKind.SPAN
    if wrong := [one for one in value if isinstance(one, Span) is not wants_spans]:
        kinds = ("no span", "spans") if wants_spans else ("a span", "labels of the whole record")
        raise LabelingMismatch(f"{wrong[0]!r} is {kinds[0]}; {labeling.name!r} asks for {kinds[1]}")
    if unknown := sorted(set(names) - set(labeling.labels)):
        raise LabelingMismatch(
            f"not in the project's labeling config: {', '.join(unknown)}; it has {', '.join(labeling.labels)}"
        )
    if labeling.kind is LabelKind.SINGLE and len(names) > 1:
        raise LabelingMismatch(f"{labeling.name!r} takes one label, not {len(names)}: {', '.join(names)}")


def spans_of(value: Value) -> list[Span]:
    """The spans of a ``value`` that has been checked to hold nothing else."""
    return [one for one in value if isinstance(one, Span)]


def as_text(value: Any) -> str:
    """What a field of a platform's record says; nothing where there is nothing."""
    return "" if value is None else value if isinstance(value, str) else str(value)
