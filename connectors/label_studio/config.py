"""Labeling <-> Label Studio's labeling config (XML), and answers <-> the regions of its results.

We write these shapes: a single or multiple ``Choices``, nested ``Choices`` or a ``Taxonomy`` where labels are places in
a tree, or ``Labels``, over text and image fields. We read the same shapes back from projects that people made by hand,
where object names and data keys may differ, choices may have aliases, and any number of other tags may stand around.
What we can't learn (Rating, Ranker, ...) is refused, with the reason: ``refusals.py``.

What differs from one kind of question to another is in ``CONTROLS``, and nowhere else.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar
from xml.etree import ElementTree

from typing_extensions import override

from nextlabel.connectors.answers import read_label, read_labels, read_list, read_path, read_span
from nextlabel.connectors.basics import Json
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.hierarchy import SEPARATOR, chosen, joined, path_of
from nextlabel.connectors.label_studio import refusals
from nextlabel.connectors.label_studio.page import JOINED, KINDS, OBJECTS, Shown, Tag, as_it_stands
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Suggestion, Value, spans_of

UID_KEY = "nextlabel_uid"
"""The key in a task's data under which our record's uid is kept."""

TAGS = {FieldKind.TEXT: "Text", FieldKind.HTML: "HyperText", FieldKind.IMAGE: "Image"}
"""What shows a field."""
FIELD_NAME = re.compile(r"[A-Za-z0-9_]+")
"""What the page can be told to show: other letters and - are no part of a key there."""
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Form:
    """A labeling together with the names that Label Studio's results need.

    ``control`` and ``tag`` are the control's name and tag, ``target`` the name of the object it is about;
    ``objects`` maps our field names (the keys in a task's data) to object names. ``by_address``: fields of which a task
    has the address, in place of the text. ``unread``: what annotators see besides, in words, and
    ``unread_keys`` what of a task's data that is. ``nested``: its Choices stand in one another.
    """

    labeling: Labeling
    control: str
    tag: str
    target: str
    objects: Mapping[str, str] = field(default_factory=dict)
    by_address: frozenset[str] = frozenset()
    unread: tuple[str, ...] = ()
    unread_keys: frozenset[str] = frozenset()
    nested: bool = False

    @property
    def shown(self) -> Collection[str]:
        """The fields that annotators see."""
        return self.objects.keys()

    @property
    def asks(self) -> Control:
        """How the question is asked."""
        asked = (self.tag, self.labeling.kind, self.nested)
        return next(one for one in READ if (one.tag, one.kind, one.nested) == asked)

    def shows(self, suggestion: Suggestion) -> Suggestion:
        """``suggestion`` as the page can show it: with a label in the place of a parent, where it lists labels flat."""
        return suggestion if self.asks.keeps_parents else suggestion.flat()

    @property
    def in_html(self) -> bool:
        """Whether spans are places in a web page."""
        return self.labeling.kind is LabelKind.SPAN and _kind(self.labeling, self.labeling.marked) is FieldKind.HTML


class Control(ABC):
    """How one kind of question is asked, and its answers are written.

    ``tag`` is the control's tag, ``option`` that of each label in it. ``first``: it stands above what it is about.
    ``keeps_parents``: an answer, or a suggestion, may be a parent of labels. ``nested``: options stand in one another,
    in a tag that else asks for labels side by side.
    """

    kind: LabelKind
    tag: str
    option: ClassVar[str]
    first: ClassVar[bool] = False
    keeps_parents: ClassVar[bool] = False
    nested: ClassVar[bool] = False
    attributes: Mapping[str, str] = {}
    """Attributes of the tag besides its names."""

    def matches(self, tag: Tag) -> bool:
        """Whether ``tag`` asks this kind of question."""
        return tag.tag == self.tag

    def options(self, tag: Tag) -> Iterator[tuple[str, Tag]]:
        """The labels of a control. One that stands in another is not shown by the page, and is none."""
        for one in tag.walk():
            if one.tag == self.option and not one.inside(self.option):
                yield _label_of(one), one

    def write_options(self, control: ElementTree.Element, labeling: Labeling) -> None:
        """Put the labels into the ``control``."""
        for label in labeling.labels:
            _hinted(_option(control, self.option, label), labeling, label)

    @abstractmethod
    def target(self, labeling: Labeling) -> str:
        """The field that the control is about. Raises LabelingMismatch if there is none that it can be about."""

    @abstractmethod
    def write(self, form: Form, value: Value, scores: Sequence[float]) -> list[Json]:
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
        self.kind = LabelKind.MULTI if several else LabelKind.SINGLE
        # No label is an answer too, where there may be several.
        self.attributes = (
            {"choice": "multiple", "required": "false"} if several else {"choice": "single", "required": "true"}
        )

    @override
    def matches(self, tag: Tag) -> bool:
        several = tag.get("choice") == "multiple"
        return (
            tag.tag == self.tag and several is (self.kind is LabelKind.MULTI) and tag.says("allownested") is self.nested
        )

    @override
    def target(self, labeling: Labeling) -> str:
        return labeling.fields[0].name

    @override
    def write(self, form: Form, value: Value, scores: Sequence[float]) -> list[Json]:
        listed = [label for label in value if label in form.labeling.labels]  # it has no place for a parent of labels
        return [{"value": {"choices": listed}}] if listed else []

    @override
    def read(self, regions: Sequence[Json]) -> Value:
        return tuple(dict.fromkeys(label for region in regions for label in read_labels(region["choices"])))


class NestedChoices(Choices):
    """Labels of the whole record that are places in a tree, all of it in sight; answers are paths.

    The page ticks all that is below a parent, too, and a parent all below which is ticked. It shows a suggestion only
    if it is written so.
    """

    nested = keeps_parents = True

    def __init__(self, *, several: bool) -> None:
        super().__init__(several=several)
        self.attributes = {**self.attributes, "allowNested": "true"}

    @override
    def options(self, tag: Tag) -> Iterator[tuple[str, Tag]]:
        """Those that hold no other."""
        for one in tag.walk():
            if one.tag == self.option and not any(inner.tag == self.option for inner in one.walk() if inner is not one):
                path = [_label_of(part) for part in (*one.parents, one) if part.tag == self.option]
                if any(SEPARATOR in part for part in path):
                    raise LabelingMismatch(f"{tag}: a label holds {SEPARATOR!r}, which parts the labels of a path")
                yield joined(path), one

    @override
    def write_options(self, control: ElementTree.Element, labeling: Labeling) -> None:
        made: dict[str, ElementTree.Element] = {}
        for node in labeling.tree.nodes:
            *higher, own = path_of(node)
            made[node] = _option(made[joined(higher)] if higher else control, self.option, own)
        for label in labeling.labels:
            _hinted(made[label], labeling, label)

    @override
    def write(self, form: Form, value: Value, scores: Sequence[float]) -> list[Json]:
        tree = form.labeling.tree
        below = {at for label in value for at in tree.within(str(label))}
        ticked = [node for node in tree.nodes if below.issuperset(tree.within(node))]
        return [{"value": {"choices": [list(path_of(node)) for node in ticked]}}] if ticked else []

    @override
    def read(self, regions: Sequence[Json]) -> Value:
        # A label alone is from before the choices stood in one another.
        listed = [one for region in regions for one in read_list(region["choices"], "its choices")]
        ticked = [read_label(one) if isinstance(one, str) else read_path(one) for one in listed]
        return chosen(ticked, several=self.kind is LabelKind.MULTI)


class Taxonomy(NestedChoices):
    """The same in a list that opens, with a search; an answer may end at a parent, and ticks nothing else.

    Without ``maxUsages`` the page lets people choose any number. With it a second one is not taken before the first
    was removed.
    """

    tag = "Taxonomy"
    nested = False

    def __init__(self, *, several: bool) -> None:
        super().__init__(several=several)
        shape = {"showFullPath": "true", "pathSeparator": SEPARATOR}
        self.attributes = shape | ({"required": "false"} if several else {"maxUsages": "1", "required": "true"})

    @override
    def matches(self, tag: Tag) -> bool:
        return tag.tag == self.tag and (tag.get("maxusages") != "1") is (self.kind is LabelKind.MULTI)

    @override
    def write(self, form: Form, value: Value, scores: Sequence[float]) -> list[Json]:
        return [{"value": {"taxonomy": [list(path_of(str(label))) for label in value]}}] if value else []

    @override
    def read(self, regions: Sequence[Json]) -> Value:
        paths = [path for region in regions for path in read_list(region["taxonomy"], "a taxonomy")]
        return tuple(dict.fromkeys(read_path(path) for path in paths if path))


class Labels(Control):
    """Spans of one text field: a region for each. On a web page their places are ``globalOffsets``."""

    kind = LabelKind.SPAN
    option = "Label"
    first = True

    def __init__(self, tag: str) -> None:
        self.tag = tag

    @override
    def target(self, labeling: Labeling) -> str:
        return labeling.marked

    @override
    def write(self, form: Form, value: Value, scores: Sequence[float]) -> list[Json]:
        regions = []
        for number, span in enumerate(spans_of(value)):
            own = {"score": scores[number]} if scores else {}
            place: Json = {"start": span.start, "end": span.end}
            if form.in_html:  # the page looks for paths first, and where there are none goes by the offsets
                place = {"start": "", "end": "", "startOffset": 0, "endOffset": 0, "globalOffsets": place}
            regions.append({**own, "id": f"span-{number}", "value": {**place, self.tag.lower(): [span.label]}})
        return regions

    @override
    def read(self, regions: Sequence[Json]) -> Value:
        found = []
        for region in regions:
            labels = read_labels(region[self.tag.lower()])
            place, marked = region.get("globalOffsets"), None
            if place is None:  # of a web page, the text is told as it is laid out
                place, marked = region, region.get("text")
            if str(place["start"]).startswith("/"):
                raise ValueError("a place in a web page has no globalOffsets")
            found += [read_span(place["start"], place["end"], label, marked) for label in labels]
        return tuple(found)


CONTROLS: Mapping[LabelKind, Control] = {
    LabelKind.SINGLE: Choices(several=False),
    LabelKind.MULTI: Choices(several=True),
    LabelKind.SPAN: Labels("Labels"),
}
"""What asks each kind of question in a project that we make."""
IN_SIGHT = NestedChoices(several=False)
"""The same where one label is asked for, a place in a small tree."""
MOST_IN_SIGHT = 25
"""Parents and labels. The page has keys for about so many, and more of them are longer than a screen."""
TREES: Mapping[LabelKind, Control] = {
    LabelKind.SINGLE: Taxonomy(several=False),
    LabelKind.MULTI: Taxonomy(several=True),
}
"""The same in a larger tree, or of several labels: a parent alone could not be told from all of its labels."""
READ = (*CONTROLS.values(), IN_SIGHT, NestedChoices(several=True), *TREES.values(), Labels("HyperTextLabels"))
"""What can be learned in a project that people made."""


def control_for(labeling: Labeling) -> Control:
    """What asks ``labeling`` in a project that we make."""
    if not labeling.tree.parents or labeling.kind not in TREES:
        return CONTROLS[labeling.kind]
    small = labeling.kind is LabelKind.SINGLE and len(labeling.tree.nodes) <= MOST_IN_SIGHT
    return IN_SIGHT if small else TREES[labeling.kind]


def control_of(tag: Tag) -> Control:
    """How ``tag``, which can be learned, asks."""
    return next(control for control in READ if control.matches(tag))


def _label_of(option: Tag) -> str:
    return option.get("alias") or option.value


def _option(parent: ElementTree.Element, tag: str, label: str) -> ElementTree.Element:
    """A label of a control, or of a parent."""
    option = ElementTree.SubElement(parent, tag, value=as_it_stands(label))
    if option.get("value") != label:
        option.set("alias", label)
    return option


def _hinted(option: ElementTree.Element, labeling: Labeling, label: str) -> None:
    if label in labeling.descriptions:
        option.set("hint", labeling.descriptions[label])


def _kind(labeling: Labeling, name: str) -> FieldKind:
    return next(one.kind for one in labeling.fields if one.name == name)


# -- written -----------------------------------------------------------------------------------------------------------


def form_of(labeling: Labeling) -> Form:
    """The form that :func:`write_config` gives ``labeling``. Raises LabelingMismatch if Label Studio can't ask it."""
    names = [one.name for one in labeling.fields]
    for name in names:
        if not FIELD_NAME.fullmatch(name):
            raise LabelingMismatch(
                f"Label Studio's page can't show a field called {name!r}: name it with letters from A to Z, digits and "
                f"_, as in `fields: {{text: {name}}}`"
            )
    if UID_KEY in names or len(set(names) | {labeling.name}) != len(names) + 1:
        raise LabelingMismatch(f"names repeat, or are our own ({UID_KEY}): {', '.join([labeling.name, *names])}")
    for text in (labeling.name, *labeling.labels, labeling.instruction, *labeling.descriptions.values()):
        if NOT_XML.search(text):
            raise LabelingMismatch(f"{text!r} holds a control character, which no XML can")
    control = control_for(labeling)
    objects = {name: name for name in names}
    return Form(labeling, labeling.name, control.tag, control.target(labeling), objects, nested=control.nested)


def write_config(labeling: Labeling) -> str:
    """The XML that asks ``labeling``. Raises LabelingMismatch if Label Studio can't ask it."""
    form = form_of(labeling)
    view = ElementTree.Element("View")
    if labeling.instruction:
        ElementTree.SubElement(view, "Header", value=as_it_stands(labeling.instruction))
    asked = form.asks
    control = ElementTree.Element(asked.tag, {"name": form.control, "toName": form.target, **asked.attributes})
    asked.write_options(control, labeling)
    shown = []
    for one in labeling.fields:
        shown.append(ElementTree.Element(TAGS[one.kind], name=form.objects[one.name], value=f"${one.name}"))
    view.extend([control, *shown] if asked.first else [*shown, control])
    return ElementTree.tostring(view, encoding="unicode")


# -- read --------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def read_config(xml: str, control: str | None = None) -> Form:
    """What ``xml`` asks. ``control`` names the control to use where there are several.

    Raises LabelingMismatch, with the reason and the way on, if it holds no question that can be learned, or several and
    no choice was made.
    """
    root = Tag.read(xml)
    shown = {tag.name: Shown.of(tag) for tag in root.walk() if tag.tag in OBJECTS and tag.name}
    tag = refusals.question(root, shown, control)
    read = [one for one in shown.values() if one.keys and not one.unread]
    [target] = refusals.about(tag, shown)
    target_first = sorted(read, key=lambda one: one.tag.name != target)
    objects = {key: one.tag.name for one in reversed(target_first) for key in one.keys}
    fields: dict[str, Field] = {}
    for one in read if tag.tag in refusals.WHOLE else target_first:  # what is marked first: others are its context
        for key in one.keys:
            fields.setdefault(key, Field(key, KINDS[one.tag.tag]))
    objects = {key: objects[key] for key in fields}
    by_address = frozenset(key for one in read if one.by_address for key in one.keys)
    unread = tuple(f"{one.tag}: {one.unread}" for one in shown.values() if one.unread)
    unread_keys = frozenset(key for one in shown.values() if one.unread for key in one.keys)
    labeling = _labeling(root, tag, tuple(fields.values()))
    nested = control_of(tag).nested
    return Form(labeling, tag.name, tag.tag, target, objects, by_address, unread, unread_keys, nested)


def _labeling(root: Tag, tag: Tag, fields: tuple[Field, ...]) -> Labeling:
    control = control_of(tag)
    labels: list[str] = []
    descriptions: dict[str, str] = {}
    for label, option in control.options(tag):
        labels.append(label)
        if hint := option.get("hint"):
            descriptions[label] = hint
    headers = (header.value for header in root.walk() if header.tag == "Header")
    instruction = next((text for text in headers if text and not text.startswith("$")), "").replace(JOINED, "$")
    try:
        return Labeling(control.kind, tuple(labels), fields, tag.name, instruction, descriptions)
    except ValueError as error:
        raise LabelingMismatch(
            f"{tag}: {error}: change the labeling config, where a value or an alias tells labels apart"
        ) from None
