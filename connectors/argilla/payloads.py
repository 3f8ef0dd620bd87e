"""Records, suggestions, responses and webhook bodies of Argilla <-> our words. No I/O.

Argilla's times are UTC without saying so. Its web page counts offsets in UTF-16 units, as browsers do, and its server
stores what the page says: an emoji before a span moves it, so offsets are converted where the text holds any.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any
from urllib.parse import urlsplit

from nextlabel.connectors.argilla.config import NONE, Form
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.labelings import check_labels
from nextlabel.connectors.records import (
    Annotation,
    AnnotationStatus,
    FieldKind,
    Hint,
    LabelKind,
    Record,
    RemoteRecord,
    Span,
    Suggestion,
    Value,
)

Json = dict[str, Any]

FOREIGN_UID = "argilla-"
"""Begins the uid of a record that has no external id; Argilla's own id follows."""
LANE = "queue_"
"""Begins the name of the metadata property that is a person's queue; eight digits of their id follow."""
OURS = re.compile(rf"{LANE}[0-9a-f]{{8}}")
"""Metadata that is our own: places in people's queues."""
STATUSES = {
    "submitted": AnnotationStatus.SUBMITTED,
    "discarded": AnnotationStatus.SKIPPED,
    "draft": AnnotationStatus.DRAFT,
}
WEB_URL_LENGTH = 2038
DATA_URL_LENGTH = 5_000_000


# -- records ---------------------------------------------------------------------------------------------------------


def write_record(form: Form, record: Record) -> Json:
    """A record to create: the fields that are shown, the metadata, and the uid as external id.

    Raises LabelingMismatch if Argilla would refuse it.
    """
    if missing := sorted(name for name in form.required if name not in record.fields):
        raise LabelingMismatch(f"record {record.uid!r} lacks the fields {', '.join(missing)}, which the dataset shows")
    fields = {one.name: record.fields[one.name] for one in form.labeling.fields if one.name in record.fields}
    for one in form.labeling.fields:
        if one.kind is FieldKind.IMAGE and one.name in fields:
            _check_image(record.uid, one.name, fields[one.name])
    if mine := [key for key in record.metadata if OURS.fullmatch(key)]:
        raise LabelingMismatch(f"record {record.uid!r}: the metadata {', '.join(mine)} is nextlabel's own on Argilla")
    for text in (record.uid, *fields.values()):
        if "\0" in text:
            raise LabelingMismatch(f"record {record.uid!r} holds a NUL character, which PostgreSQL can't store")
    return {"external_id": record.uid, "fields": fields, "metadata": dict(record.metadata)}


def read_record(form: Form, item: Mapping[str, Any]) -> RemoteRecord:
    """A record as Argilla lists it."""
    metadata = {key: value for key, value in (item.get("metadata") or {}).items() if not OURS.fullmatch(key)}
    fields = {one.name: _text(item["fields"].get(one.name)) for one in form.labeling.fields}
    uid = item.get("external_id") or f"{FOREIGN_UID}{item['id']}"
    return RemoteRecord(str(item["id"]), Record(uid, fields, metadata))


def _check_image(uid: str, name: str, address: str) -> None:
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    known = parts.scheme == "data" or (parts.scheme in ("http", "https") and parts.netloc and parts.path)
    if not known or not parts.path:
        raise LabelingMismatch(
            f"record {uid!r}: the image {address[:80]!r} in {name!r} is no address that Argilla shows: it takes "
            "http(s)://host/path and data: URLs"
        )
    limit = DATA_URL_LENGTH if parts.scheme == "data" else WEB_URL_LENGTH
    if len(address) > limit:
        raise LabelingMismatch(
            f"record {uid!r}: the image in {name!r} has an address of {len(address):,} characters; Argilla takes "
            f"{limit:,}. Make it smaller, or serve it over http"
        )


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)


# -- suggestions -----------------------------------------------------------------------------------------------------


