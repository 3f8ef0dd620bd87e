"""Records, suggestions, responses and webhook bodies of Argilla <-> our words. No I/O.

Argilla's times are UTC without saying so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from math import isfinite
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from nextlabel.connectors.answers import ODD, mapping, read_id, read_object, read_time, reason, short_values, storable
from nextlabel.connectors.argilla.config import QUESTIONS, Form
from nextlabel.connectors.basics import Json
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import (
    FORGOTTEN,
    Annotation,
    AnnotationStatus,
    FieldKind,
    Finished,
    Found,
    Hint,
    Labeling,
    Record,
    RemoteRecord,
    Suggestion,
    Unreadable,
    as_text,
    check_labels,
    spans_of,
)

FOREIGN_UID = "argilla-"
"""Begins the uid of a record that has no external id; Argilla's own id follows."""
LANE = "queue_"
"""Begins the name of the metadata property that is a person's queue; eight digits of their id follow."""
OURS = re.compile(rf"{LANE}[0-9a-f]{{8}}(_[0-9a-f]{{4}}|)")
"""Metadata that is our own: places in people's queues; what parts questions stands at the end."""
NOT_STORED = (
    "somebody discarded it through the API without values, and Argilla can't store such a record any more: have that "
    'response given again, or sent with "values": {}'
)
AGENT = "nextlabel/"
"""Begins the agent of our suggestions; the model's version follows. All others are somebody else's."""
CONSENSUS = "consensus"
"""The agent of what people agreed on, in exports."""
STATUSES = {
    "submitted": AnnotationStatus.SUBMITTED,
    "discarded": AnnotationStatus.SKIPPED,
    "draft": AnnotationStatus.DRAFT,
}
NOT_SHOWN = (
    "Argilla itself fails to show it, because its metadata holds half a character, what is left of an emoji that was "
    "cut in two: write it again by its id or external id, without, or delete it"
)
COMPLETED = timedelta(seconds=1)
"""How long after an answer the record that it completes is written to. One that was written to no later says what the
annotator saw; another may have been corrected since."""
NUMBERS = {"integer": "whole numbers", "float": "numbers"}
"""Types of metadata that are numbers, and what they are called."""
WEB_URL_LENGTH = 2038
DATA_URL_LENGTH = 5_000_000


# -- records ---------------------------------------------------------------------------------------------------------


def write_record(form: Form, record: Record, properties: Mapping[str, str] = MappingProxyType({})) -> Json:
    """A record to create: the fields that are shown, the metadata, and the uid as external id.

    An image that it lacks is left out where the dataset lets it be.
    ``properties``: metadata that the dataset has a type for, which values of other types have to take.
    Raises LabelingMismatch if Argilla would refuse it.
    """
    if missing := sorted(name for name in form.required if name not in record.fields):
        raise LabelingMismatch(f"record {record.uid!r} lacks the fields {', '.join(missing)}, which the dataset shows")
    fields = {one.name: record.fields[one.name] for one in form.labeling.fields if one.name in record.fields}
    for one in form.labeling.fields:
        if one.kind is FieldKind.IMAGE and one.name in fields:
            if not fields[one.name].strip() and one.name not in form.required:
                del fields[one.name]
            else:
                _check_image(record.uid, one.name, fields[one.name])
    if mine := [key for key in record.metadata if OURS.fullmatch(key)]:
        raise LabelingMismatch(f"record {record.uid!r}: the metadata {', '.join(mine)} is nextlabel's own on Argilla")
    for text in (record.uid, *fields.values()):
        if "\0" in text:
            raise LabelingMismatch(f"record {record.uid!r} holds a NUL character, which PostgreSQL can't store")
    metadata = {name: _typed(record.uid, name, value, properties) for name, value in record.metadata.items()}
    return {
        "external_id": record.uid,
        "fields": fields,
        "metadata": {name: value for name, value in metadata.items() if value is not None or name not in properties},
    }


def write_finished(labeling: Labeling, finished: Finished, *, has_none: bool = False) -> Json:
    """A record as ``to_json`` and ``from_json`` of Argilla's own library have it.

    Everybody's answers are responses. Where nobody's are given, what was agreed on is the suggestion, as a response
    needs somebody's account; else the model's is. ``has_none`` as in Form. Raises LabelingMismatch as write_record.
    """
    asked = QUESTIONS[labeling.kind]
    form = Form(
        labeling,
        labeling.name,
        "",
        str(asked.settings(labeling).get("field", "")),
        has_none=has_none,
        overlapping=True,
    )
    record = write_record(form, finished.record)
    fields, name = record["fields"], form.question
    responses = [
        {"value": written["value"], "user_id": one.annotator, "status": "submitted"}
        for one in finished.given
        if (written := _placed(form, Suggestion(one.value, 1.0, ""), fields)) and one.annotator != FORGOTTEN
    ]
    suggestion = finished.suggestion
    if finished.answer is not None and not finished.given:
        suggestion = Suggestion(finished.answer, 1.0, "")
    shown = None if suggestion is None else _placed(form, suggestion, fields)
    agent = AGENT + suggestion.model_version if suggestion is not None and suggestion.model_version else CONSENSUS
    return {
        "id": record["external_id"],
        "fields": fields,
        "metadata": record["metadata"],
        "suggestions": {name: {"value": shown["value"], "score": shown["score"], "agent": agent}} if shown else {},
        "responses": {name: responses} if responses else {},
        "vectors": {},
    }


def _placed(form: Form, suggestion: Suggestion, fields: Mapping[str, Any]) -> Json | None:
    return placed(form, write_suggestion(form, suggestion), fields)


