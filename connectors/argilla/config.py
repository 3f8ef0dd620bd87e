"""Labeling <-> the fields and questions of an Argilla dataset, and answers <-> the values of its responses.

We write label, multi-label and span questions over text and image fields, and read the same back from datasets that
people made by hand, where any number of other questions and fields may stand around.

What differs from one kind of question to another is in ``QUESTIONS``, and nowhere else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

from typing_extensions import override

from nextlabel.connectors.answers import read_label, read_labels, read_list, read_object, read_span
from nextlabel.connectors.basics import Json
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Span, Value, spans_of

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
    the empty answer, ``overlapping`` whether spans may overlap. ``apart`` ends the names of what is kept for this
    question where another has the same: empty for the first question of a dataset, whose questions stay as they are.
    """

    labeling: Labeling
    question: str
    question_id: str
    target: str = ""
    required: frozenset[str] = frozenset()
    has_none: bool = False
    overlapping: bool = False
    apart: str = ""

    @property
    def shown(self) -> frozenset[str]:
        """The fields that annotators see."""
        return frozenset(one.name for one in self.labeling.fields)


# -- kinds of question -----------------------------------------------------------------------------------------------


class Question(ABC):
    """How one kind of question is asked, and its answers are written. ``type`` is what Argilla calls it."""

    type: ClassVar[str]
    none: ClassVar[bool] = False
    """Whether an option stands for the empty answer."""

    @abstractmethod
    def settings(self, labeling: Labeling) -> Json:
        """What is set besides the type and the options.

        Raises LabelingMismatch if Argilla can't ask it.
        """

    @abstractmethod
    def write(self, form: Form, value: Value, scores: Sequence[float], score: float) -> tuple[Any, Any] | None:
        """``value`` and its score as a suggestion has them; None where Argilla has no way to show it.

        ``scores`` has one for each part of the value, or nothing: then ``score`` is that of all of them.
        """

    @abstractmethod
    def read(self, form: Form, value: Any, text: str) -> Value:
        """What somebody answered about a record with this ``text``.

        Raises KeyError or ValueError on what says nothing.
        """

    def placed(self, suggestion: Json, text: str) -> Json:
        """``suggestion`` as it has to be stored for a record with this ``text``."""
        return suggestion


class OneLabel(Question):
    """One label of the whole record."""

    type = "label_selection"

    @override
    def settings(self, labeling: Labeling) -> Json:
        if len(labeling.labels) < 2:
            raise LabelingMismatch("Argilla needs two labels or more to choose one of them")
        return {}

    @override
    def write(self, form: Form, value: Value, scores: Sequence[float], score: float) -> tuple[Any, Any] | None:
        return (str(value[0]), score) if value and value[0] in form.labeling.labels else None

    @override
    def read(self, form: Form, value: Any, text: str) -> Value:
        return (read_label(value),)


class ManyLabels(Question):
    """Any number of labels of the whole record, with a score each."""

    type = "multi_label_selection"
    none = True

    @override
    def settings(self, labeling: Labeling) -> Json:
        if NONE in labeling.labels:
            raise LabelingMismatch(f"the label {NONE!r} is our own on Argilla, it stands for no label at all")
        return {}

    @override
    def write(self, form: Form, value: Value, scores: Sequence[float], score: float) -> tuple[Any, Any] | None:
        labels = [label for label in dict.fromkeys(value) if label in form.labeling.labels]
        labels = labels or ([NONE] if form.has_none and not value else [])
        return (labels, [score] * len(labels)) if labels else None

    @override
    def read(self, form: Form, value: Any, text: str) -> Value:
        return tuple(label for label in read_labels(value) if not (form.has_none and label == NONE))


