"""A labeling config as Label Studio's page reads it: its tags, and what its objects show of a task.

Attributes may be written in any case. An object shows ``$key`` of the task's data, a path into it (``$body.text``,
``$items[0]``), or words around such.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import FieldKind

KINDS = {"Text": FieldKind.TEXT, "HyperText": FieldKind.HTML, "Image": FieldKind.IMAGE}
"""What of a task can be read, by the tag that shows it."""
OBJECTS = frozenset(
    {*KINDS, *["Audio", "AudioPlus", "Chat", "List", "Paragraphs", "Pdf", "ReactCode", "Table", "TimeSeries", "Video"]}
)
"""Every tag that shows a part of the task."""
VARIABLE = re.compile(r"\$[\w[\].{}]+", re.ASCII)
"""What the page replaces by what the task has under that key."""
ONE_KEY = re.compile(r"\$[-\w.[\]{}]+")
"""What was meant as one key."""
KEY_PART = re.compile(r"[^.[\]]+")


JOINED = "$\u2060"
"""A dollar that begins no variable: what follows is a word joiner, which nobody sees."""


def as_it_stands(text: str) -> str:
    """``text`` so that the page shows it as it is: ``$5`` would be looked up in the task."""
    return VARIABLE.sub(lambda found: JOINED + found.group()[1:], text)


class Tag:
    """One tag of a config, or the whole config: its name, its attributes in lower case, and what is inside."""

    def __init__(self, element: ElementTree.Element, parents: tuple[Tag, ...] = ()) -> None:
        self.tag = element.tag
        self.parents = parents
        self._attributes = {name.lower(): value for name, value in element.attrib.items()}
        self._inside = [Tag(child, (*parents, self)) for child in element]

    @classmethod
    def read(cls, xml: str) -> Tag:
        """The outermost tag. Raises LabelingMismatch if ``xml`` is none."""
        try:
            return cls(ElementTree.fromstring(xml))  # noqa: S314  expat opens no external entity and limits expansion
        except ElementTree.ParseError as error:
            raise LabelingMismatch(f"the labeling config is not XML: {error}") from None

    def get(self, attribute: str, default: str = "") -> str:
        """The value of an attribute, named in lower case."""
        return self._attributes.get(attribute, default)

    def says(self, attribute: str) -> bool:
        """Whether an attribute is ``true``."""
        return self.get(attribute) == "true"

    @property
    def name(self) -> str:
        """What controls, results and recipes call it."""
        return self.get("name")

    def walk(self) -> Iterator[Tag]:
        """It and all inside it, in the order of the page."""
        yield self
        for one in self._inside:
            yield from one.walk()

    def inside(self, tag: str) -> bool:
        """Whether it stands in a ``tag``."""
        return any(one.tag == tag for one in self.parents)

    @property
    def value(self) -> str:
        """What it shows."""
        return self.get("value")

    def __str__(self) -> str:
        return f"{self.tag} {self.name!r}"


@dataclass(frozen=True, slots=True)
class Shown:
    """An object of the page. ``keys``: what of a task's data it shows; ``exactly``: one key and nothing around it."""

    tag: Tag
    keys: tuple[str, ...]
    exactly: bool

    @classmethod
    def of(cls, tag: Tag) -> Shown:
        """What ``tag`` shows. Raises LabelingMismatch for a key that the page cuts off."""
        exactly = VARIABLE.fullmatch(tag.value) is not None
        if not exactly and ONE_KEY.fullmatch(tag.value) and tag.tag in KINDS:
            raise LabelingMismatch(
                f"{tag} shows {tag.value!r}, of which Label Studio's page reads a part: what it shows is called by "
                "letters from A to Z, digits and _; rename it in the tasks and in the labeling config"
            )
        keys = dict.fromkeys(found[1:] for found in VARIABLE.findall(tag.value))
        return cls(tag, tuple(keys), exactly)

    @property
    def unread(self) -> str:
        """Why it can't be read, in words; empty if it can."""
        tag = self.tag
        if tag.tag not in KINDS:
            return "nextlabel reads Text, HyperText and Image"
        if tag.get("valuelist"):
            return f'it shows a list of pictures, valueList="{tag.get("valuelist")}"; one Image for each can be read'
        if tag.get("encoding", "none") != "none":
            return f'its texts are encoded, encoding="{tag.get("encoding")}"; import them as they are'
        return "it stands in a Repeater, once for each item of a list" if tag.inside("Repeater") else ""

    @property
    def by_address(self) -> bool:
        """Whether the task has the address of the text, in place of the text."""
        return self.tag.tag != "Image" and self.tag.get("valuetype") == "url"


def nested(fields: Mapping[str, str]) -> dict[str, Any]:
    """What a task has where the page shows ``fields`` by their paths: ``body.text`` is the text of a body."""
    data: dict[str, Any] = {}
    for path, value in fields.items():
        *parents, last = path.split(".")
        here = data
        for part in parents:
            here = here.setdefault(part, {})
        here[last] = value
    return data


def value_at(data: Mapping[str, Any], path: str) -> Any:
    """What a task has under a key, or a path; None if there is nothing."""
    if path in data:
        return data[path]
    found: Any = data
    for part in KEY_PART.findall(path):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and part.isdigit():
            found = found[int(part)] if int(part) < len(found) else None
        else:
            return None
    return found


def with_value(data: Mapping[str, Any], path: str, value: str) -> dict[str, Any]:
    """``data`` with ``value`` where :func:`value_at` finds one under ``path``."""
    changed = copy.deepcopy(dict(data))
    if path in changed:
        changed[path] = value
        return changed
    *parents, last = KEY_PART.findall(path)
    here: Any = changed
    for part in parents:
        here = here[int(part) if isinstance(here, list) else part]
    here[int(last) if isinstance(here, list) else last] = value
    return changed
