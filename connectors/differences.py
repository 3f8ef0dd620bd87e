"""What a project asks, held against what we were told that it asks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import FieldKind, Labeling, LabelKind


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
    parts = differences(found.labeling, wanted) + _fields_apart(found, wanted)
    if parts:
        raise LabelingMismatch(
            f"the project's labeling differs from the one asked for: {'; '.join(parts)}. "
            "Change one of them, leave it out of the recipe, which takes it from the project then, or use another "
            "project"
        )


def _fields_apart(found: Form, wanted: Labeling) -> list[str]:
    """How the fields of a project differ from those that are wanted, in words."""
    have = {one.name: one.kind for one in found.labeling.fields}
    parts = []
    if absent := [one.name for one in wanted.fields if one.name not in found.shown]:
        shown = [one.name for one in found.labeling.fields if one.name in found.shown]
        parts.append(f"it does not show the fields {', '.join(absent)}, it shows {', '.join(shown) or 'none'}")
    for one in wanted.fields:
        kind = have.get(one.name, one.kind)
        by_choice = kind is FieldKind.TEXT and one.kind is FieldKind.HTML and wanted.kind is not LabelKind.SPAN
        if kind is not one.kind and not by_choice:
            written = f"`{one.name}: {{column: ..., kind: {kind}}}`"
            parts.append(f"the field {one.name} is {kind} there, not {one.kind}: write {written}")
    if wanted.kind is LabelKind.SPAN is found.labeling.kind and found.labeling.marked != wanted.marked:
        parts.append(f"spans are marked in {found.labeling.marked}: put it first under `fields:`")
    return parts


def differences(have: Labeling, wanted: Labeling) -> list[str]:
    """How what a project asks differs from what it should ask, in words; nothing if only the order of labels does."""
    parts = []
    if have.kind is not wanted.kind:
        parts.append(f"it asks for a {have.kind} answer, not a {wanted.kind} one (`kind: {have.kind}`)")
    if missing := [label for label in wanted.labels if label not in have.labels]:
        parts.append(f"it lacks the labels {', '.join(missing)}")
    if extra := [label for label in have.labels if label not in wanted.labels]:
        parts.append(f"it has other labels: {', '.join(extra)}")
    return parts
