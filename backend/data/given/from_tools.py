"""Answers in what doccano and Prodigy export, a line for each text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nextlabel.backend.data.rows import Row, Table
from nextlabel.connectors.answers import mapping
from nextlabel.connectors.records import AnnotationStatus, Value

from .answers import (
    Found,
    GivenRow,
    Reading,
    Wanted,
    labels_of,
    marks_of,
    moment,
    names_in,
    reading_of,
)


def is_doccano(first: Mapping[str, Any]) -> bool:
    """Whether the first row of a file is a text of doccano: all its labels stand in a list beside it."""
    listed = any(isinstance(first.get(key), list) for key in ("label", "labels", "entities"))
    return listed and (isinstance(first.get("text"), str) or isinstance(first.get("data"), str))


def is_prodigy(first: Mapping[str, Any]) -> bool:
    """Whether it is a task of Prodigy."""
    return "answer" in first and ("_input_hash" in first or "_task_hash" in first)


def read_doccano(table: Table, wanted: Wanted) -> Reading:
    """One answer for each line; doccano says who gave it by the name of the file only."""
    return reading_of(table, "doccano", wanted, _doccano)


def read_prodigy(table: Table, wanted: Wanted) -> Reading:
    """One answer for each line. What was rejected says what is wrong, and so is refused; what was ignored is a skip."""
    return reading_of(table, "prodigy", wanted, _prodigy)


def _doccano(row: Row, wanted: Wanted) -> Iterator[Found]:
    values = row.values
    keys = (wanted.label or "label", "labels", "entities", "cats")
    found = next((values[key] for key in keys if key in values), None)
    if not found and not wanted.empty_is_none:
        return
    if wanted.marks:
        value: Value = marks_of(found)
    elif any(isinstance(one, (list, Mapping)) for one in found or ()):
        raise ValueError("it marks parts of the text, and the question asks for labels of the whole")
    else:
        value = labels_of(found)
    text = values.get("text", values.get("data"))
    ids = names_in(values.get(wanted.id) if wanted.id else None)
    person = values.get("username") or values.get("annotator") or ""
    yield GivenRow(row.number, ids, values, value, str(person), text=text, loose=True)


def _prodigy(row: Row, wanted: Wanted) -> Iterator[Found]:
    values, said = row.values, row.values["answer"]
    person = str(values.get("_annotator_id") or values.get("_session_id") or "")
    meta = mapping(values.get("meta"))
    ids = names_in(values.get(wanted.id), meta.get(wanted.id)) if wanted.id else ()
    text, when = values.get("text"), moment(values.get("_timestamp"))
    status = AnnotationStatus.SUBMITTED
    if said == "ignore":
        value: Value = ()
        status = AnnotationStatus.SKIPPED
    elif said != "accept":
        raise ValueError("it was rejected: what is right instead is not said")
    else:
        value = marks_of(values.get("spans")) if wanted.marks else _accepted(values, wanted)
    yield GivenRow(row.number, ids, values, value, person, status, when, text, loose=True)


def _accepted(values: Mapping[str, Any], wanted: Wanted) -> tuple[str, ...]:
    if "accept" in values:
        texts = {str(one.get("id")): str(one.get("text") or one.get("id")) for one in values.get("options") or ()}
        return tuple(one if one in wanted.labels else texts.get(one, one) for one in map(str, values["accept"]))
    if "label" in values:
        return labels_of(values["label"])
    if isinstance(values.get("cats"), Mapping):
        return tuple(label for label, score in values["cats"].items() if score >= 0.5)
    raise ValueError("it has neither accept nor label")