def _typed(uid: str, name: str, value: Any, properties: Mapping[str, str]) -> Any:
    """``value`` as its property takes it; None where it is blank. A cell of a CSV is text, whatever it says."""
    wanted = properties.get(name)
    if wanted is None or value is None or (isinstance(value, str) and not value.strip()):
        return value if wanted is None else None
    if wanted not in NUMBERS:
        return value if isinstance(value, (str, list)) else as_text(value)
    try:
        number = float(value)
        if isinstance(value, bool) or not isfinite(number) or (wanted == "integer" and not number.is_integer()):
            raise ValueError
    except (TypeError, ValueError):
        raise LabelingMismatch(
            f"record {uid!r}: the metadata {name!r} is {str(value)[:40]!r}, and the dataset takes "
            f"{NUMBERS[wanted]} there"
        ) from None
    return int(value) if isinstance(value, int) or wanted == "integer" else number


def read_record(form: Form, item: Mapping[str, Any]) -> RemoteRecord:
    """A record as Argilla lists it; what it lacks is empty. Its metadata may hold somebody's id for it.

    Fields that are neither text nor image (chats, custom fields) tell it from others, though they are not read.
    """
    metadata = {key: value for key, value in mapping(item.get("metadata")).items() if not OURS.fullmatch(key)}
    content = mapping(item.get("fields"))
    fields = {one.name: as_text(content.get(one.name)) for one in form.labeling.fields}
    uid = item.get("external_id")
    uid = uid if storable(uid) else f"{FOREIGN_UID}{item['id']}"
    unread = {name: value for name, value in content.items() if name not in fields and value is not None}
    shown = json.dumps(unread, sort_keys=True, ensure_ascii=False) if unread else ""
    return RemoteRecord(str(item["id"]), Record(uid, fields, metadata), short_values(metadata), shown)


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


# -- suggestions -----------------------------------------------------------------------------------------------------


def write_suggestion(form: Form, suggestion: Suggestion) -> Json | None:
    """A suggestion as Argilla takes it; None where it has no way to show one, for no label at all.

    Several labels, or spans, have a score each: the same for all of them where the suggestion has only one. Raises
    LabelingMismatch if a label is not among the options.
    """
    check_labels(form.labeling, suggestion.value)
    suggestion = suggestion.flat()  # its options stand side by side
    score = min(max(suggestion.score, 0.0), 1.0)
    written = QUESTIONS[form.labeling.kind].write(form, suggestion.value, suggestion.scores, score)
    if written is None:
        return None
    return {
        "question_id": form.question_id,
        "value": written[0],
        "score": written[1],
        "agent": AGENT + suggestion.model_version,
        "type": "model",
    }


def is_lane(name: str, apart: str) -> bool:
    """Whether metadata of this name are places in a queue of the question that has ``apart`` in its names, see Form."""
    found = OURS.fullmatch(name)
    return found is not None and found[1] == apart


def can_be_stored(item: Mapping[str, Any]) -> bool:
    """Whether Argilla itself can store the record: it fails on one that was discarded without values."""
    return all(one["values"] is not None for one in item.get("responses") or ())


def is_ours(suggestion: Mapping[str, Any]) -> bool:
    """Whether a suggestion was made by a model of ours."""
    return str(suggestion.get("agent") or "").startswith(AGENT)


def placed(form: Form, suggestion: Json | None, fields: Mapping[str, Any]) -> Json | None:
    """``suggestion`` as it has to be stored for a record with these ``fields``: where the page will show it."""
    text = as_text(fields.get(form.target))
    return None if suggestion is None else QUESTIONS[form.labeling.kind].placed(suggestion, text)


# -- responses -------------------------------------------------------------------------------------------------------


def read_responses(form: Form, item: Mapping[str, Any]) -> list[Found]:
    """What people answered about a record as Argilla lists it, but for what is of a status that says nothing."""
    read = (_found(form, item, one) for one in item.get("responses") or ())
    return [one for one in read if one is not None]


def _found(form: Form, item: Mapping[str, Any], response: Any) -> Found | None:
    fields = mapping(item.get("fields"))
    try:
        one = read_response(form, str(item["id"]), response, fields)
        if one is None or not (spans := spans_of(one.value)):
            return one
        if read_time(item["updated_at"]) - one.updated_at > COMPLETED:
            return one
        text = as_text(fields.get(form.target))
        return replace(one, value=tuple(replace(span, text=text[span.start : span.end]) for span in spans))
    except ODD as error:
        response = mapping(response)
        return Unreadable(
            str(response.get("id") or ""),
            str(item["id"]),
            str(response.get("user_id") or ""),
            reason(error),
            "open the record in Argilla, correct the response and submit it again, or delete it",
        )


def read_response(
    form: Form, remote_id: str, response: Mapping[str, Any], fields: Mapping[str, Any] | None = None
) -> Annotation | None:
    """One person's response to a record with these ``fields``; None if it is of a status that says nothing.

    Raises one of ODD if it can't be read.
    """
    status = STATUSES.get(response["status"])
    if status is None:
        return None
    values = read_object(response.get("values") or {}, "what it answers")
    answer = read_object(values.get(form.question) or {}, f"its answer to {form.question!r}").get("value")
    text = as_text((fields or {}).get(form.target))
    user = response.get("user_id") or response["user"]["id"]
    return Annotation(
        id=read_id(response["id"], "a response"),
        remote_id=remote_id,
        annotator=read_id(user, "a person"),
        value=() if answer is None else QUESTIONS[form.labeling.kind].read(form, answer, text),
        status=status,
        updated_at=read_time(response["updated_at"]),
    )


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