class Spans(Question):
    """Labelled stretches of the first text field, with a score each.

    Argilla's web page counts offsets in UTF-16 units, as browsers do, and its server stores what the page says: an
    emoji before a span moves it, so offsets are converted where the text holds any.
    """

    type = "span"

    @override
    def settings(self, labeling: Labeling) -> Json:
        if any(one.kind is FieldKind.HTML for one in labeling.fields if one.name == labeling.marked):
            raise LabelingMismatch(f"Argilla marks parts of plain texts only, and {labeling.marked} is `kind: html`")
        return {"field": labeling.marked, "allow_overlapping": True}

    @override
    def write(self, form: Form, value: Value, scores: Sequence[float], score: float) -> tuple[Any, Any] | None:
        """Of spans that overlap where the question forbids it, the first counts."""
        spans: list[Json] = []
        kept: list[float] = []
        for one, own in zip(spans_of(value), scores or (score,) * len(value), strict=True):
            clear = all(one.end <= other["start"] or other["end"] <= one.start for other in spans)
            if form.overlapping or clear:
                spans.append({"start": one.start, "end": one.end, "label": one.label})
                kept.append(min(max(own, 0.0), 1.0))
        return spans, kept or None

    @override
    def read(self, form: Form, value: Any, text: str) -> Value:
        points = points_of(text)
        spans = [read_object(one, "a span") for one in read_list(value, "its value")]
        read = [read_span(one["start"], one["end"], one["label"]) for one in spans]
        return tuple(Span(points(span.start), points(span.end), span.label) for span in read)

    @override
    def placed(self, suggestion: Json, text: str) -> Json:
        """The server checks spans against the text's length in characters, so near the end of a text with emoji some
        can't be stored; they are left out.
        """
        if _is_plain(text):
            return suggestion
        spans = [
            {**one, "start": _units(text[: one["start"]]), "end": _units(text[: one["end"]])}
            for one in suggestion["value"]
        ]
        stored = [place for place, one in enumerate(spans) if one["end"] <= len(text)]
        scores = [suggestion["score"][place] for place in stored] if suggestion["score"] else []
        return {**suggestion, "value": [spans[place] for place in stored], "score": scores or None}


QUESTIONS: Mapping[LabelKind, Question] = {
    LabelKind.SINGLE: OneLabel(),
    LabelKind.MULTI: ManyLabels(),
    LabelKind.SPAN: Spans(),
}
KINDS = {question.type: kind for kind, question in QUESTIONS.items()}


def _is_plain(text: str) -> bool:
    """Whether characters and UTF-16 units are the same."""
    return text.isascii() or max(text) <= "\uffff"


def _units(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def points_of(text: str) -> Callable[[int], int]:
    """What turns an offset in UTF-16 units into one in characters of ``text``."""
    if _is_plain(text):
        return lambda units: units
    starts = list(accumulate((2 if character > "\uffff" else 1 for character in text), initial=0))
    return lambda units: bisect_right(starts, units) - 1


# -- fields and questions --------------------------------------------------------------------------------------------


def write_fields(labeling: Labeling) -> list[Json]:
    """The fields to make for ``labeling``. Raises LabelingMismatch if Argilla can't show it.

    A record may lack an image: Argilla takes no empty address. It wants one field that every record has, though, so of
    images alone the first is required.
    """
    names = [one.name for one in labeling.fields]
    for name in (labeling.name, *names):
        _check_name(name)
    if len({*names, labeling.name}) != len(names) + 1:
        raise LabelingMismatch(f"names repeat: {', '.join([labeling.name, *names])}")
    texts = any(one.kind is not FieldKind.IMAGE for one in labeling.fields)
    return [
        {
            "name": one.name,
            "title": one.name,
            "required": one.kind is not FieldKind.IMAGE or not (texts or number),
            # Markdown may be HTML, which the page shows as such.
            "settings": {"type": "image"}
            if one.kind is FieldKind.IMAGE
            else {"type": "text", "use_markdown": one.kind is FieldKind.HTML},
        }
        for number, one in enumerate(labeling.fields)
    ]


def write_question(labeling: Labeling) -> Json:
    """The question to make for ``labeling``. Raises LabelingMismatch if Argilla can't ask it."""
    asked = QUESTIONS[labeling.kind]
    options = [_option(label, label, labeling.descriptions.get(label)) for label in labeling.labels]
    settings = {"type": asked.type, "options": options, **asked.settings(labeling)}
    if asked.none:
        options.append(_option(NONE, NONE_TEXT, None))
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
    target = str(settings.get("field") or "")
    if target and Field(target) not in shown:
        raise LabelingMismatch(f"the spans of {question['name']!r} are about {target!r}, which is no text field")
    options = settings["options"]
    has_none = QUESTIONS[kind].none and any(option["value"] == NONE for option in options)
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
        "" if question is questions[0] else f"_{question['id'][:4]}",
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
            f"the dataset asks with {', '.join(found) or 'nothing'}; nextlabel knows {', '.join(KINDS)} questions"
        )
    if not named:
        raise LabelingMismatch(f"the dataset has no question {control!r} that nextlabel knows; it has {_listed(known)}")
    if len(named) > 1:
        way = f"name one of them in the recipe, as in `question: {named[0]['name']}`"
        raise LabelingMismatch(f"the dataset asks several questions: {_listed(named)}; {way}")
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
