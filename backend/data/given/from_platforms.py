"""Answers in what Label Studio and Argilla export, each with who gave it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nextlabel.backend.data.cells import values_in
from nextlabel.backend.data.rows import Row, Table
from nextlabel.connectors.argilla.config import NONE, points_of
from nextlabel.connectors.records import AnnotationStatus, Span, Value

from .answers import (
    FAULTS,
    Fault,
    Found,
    GivenRow,
    Reading,
    Wanted,
    labels_of,
    marks_of,
    moment,
    names_in,
    places_in,
    reading_of,
    why,
)

UID = "nextlabel_uid"
"""The key of a task's data under which nextlabel keeps a record's uid."""
STATUSES = {"submitted": AnnotationStatus.SUBMITTED, "discarded": AnnotationStatus.SKIPPED}


def is_label_studio(first: Mapping[str, Any]) -> bool:
    """Whether the first row of a file is a task of Label Studio."""
    return isinstance(first.get("data"), Mapping) and isinstance(first.get("annotations"), list)


def is_label_studio_min(first: Mapping[str, Any]) -> bool:
    """Whether it is an annotation of Label Studio's JSON-MIN."""
    return {"annotation_id", "annotator", "lead_time"} <= first.keys()


def is_argilla(first: Mapping[str, Any]) -> bool:
    """Whether it is a record of Argilla as its JSON has it."""
    return isinstance(first.get("fields"), Mapping) and isinstance(first.get("responses"), Mapping)


def is_argilla_dataset(columns: tuple[str, ...]) -> bool:
    """Whether these are the columns that ``to_datasets`` makes of an Argilla data set."""
    return any(name.endswith(".responses.users") for name in columns)


def read_label_studio(table: Table, wanted: Wanted) -> Reading:
    """One answer for each annotation of a task. Predictions and drafts are none."""
    return reading_of(table, "label-studio", wanted, _task)


def read_label_studio_min(table: Table, wanted: Wanted) -> Reading:
    """One answer for each row."""
    return reading_of(table, "label-studio-min", wanted, _min)


def read_argilla(table: Table, wanted: Wanted) -> Reading:
    """One answer for each response; suggestions are none."""
    return reading_of(table, "argilla", wanted, _record)


def read_argilla_dataset(table: Table, wanted: Wanted) -> Reading:
    """The same of a data set, where responses stand in columns."""
    return reading_of(table, "argilla-dataset", wanted, _flat_record)


# -- Label Studio ------------------------------------------------------------------------------------------------------


def _task(row: Row, wanted: Wanted) -> Iterator[Found]:
    data = row.values["data"]
    ids = names_in(data.get(UID), data.get(wanted.id) if wanted.id else None)
    for one in row.values["annotations"]:
        try:
            skipped = bool(one.get("was_cancelled"))
            value: Value = () if skipped else _regions(one.get("result") or [], wanted)
            status = AnnotationStatus.SKIPPED if skipped else AnnotationStatus.SUBMITTED
            when = moment(one.get("updated_at") or one.get("created_at"))
            yield GivenRow(row.number, ids, data, value, _person(one.get("completed_by")), status, when)
        except FAULTS as error:
            yield Fault(row.number, why(error))


def _person(by: Any) -> str:
    if isinstance(by, Mapping):
        by = by.get("email") or by.get("id")
    return "" if by is None else str(by)


def _regions(result: list[Any], wanted: Wanted) -> Value:
    """What the regions of an annotation answer to our question: to the one of this name, or to the only one."""
    kinds = ("labels", "hypertextlabels") if wanted.marks else ("choices", "taxonomy")
    fitting = [one for one in result if one.get("type") in kinds]
    asked = {str(one.get("from_name")) for one in fitting}
    if len(asked) > 1 and wanted.question not in asked:
        raise ValueError(f"it answers several questions, {', '.join(sorted(asked))}: name the one with --label")
    own = [one["value"] for one in fitting if len(asked) == 1 or one.get("from_name") == wanted.question]
    if result and not fitting:
        raise ValueError(f"it holds no {' or '.join(kinds)}, but {result[0].get('type')}")
    if wanted.marks:
        return marks_of([{**value, **(value.get("globalOffsets") or {})} for value in own])
    return tuple(dict.fromkeys(label for value in own for label in _labels(value, wanted)))


