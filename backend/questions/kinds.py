"""The kinds of question there are."""

from __future__ import annotations

from nextlabel.connectors.records import Labeling, LabelKind

from .base import Question
from .choice import MultiChoice, SingleChoice
from .span import Spans

QUESTIONS: dict[LabelKind, type[Question]] = {
    LabelKind.SINGLE: SingleChoice,
    LabelKind.MULTI: MultiChoice,
    LabelKind.SPAN: Spans,
}


DEFAULT_KIND = LabelKind.SINGLE
"""What a recipe asks that says nothing else."""


def question_of(labeling: Labeling) -> Question:
    """What ``labeling`` asks."""
    return QUESTIONS[labeling.kind](labeling)