def write_suggestion(form: Form, suggestion: Suggestion) -> Json | None:
    """A suggestion as Argilla takes it; None where it has no way to show one, for no label at all.

    Several labels, or spans, have a score each: the same for all of them where the suggestion has only one. Of spans
    that overlap where the question forbids it, the first counts. Raises LabelingMismatch if a label is not among the
    options.
    """
    check_labels(form.labeling, suggestion.value)
    value: str | list[Any]
    score: float | list[float] | None
    one = min(max(suggestion.score, 0.0), 1.0)
    if form.labeling.kind is LabelKind.SINGLE:
        if not suggestion.value:
            return None
        value, score = str(suggestion.value[0]), one
    elif form.labeling.kind is LabelKind.MULTI:
        value = list(dict.fromkeys(suggestion.value)) or ([NONE] if form.has_none else [])
        if not value:
            return None
        score = [one] * len(value)
    else:
        value, score = _spans(form, suggestion.value, suggestion.scores or (one,) * len(suggestion.value))
    return {
        "question_id": form.question_id,
        "value": value,
        "score": score,
        "agent": suggestion.model_version,
        "type": "model",
    }


def _spans(form: Form, value: Value, scores: Sequence[float]) -> tuple[list[Any], list[float] | None]:
    spans: list[Json] = []
    kept: list[float] = []
    for one, score in zip(value, scores, strict=True):
        if not isinstance(one, Span):
            raise LabelingMismatch(f"{one!r} is no span, which {form.question!r} asks for")
        clear = all(one.end <= other["start"] or other["end"] <= one.start for other in spans)
        if form.overlapping or clear:
            spans.append({"start": one.start, "end": one.end, "label": one.label})
            kept.append(min(max(score, 0.0), 1.0))
    return spans, kept or None


def placed(form: Form, suggestion: Json | None, fields: Mapping[str, Any]) -> Json | None:
    """``suggestion`` as it has to be stored for a record with these ``fields``: spans where the page will show them.

    The server checks them against the text's length in characters, so near the end of a text with emoji some can't
    be stored; they are left out.
    """
    text = _text(fields.get(form.target))
    if suggestion is None or form.labeling.kind is not LabelKind.SPAN or _is_plain(text):
        return suggestion
    spans = [
        {**one, "start": _units(text[: one["start"]]), "end": _units(text[: one["end"]])} for one in suggestion["value"]
    ]
    stored = [place for place, one in enumerate(spans) if one["end"] <= len(text)]
    scores = [suggestion["score"][place] for place in stored] if suggestion["score"] else []
    return {**suggestion, "value": [spans[place] for place in stored], "score": scores or None}


def _is_plain(text: str) -> bool:
    """Whether characters and UTF-16 units are the same."""
    return text.isascii() or max(text) <= "\uffff"


def _units(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def _points(text: str) -> Callable[[int], int]:
    """What turns an offset in UTF-16 units into one in characters of ``text``."""
    if _is_plain(text):
        return lambda units: units
    starts = list(accumulate((2 if character > "\uffff" else 1 for character in text), initial=0))
    return lambda units: bisect_right(starts, units) - 1


# -- responses -------------------------------------------------------------------------------------------------------


def read_response(
    form: Form, remote_id: str, response: Mapping[str, Any], fields: Mapping[str, Any] | None = None
) -> Annotation | None:
    """One person's response to a record with these ``fields``; None if it is of a status that says nothing.

    Raises KeyError, TypeError or ValueError on a malformed one.
    """
    status = STATUSES.get(response["status"])
    if status is None:
        return None
    answer = (response.get("values") or {}).get(form.question) or {}
    user = response.get("user_id") or response["user"]["id"]
    return Annotation(
        id=str(response["id"]),
        remote_id=remote_id,
        annotator=str(user),
        value=_value(form, answer.get("value"), _text((fields or {}).get(form.target))),
        status=status,
        updated_at=_time(response["updated_at"]),
    )


def _value(form: Form, value: Any, text: str) -> Value:
    if value is None:
        return ()
    match form.labeling.kind:
        case LabelKind.SINGLE:
            return (str(value),)
        case LabelKind.MULTI:
            return tuple(str(label) for label in value if not (form.has_none and label == NONE))
        case LabelKind.SPAN:
            points = _points(text)
            return tuple(Span(points(int(one["start"])), points(int(one["end"])), str(one["label"])) for one in value)


def _time(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when


def read_event(dataset_id: str, body: Mapping[str, Any]) -> Hint:
    """Where one webhook body says to look. Events of other datasets, and those we don't know, say nothing.

    Raises ValueError on a malformed body.
    """
    try:
        kind, data = body["type"], body.get("data") or {}
        if kind not in ("response.created", "response.updated", "response.deleted"):
            return Hint()
        record = data["record"]
        if str(record["dataset"]["id"]) != dataset_id:
            return Hint()
        return Hint(annotations={str(data["id"]): str(record["id"])})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"malformed event: {type(error).__name__} {error}") from None