def _places(value: Any, wanted: Wanted) -> tuple[str, ...] | None:
    listed = values_in(value)
    return places_in([value] if listed is None else listed, wanted)


def _labels(value: Any, wanted: Wanted) -> tuple[str, ...]:
    if (places := _places(value, wanted)) is not None:
        return places
    return labels_of(value["choices"] if isinstance(value, Mapping) and "choices" in value else value)


def _min(row: Row, wanted: Wanted) -> Iterator[Found]:
    values = row.values
    found = values.get(wanted.label or wanted.question)
    if found is None:
        found = _only_answer(values, wanted)
    if found is None:
        return
    value = marks_of(found) if wanted.marks else _labels(found, wanted)
    ids = names_in(values.get(UID), values.get(wanted.id) if wanted.id else None)
    when = moment(values.get("updated_at") or values.get("created_at"))
    yield GivenRow(row.number, ids, values, value, _person(values.get("annotator")), when=when)


_OF_THE_ROW = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", UID}


def _only_answer(values: Mapping[str, Any], wanted: Wanted) -> Any:
    """The answer under another name than our question's, where only one thing can be it."""
    shown = {*wanted.fields, *wanted.fields.values(), *_OF_THE_ROW}
    if wanted.marks:
        found = [one for key, one in values.items() if key not in shown and isinstance(one, list)]
    else:
        found = [one for key, one in values.items() if key not in shown and _is_answer(one, wanted)]
    if len(found) > 1:
        raise ValueError(f"several columns may be the answer; name the one with --label (asked is {wanted.question!r})")
    return found[0] if found else None


def _is_answer(value: Any, wanted: Wanted) -> bool:
    if isinstance(value, str):
        return value in wanted.labels
    return (isinstance(value, Mapping) and value.keys() == {"choices"}) or _places(value, wanted) is not None


# -- Argilla -----------------------------------------------------------------------------------------------------------


def _record(row: Row, wanted: Wanted) -> Iterator[Found | None]:
    values = row.values
    asked = _question(values["responses"], wanted)
    for one in values["responses"].get(asked) or () if asked else ():
        yield _response(row, values["fields"], one.get("value"), one.get("user_id"), one.get("status"), wanted)


def _flat_record(row: Row, wanted: Wanted) -> Iterator[Found | None]:
    values = row.values
    asked = _question({name.removesuffix(".responses") for name in values if name.endswith(".responses")}, wanted)
    given = values.get(f"{asked}.responses") or []
    people = values.get(f"{asked}.responses.users") or [None] * len(given)
    statuses = values.get(f"{asked}.responses.status") or [None] * len(given)
    for value, who, status in zip(given, people, statuses, strict=True):
        yield _response(row, values, value, who, status, wanted)


def _question(asked: Any, wanted: Wanted) -> str:
    """Which of the questions ``asked`` is ours; empty where none is answered."""
    names = sorted(asked)
    for name in (wanted.label, wanted.question):
        if name in names:
            return str(name)
    if len(names) > 1:
        raise ValueError(f"it answers several questions, {', '.join(names)}: name the one with --label")
    return names[0] if names else ""


def _response(row: Row, fields: Mapping[str, Any], value: Any, who: Any, status: Any, wanted: Wanted) -> Found | None:
    if status == "draft":
        return None
    ids = names_in(row.values.get("id"), row.values.get("_server_id"))
    try:
        known = STATUSES["submitted" if status is None else str(status)]
        given = () if known is AnnotationStatus.SKIPPED else _value(value, fields, wanted)
    except FAULTS as error:
        return Fault(row.number, why(error))
    return GivenRow(row.number, ids, fields, given, "" if who is None else str(who), known)


def _value(value: Any, fields: Mapping[str, Any], wanted: Wanted) -> Value:
    if not wanted.marks:
        return tuple(label for label in labels_of(value) if label != NONE)
    if isinstance(value, Mapping):  # a data set keeps a list of objects as an object of lists
        value = [dict(zip(value, parts, strict=True)) for parts in zip(*value.values(), strict=True)]
    marked = next(iter(wanted.fields), "")
    points = points_of(str(fields.get(marked) or fields.get(wanted.fields.get(marked, "")) or ""))
    return tuple(Span(points(one.start), points(one.end), one.label) for one in marks_of(value))
