"""Labeling <-> Label Studio's labeling config (XML), and answers <-> the regions of its results.

We write four shapes: a single or multiple ``Choices``, or ``Labels``, over text and image fields. We read the same
shapes back from projects that people made by hand, where object names and data keys may differ, choices may have
aliases, and any number of other tags may stand around. What we can't ask (Taxonomy, Rating, ...) is refused.

What differs from one kind of question to another is in ``CONTROLS``, and nowhere else.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar
from xml.etree import ElementTree

from typing_extensions import override

from nextlabel.connectors.answers import read_labels, read_span
from nextlabel.connectors.basics import Json
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Value, spans_of

UID_KEY = "nextlabel_uid"
"""The key in a task's data under which our record's uid is kept."""

OBJECTS = {"Text": FieldKind.TEXT, "HyperText": FieldKind.TEXT, "Image": FieldKind.IMAGE}
FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Form:
    """A labeling together with the names that Label Studio's results need.

    ``control`` and ``tag`` are the control's name and tag, ``target`` the name of the object it is about;
    ``objects`` maps our field names (the keys in a task's data) to object names.
    """

    labeling: Labeling
    control: str
    tag: str
    target: str
    objects: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> Collection[str]:
        """The fields that annotators see."""
        return self.objects.keys()


class Control(ABC):
    """How one kind of question is asked, and its answers are written.

    ``tag`` is the control's tag, ``option`` that of each label in it. ``first``: it stands above what it is about.
    """

    tag: ClassVar[str]
    option: ClassVar[str]
    first: ClassVar[bool] = False
    attributes: Mapping[str, str] = {}
    """Attributes of the tag besides its names."""

    def matches(self, tag: ElementTree.Element) -> bool:
        """Whether ``tag`` asks this kind of question."""
        return tag.tag == self.tag

    def target(self, labeling: Labeling) -> str:
        """The field that the control is about. Raises LabelingMismatch if there is none that it can be about."""
        return labeling.fields[0].name

    @abstractmethod
    def write(self, value: Value, scores: Sequence[float]) -> list[Json]:
        """The regions of ``value``, without names; none for an empty value. ``scores``: one for each, or none."""

    @abstractmethod
    def read(self, regions: Sequence[Json]) -> Value:
        """The value that the ``value`` entries of regions come to. Unknown labels are kept as they are.

        Raises KeyError or ValueError on one that says nothing.
        """


class Choices(Control):
    """Labels of the whole record: one region holds them all."""

    tag = "Choices"
    option = "Choice"

    def __init__(self, *, several: bool) -> None:
        self._several = several
        # No label is an answer too, where there may be several.
        self.attributes = (
            {"choice": "multiple", "required": "false"} if several else {"choice": "single", "required": "true"}
        )

    @override
    def matches(self, tag: ElementTree.Element) -> bool:
        return tag.tag == self.tag and (tag.get("choice") == "multiple") is self._several

    @override
    def write(self, value: Value, scores: Sequence[float]) -> list[Json]:
        return [{"value": {"choices": list(value)}}] if value else []

    @override
    def read(self, regions: Sequence[Json]) -> Value:
        return tuple(dict.fromkeys(label for region in regions for label in read_labels(region["choices"])))


class Labels(Control):
    """Spans of the first text field: a region for each."""

    tag = "Labels"
    option = "Label"
    first = True

    @override
    def target(self, labeling: Labeling) -> str:
        return labeling.marked

    @override
    def write(self, value: Value, scores: Sequence[float]) -> list[Json]:
        regions = []
        for number, span in enumerate(spans_of(value)):
            own = {"score": scores[number]} if scores else {}
            place = {"start": span.start, "end": span.end, "labels": [span.label]}
            regions.append({**own, "id": f"span-{number}", "value": place})
        return regions

    @override
    def read(self, regions: Sequence[Json]) -> Value:
        return tuple(
            read_span(region["start"], region["end"], label, region.get("text"))
            for region in regions
            for label in read_labels(region["labels"])
        )


CONTROLS: Mapping[LabelKind, Control] = {
    LabelKind.SINGLE: Choices(several=False),
    LabelKind.MULTI: Choices(several=True),
    LabelKind.SPAN: Labels(),
}
TAGS = tuple(dict.fromkeys(control.tag for control in CONTROLS.values()))


def form_of(labeling: Labeling) -> Form:
    """The form that :func:`write_config` gives ``labeling``. Raises LabelingMismatch if Label Studio can't ask it."""
    names = [one.name for one in labeling.fields]
    for name in (labeling.name, *names):
        if not FIELD_NAME.fullmatch(name):
            raise LabelingMismatch(
                f"{name!r} can't be a name in Label Studio: use letters, digits, - and _, a letter first"
            )
    if UID_KEY in names or len(set(names) | {labeling.name}) != len(names) + 1:
        raise LabelingMismatch(f"names repeat, or are our own ({UID_KEY}): {', '.join([labeling.name, *names])}")
    for text in (*labeling.labels, labeling.instruction, *labeling.descriptions.values()):
        if NOT_XML.search(text):
            raise LabelingMismatch(f"{text!r} holds a control character, which no XML can")
    control = CONTROLS[labeling.kind]
    return Form(labeling, labeling.name, control.tag, control.target(labeling), {name: name for name in names})


def write_config(labeling: Labeling) -> str:
    """The XML that asks ``labeling``. Raises LabelingMismatch if Label Studio can't ask it."""
    form = form_of(labeling)
    view = ElementTree.Element("View")
    if labeling.instruction:
        ElementTree.SubElement(view, "Header", value=labeling.instruction)
    asked = CONTROLS[labeling.kind]
    control = ElementTree.Element(asked.tag, {"name": form.control, "toName": form.target, **asked.attributes})
    for label in labeling.labels:
        option = ElementTree.SubElement(control, asked.option, value=label)
        if label in labeling.descriptions:
            option.set("hint", labeling.descriptions[label])
    shown = []
    for one in labeling.fields:
        tag = "Text" if one.kind is FieldKind.TEXT else "Image"
        shown.append(ElementTree.Element(tag, name=form.objects[one.name], value=f"${one.name}"))
    view.extend([control, *shown] if asked.first else [*shown, control])
    return ElementTree.tostring(view, encoding="unicode")


@lru_cache(maxsize=64)
def read_config(xml: str, control: str | None = None) -> Form:
    """What ``xml`` asks. ``control`` names the control to use where there are several.

    Raises LabelingMismatch if it holds no question that we know, or several and no choice was made.
    """
    try:
        root = ElementTree.fromstring(xml)  # noqa: S314  expat opens no external entity and limits expansion
    except ElementTree.ParseError as error:
        raise LabelingMismatch(f"the labeling config is not XML: {error}") from None
    known = {name: tag for tag in root.iter() if tag.tag in OBJECTS and (name := tag.get("name"))}
    candidates = {name: tag for tag in root.iter() if tag.tag in TAGS and (name := tag.get("name")) and usable(tag)}
    if control is not None:
        if control not in candidates:
            raise LabelingMismatch(
                f"the project has no {' or '.join(TAGS)} named {control!r}; it has {listed(candidates)}"
            )
        candidates = {control: candidates[control]}
    if not candidates:
        found = sorted({tag.tag for tag in root.iter() if tag.get("toName")})
        raise LabelingMismatch(
            f"the project asks with {', '.join(found) or 'nothing'}; "
            f"nextlabel knows {' and '.join(TAGS)} over text and images"
        )
    if len(candidates) > 1:
        raise LabelingMismatch(f"the project asks several questions, name one of them: {listed(candidates)}")
    [(name, tag)] = candidates.items()
    objects = {data_key(element): key for key, element in known.items() if data_key(element)}
    target = (tag.get("toName") or "").split(",")[0]
    if target not in objects.values():
        raise LabelingMismatch(f"{tag.tag} {name!r} is about {target!r}, which is no text or image taken from the task")
    return Form(labeling(root, tag, name, known), name, tag.tag, target, objects)


def labeling(
    root: ElementTree.Element, tag: ElementTree.Element, name: str, known: Mapping[str, ElementTree.Element]
) -> Labeling:
    """The labeling of one control and of every object shown."""
    kind, control = next((kind, control) for kind, control in CONTROLS.items() if control.matches(tag))
    labels: list[str] = []
    descriptions: dict[str, str] = {}
    for option in tag.iter(control.option):
        label = option.get("alias") or option.get("value") or ""
        labels.append(label)
        if hint := option.get("hint"):
            descriptions[label] = hint
    headers = (header.get("value") or "" for header in root.iter("Header"))
    instruction = next((text for text in headers if not text.startswith("$")), "")
    fields = tuple(Field(data_key(element), OBJECTS[element.tag]) for element in known.values() if data_key(element))
    try:
        return Labeling(kind, tuple(labels), fields, name, instruction, descriptions)
    except ValueError as error:
        raise LabelingMismatch(f"{tag.tag} {name!r}: {error}") from None


def usable(tag: ElementTree.Element) -> bool:
    """Whether a control is a question about the whole record: not one per region, nor with choices from the data."""
    return tag.get("perRegion") != "true" and not (tag.get("value") or "").startswith("$")


def data_key(element: ElementTree.Element) -> str:
    """The key of a task's data that an object shows; empty if it shows something else."""
    value = element.get("value") or ""
    return value[1:] if value.startswith("$") else ""


def listed(candidates: Mapping[str, ElementTree.Element]) -> str:
    """Controls in words."""
    return ", ".join(f"{tag.tag} {name!r}" for name, tag in candidates.items()) or "none"
