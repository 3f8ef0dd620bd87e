"""Labels, spans and times as platforms store them, read strictly: what is odd is refused with the reason, not guessed.

Every reader raises ValueError in words that end the sentence "it can't be read: ...".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeGuard

from nextlabel.connectors.hierarchy import joined
from nextlabel.connectors.records import Labeling, LabelKind, Span, Value, as_text

ODD = (KeyError, TypeError, AttributeError, ValueError, OverflowError)
"""What reading a body can raise where something in it is missing, or of another type than the platform documents."""
LONGEST = 2**31 - 1
"""No text has so many characters: a greater offset is none."""


def reason(error: Exception) -> str:
    """Why a body can't be read, in words."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


def read_id(value: Any, what: str) -> str:
    """An id, as text; ``what`` it is of is said if it is none."""
    text = "" if isinstance(value, bool) or not isinstance(value, (str, int)) else str(value)
    if not storable(text):
        raise ValueError(f"{shown(value)} is no id of {what}")
    return text


def read_label(value: Any) -> str:
    """One label; a number that is one reads as its text."""
    text = "" if isinstance(value, bool) or not isinstance(value, (str, int, float)) else as_text(value)
    if not text.strip() or not storable(text):
        raise ValueError(f"{shown(value)} is no label")
    return text


def read_labels(value: Any) -> tuple[str, ...]:
    """A list of labels, each once; a label alone is a list of one."""
    if not isinstance(value, (str, list)):
        raise ValueError(f"{shown(value)} is no list of labels")
    return tuple(dict.fromkeys(read_label(one) for one in ([value] if isinstance(value, str) else value)))


def read_path(value: Any) -> str:
    """The label that is a list of its parts, the outermost first."""
    return joined([read_label(part) for part in read_list(value, "a path")])


def read_span(start: Any, end: Any, label: Any, text: Any = "") -> Span:
    """A span from the character ``start`` to before the character ``end``; it covered ``text``, where that is said."""
    span = Span(_offset(start), _offset(end), read_label(label), text if isinstance(text, str) else "")
    if span.start >= span.end:
        raise ValueError(f"a span from {span.start} to {span.end} marks nothing")
    return span


def read_time(value: Any) -> datetime:
    """A moment in ISO 8601; in UTC where it doesn't say."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is no time")
    when = datetime.fromisoformat(value)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when


def read_object(value: Any, what: str) -> Mapping[str, Any]:
    """A JSON object; ``what`` it should be is said if it is none."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} is {shown(value)}, not an object")
    return value


def read_list(value: Any, what: str) -> list[Any]:
    """A JSON list, empty for null; ``what`` it should be is said if it is none."""
    if not isinstance(value, list) and value is not None:
        raise ValueError(f"{what} is {shown(value)}, not a list")
    return value or []


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object; empty for what is none."""
    return value if isinstance(value, Mapping) else {}


def fitting(labeling: Labeling, value: Value) -> Value:
    """``value``, which may be the answer to a question that takes one label. Labels that are unknown don't matter."""
    if labeling.kind is LabelKind.SINGLE and len(value) > 1:
        raise ValueError(f"it has {len(value)} labels, {', '.join(map(str, value[:5]))}, where one may be given")
    return value


def storable(name: Any) -> TypeGuard[str]:
    """Whether ``name`` is a text that a database stores: not empty, and no half of a character in it."""
    if not isinstance(name, str):
        return False
    return bool(name) and not any("\ud800" <= character <= "\udfff" for character in name)


LONGEST_ID = 200
"""Characters; what is longer is nobody's id for a record."""


def short_values(values: Mapping[str, Any]) -> dict[str, str]:
    """Those of ``values`` that may be an id, as text."""
    texts = {key: as_text(value) for key, value in values.items() if isinstance(value, (str, int, float))}
    return {key: text for key, text in texts.items() if len(text) <= LONGEST_ID and storable(text) and "\0" not in text}


def shown(value: Any) -> str:
    """A value in an error, in a few words."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _offset(value: Any) -> int:
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= LONGEST
    if not whole or int(value) != value:
        raise ValueError(f"{shown(value)} is no offset of a span")
    return int(value)
