"""Labeling <-> the fields and questions of an Argilla dataset.

We write label, multi-label and span questions over text and image fields, and read the same back from datasets that
people made by hand, where any number of other questions and fields may stand around.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind

Json = dict[str, Any]

KINDS = {
    "label_selection": LabelKind.SINGLE,
    "multi_label_selection": LabelKind.MULTI,
    "span": LabelKind.SPAN,
}
TYPES = {kind: name for name, kind in KINDS.items()}

NONE = "none_of_these"
"""A dataset needs a required question, and Argilla refuses an empty answer to one with several labels. So such a
question of ours has this option too, and it stands for the empty answer."""
NONE_TEXT = "None of these"

NAME_LENGTH = 200
DESCRIPTION_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class Form:
    """A labeling together with what Argilla calls it.

    ``question`` and ``question_id`` are the name and id of the question, ``target`` is the field that spans are
    offsets into, ``required`` names the fields that no record may lack; ``has_none`` is whether there is an option for
    the empty answer, ``overlapping`` whether spans may overlap.
    """

    labeling: Labeling
    question: str
    question_id: str
    target: str = ""
    required: frozenset[str] = frozenset()
    has_none: bool = False
    overlapping: bool = False

    @property
    def shown(self) -> frozenset[str]:
        """The fields that annotators see."""
        return frozenset(one.name for one in self.labeling.fields)


def write_fields(labeling: Labeling) -> list[Json]:
    """The fields to make for ``labeling``. Raises LabelingMismatch if Argilla can't show it."""
    names = [one.name for one in labeling.fields]
    for name in (labeling.name, *names):
        _check_name(name)
    if len({*names, labeling.name}) != len(names) + 1:
        raise LabelingMismatch(f"names repeat: {', '.join([labeling.name, *names])}")
    return [
        {
            "name": one.name,
            "title": one.name,
            "required": True,
            "settings": {"type": "text", "use_markdown": False} if one.kind is FieldKind.TEXT else {"type": "image"},
        }
        for one in labeling.fields
    ]


def write_question(labeling: Labeling) -> Json:
    """The question to make for ``labeling``. Raises LabelingMismatch if Argilla can't ask it."""
    options = [_option(label, label, labeling.descriptions.get(label)) for label in labeling.labels]
    settings: Json = {"type": TYPES[labeling.kind], "options": options}
    match labeling.kind:
        case LabelKind.SINGLE:
            if len(options) < 2:
                raise LabelingMismatch("Argilla needs two labels or more to choose one of them")
        case LabelKind.MULTI:
            if NONE in labeling.labels:
                raise LabelingMismatch(f"the label {NONE!r} is our own on Argilla, it stands for no label at all")
            options.append(_option(NONE, NONE_TEXT, None))
        case LabelKind.SPAN:
            texts = [one.name for one in labeling.fields if one.kind is FieldKind.TEXT]
            if not texts:
                raise LabelingMismatch("spans need a text field to mark")
            settings |= {"field": texts[0], "allow_overlapping": True}
    question: Json = {"name": labeling.name, "title": labeling.name, "required": True, "settings": settings}
    if labeling.instruction:
        question["description"] = shortened(labeling.instruction, DESCRIPTION_LENGTH)
    return question


def read(fields: Sequence[Mapping[str, Any]], questions: Sequence[Mapping[str, Any]], control: str | None) -> Form:
    """What a dataset asks. ``control`` names the question to use where there are several.

    Raises LabelingMismatch if it holds no question that we know, or several and no choice was made.
    """
    question = _chosen(questions, control)
    settings = question["settings"]
    kind = KINDS[settings["type"]]
    shown = [Field(one["name"], _kind(one)) for one in fields if one["settings"]["type"] in ("text", "image")]
    if not shown:
        raise LabelingMismatch("the dataset shows neither text nor image; nextlabel knows these two")
    target = str(settings["field"]) if kind is LabelKind.SPAN else ""
    if target and Field(target) not in shown:
        raise LabelingMismatch(f"the spans of {question['name']!r} are about {target!r}, which is no text field")
    options = settings["options"]
    has_none = kind is LabelKind.MULTI and any(option["value"] == NONE for option in options)
    options = [option for option in options if not (has_none and option["value"] == NONE)]
    try:
        labeling = Labeling(
            kind,
            tuple(option["value"] for option in options),
            tuple(shown),
            question["name"],
            question.get("description") or "",
            {option["value"]: option["description"] for option in options if option.get("description")},
        )
    except ValueError as error:
        raise LabelingMismatch(f"the question {question['name']!r}: {error}") from None
    return Form(
        labeling,
        question["name"],
        str(question["id"]),
        target,
        frozenset(one["name"] for one in fields if one["required"]),
        has_none,
        bool(settings.get("allow_overlapping")),
    )


def shortened(text: str, length: int) -> str:
    """``text`` cut to ``length`` characters, with a sign that it was cut."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _chosen(questions: Sequence[Mapping[str, Any]], control: str | None) -> Mapping[str, Any]:
    known = [one for one in questions if one["settings"]["type"] in KINDS]
    named = [one for one in known if control in (None, one["name"])]
    if not known:
        found = sorted({one["settings"]["type"] for one in questions})
        raise LabelingMismatch(
            f"the dataset asks with {', '.join(found) or 'nothing'}; "
            "nextlabel knows label, multi-label and span questions"
        )
    if not named:
        raise LabelingMismatch(f"the dataset has no question {control!r} that nextlabel knows; it has {_listed(known)}")
    if len(named) > 1:
        raise LabelingMismatch(f"the dataset asks several questions, name one of them: {_listed(named)}")
    return named[0]


def _listed(questions: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{one['settings']['type']} {one['name']!r}" for one in questions)


def _kind(field: Mapping[str, Any]) -> FieldKind:
    return FieldKind.IMAGE if field["settings"]["type"] == "image" else FieldKind.TEXT


def _option(value: str, text: str, description: str | None) -> Json:
    if len(value) > NAME_LENGTH or "\0" in value:
        raise LabelingMismatch(
            f"the label {value[:40]!r}... is too long for Argilla, or holds a NUL character: at most "
            f"{NAME_LENGTH} characters"
        )
    option = {"value": value, "text": text}
    if description:
        option["description"] = shortened(description, DESCRIPTION_LENGTH)
    return option


def _check_name(name: str) -> None:
    """A dot would make two names of one in the search index, and in the addresses that sort by it."""
    if not 1 <= len(name) <= NAME_LENGTH or "." in name or not name.isprintable() or name != name.strip():
        raise LabelingMismatch(
            f"{shortened(name, 40)!r} can't be a name in Argilla: use up to {NAME_LENGTH} letters, digits, - and _"
        )
