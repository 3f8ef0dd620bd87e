"""Labeling <-> Label Studio's labeling config (XML).

We write four shapes: a single or multiple ``Choices``, or ``Labels``, over text and image fields. We read the same
shapes back from projects that people made by hand, where object names and data keys may differ, choices may have
aliases, and any number of other tags may stand around. What we can't ask (Taxonomy, Rating, ...) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from xml.etree import ElementTree

from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind

UID_KEY = "nextlabel_uid"
"""The key in a task's data under which our record's uid is kept."""

OBJECTS = {"Text": FieldKind.TEXT, "HyperText": FieldKind.TEXT, "Image": FieldKind.IMAGE}
CONTROLS = {"Choices": "Choice", "Labels": "Label"}
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
    texts = [one.name for one in labeling.fields if one.kind is FieldKind.TEXT]
    if labeling.kind is LabelKind.SPAN and not texts:
        raise LabelingMismatch("spans need a text field to mark")
    target = texts[0] if labeling.kind is LabelKind.SPAN else names[0]
    tag = "Labels" if labeling.kind is LabelKind.SPAN else "Choices"
    return Form(labeling, labeling.name, tag, target, {name: name for name in names})


def write_config(labeling: Labeling) -> str:
    """The XML that asks ``labeling``. Raises LabelingMismatch if Label Studio can't ask it."""
    form = form_of(labeling)
    view = ElementTree.Element("View")
    if labeling.instruction:
        ElementTree.SubElement(view, "Header", value=labeling.instruction)
    control = ElementTree.Element(form.tag, name=form.control, toName=form.target)
    if form.tag == "Choices":
        control.set("choice", "single" if labeling.kind is LabelKind.SINGLE else "multiple")
        control.set("required", "true" if labeling.kind is LabelKind.SINGLE else "false")  # no label is an answer too
    for label in labeling.labels:
        option = ElementTree.SubElement(control, CONTROLS[form.tag], value=label)
        if label in labeling.descriptions:
            option.set("hint", labeling.descriptions[label])
    shown = []
    for one in labeling.fields:
        tag = "Text" if one.kind is FieldKind.TEXT else "Image"
        shown.append(ElementTree.Element(tag, name=form.objects[one.name], value=f"${one.name}"))
    view.extend([control, *shown] if form.tag == "Labels" else [*shown, control])
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
    candidates = {name: tag for tag in root.iter() if tag.tag in CONTROLS and (name := tag.get("name")) and usable(tag)}
    if control is not None:
        if control not in candidates:
            raise LabelingMismatch(
                f"the project has no Choices or Labels named {control!r}; it has {listed(candidates)}"
            )
        candidates = {control: candidates[control]}
    if not candidates:
        found = sorted({tag.tag for tag in root.iter() if tag.get("toName")})
        raise LabelingMismatch(
            f"the project asks with {', '.join(found) or 'nothing'}; "
            "nextlabel knows Choices and Labels over text and images"
        )
    if len(candidates) > 1:
        raise LabelingMismatch(f"the project asks several questions, name one of them: {listed(candidates)}")
    [(name, tag)] = candidates.items()
    objects = {data_key(element): key for key, element in known.items() if data_key(element)}
    target = (tag.get("toName") or "").split(",")[0]
    if target not in objects.values():
        raise LabelingMismatch(f"{tag.tag} {name!r} is about {target!r}, which is no text or image taken from the task")
    return Form(labeling(root, tag, name, known), name, tag.tag, target, objects)


def labeling_from_config(xml: str) -> Labeling:
    """The question that ``xml`` asks. Raises LabelingMismatch if it is none that we know."""
    return read_config(xml).labeling


def labeling(
    root: ElementTree.Element, tag: ElementTree.Element, name: str, known: Mapping[str, ElementTree.Element]
) -> Labeling:
    """The labeling of one control and of every object shown."""
    kind = LabelKind.SPAN
    if tag.tag == "Choices":
        kind = LabelKind.MULTI if tag.get("choice") == "multiple" else LabelKind.SINGLE
    labels: list[str] = []
    descriptions: dict[str, str] = {}
    for option in tag.iter(CONTROLS[tag.tag]):
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
