"""Which question of a labeling config is learned, and in which words the others are refused.

``Choices`` and ``Taxonomy`` are about the whole record, ``Labels`` about parts of a text; all else that Label
Studio can ask is named, with the reason and the way on.
"""

from __future__ import annotations

from collections.abc import Mapping

from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.label_studio.page import KINDS, OBJECTS, VARIABLE, Shown, Tag
from nextlabel.connectors.records import FieldKind

WHOLE = ("Choices", "Taxonomy")
"""The tags of questions about the whole record."""
LEARNED = (*WHOLE, "Labels", "HyperTextLabels")
"""The tags of questions that can be learned."""
WANTED: Mapping[str, str] = {
    "DateTime": "for a date",
    "Number": "for a number",
    "Pairwise": "which of two is better",
    "Ranker": "for an order",
    "Rating": "for a number of stars",
    "TextArea": "for free text",
}
"""What controls ask for that is no label; others are for parts of pictures, of sounds, of videos, of dialogues."""
RIVALS = frozenset({*WHOLE, "Pairwise", "Ranker", "Rating"})
"""What may be the project's real question, even if nextlabel can learn another."""
NO_QUESTIONS = frozenset({"Bucket", "Filter", "Relation", "Relations", "Shortcut"})
"""What carries a name, or points at an object, and asks nothing."""
WAY_ON = (
    'nextlabel learns Choices about Text, HyperText and Image (one label, or several with choice="multiple"), a '
    "Taxonomy about the same, and Labels or HyperTextLabels on Text and HyperText: add one of these to the labeling "
    "config, or use another project"
)


def question(root: Tag, shown: Mapping[str, Shown], control: str | None) -> Tag:
    """The question to learn: the one called ``control``, or the only one.

    Raises LabelingMismatch if it can't be learned, or if nobody said which of several it is.
    """
    asked = {tag.name or tag.tag: tag for tag in root.walk() if _asks(tag)}
    refused = {name: reason for name, tag in asked.items() if (reason := refusal(tag, shown))}
    learned = {name: tag for name, tag in asked.items() if name not in refused}
    if control is not None:
        if control in refused:
            raise LabelingMismatch(f"{refused[control]}; {_others(learned) or WAY_ON}")
        if control not in learned:
            raise LabelingMismatch(f"the project has no question named {control!r}; {_others(learned) or WAY_ON}")
        return learned[control]
    if not learned:
        nearest_first = sorted(refused, key=lambda name: asked[name].tag not in LEARNED)
        reasons = "; ".join(refused[name] for name in nearest_first) or "it has no question"
        raise LabelingMismatch(f"the project asks nothing that can be learned: {reasons}. {WAY_ON}")
    rivals = [tag for name, tag in asked.items() if name in refused and tag.tag in RIVALS and not tag.says("perregion")]
    if len(learned) > 1 or rivals:
        asks = f"the project asks several questions: {', '.join(map(str, [*learned.values(), *rivals]))}"
        raise LabelingMismatch(f"{asks}; {_others(learned) if rivals else _name_one(learned)}")
    return next(iter(learned.values()))


def _asks(tag: Tag) -> bool:
    if tag.tag in OBJECTS or tag.tag in NO_QUESTIONS:
        return False
    return tag.tag in LEARNED or tag.tag in WANTED or bool(tag.get("toname"))


def _others(learned: Mapping[str, Tag]) -> str:
    if not learned:
        return ""
    return f"{_name_one(learned)}: {', '.join(map(str, learned.values()))}"


def _name_one(learned: Mapping[str, Tag]) -> str:
    return f"name one of them in the recipe, as in `question: {next(iter(learned))}`"


def about(tag: Tag, shown: Mapping[str, Shown]) -> list[str]:
    """The objects that a control is about, by their names."""
    return [name for part in tag.get("toname").split(",") if (name := part.strip()) in shown]


def refusal(tag: Tag, shown: Mapping[str, Shown]) -> str:
    """Why a question can't be learned, in words; empty if it can."""
    objects = [shown[name] for name in about(tag, shown)]
    if tag.tag not in LEARNED:
        wanted = WANTED.get(tag.tag) or f"for parts of {_named(objects) or 'the task'}"
        return f"{tag} asks {wanted}"
    return _own(tag) or (_about_the_record(tag, objects, shown) if tag.tag in WHOLE else _on_a_text(tag, objects))


def _own(tag: Tag) -> str:
    """What in the control itself stands in the way."""
    if not tag.name:
        return f"a {tag.tag} has no name"
    if tag.says("perregion") or tag.says("peritem"):
        return f"{tag} asks about parts, not about the whole record (perRegion)"
    if tag.inside("Repeater"):
        return f"{tag} stands in a Repeater: it asks once for each item of a list"
    for one in tag.walk():
        if one.tag in (*LEARNED, "Choice", "Label") and VARIABLE.search(one.get("value")) and not one.get("alias"):
            return f'{tag} has other labels in each task (value="{one.get("value")}")'
    if tag.get("apiurl"):
        return f"{tag} has labels that are not in the labeling config (apiUrl)"
    return ""


def _about_the_record(tag: Tag, objects: list[Shown], shown: Mapping[str, Shown]) -> str:
    if not objects:
        return f"{tag} is about nothing that the page shows"
    if len(objects) > 1:
        return f"{tag} is about {_named(objects)}, and Label Studio's page stores no answer then: let toName name one"
    if objects[0].unread:
        return f"{tag} is about {_named(objects)}: {objects[0].unread}"
    if not any(one.keys and not one.unread for one in shown.values()):
        return f"{tag} is about {_named(objects)}, which shows nothing of the task: give it a value such as $text"
    return ""


def _on_a_text(tag: Tag, objects: list[Shown]) -> str:
    if len(objects) != 1:
        return f"{tag} marks parts of {_named(objects) or 'nothing'}; it can be one text"
    [text] = objects
    if KINDS.get(text.tag.tag, FieldKind.IMAGE) is FieldKind.IMAGE:
        return f"{tag} marks parts of {text.tag}; nextlabel learns to mark Text and HyperText"
    if text.unread:
        return f"{tag} marks parts of {text.tag}: {text.unread}"
    if not text.exactly:
        return f"{tag} marks parts of {text.tag}, which shows {text.tag.value!r}: let it show one key and nothing else"
    if text.tag.tag == "HyperText" and text.tag.says("inline"):
        return f'{tag} marks parts of {text.tag}, which is inline: drop inline="true"'
    if tag.tag == "HyperTextLabels" and text.tag.tag != "HyperText":
        return f"{tag} marks parts of {text.tag}: mark a Text with Labels"
    return ""


def _named(objects: list[Shown]) -> str:
    return ", ".join(str(one.tag) for one in objects)
