"""Results, tasks and webhook bodies <-> our words. No I/O.

Offsets of spans count code points, in Label Studio's editor as in Python: emoji need no conversion.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from nextlabel.connectors.answers import (
    ODD,
    fitting,
    mapping,
    read_id,
    read_list,
    read_object,
    read_time,
    reason,
    short_values,
    storable,
)
from nextlabel.connectors.basics import Json
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.label_studio.config import UID_KEY, Form, form_of, read_config
from nextlabel.connectors.label_studio.listing import FAULT
from nextlabel.connectors.label_studio.page import nested, value_at
from nextlabel.connectors.records import (
    FORGOTTEN,
    Annotation,
    AnnotationStatus,
    FieldKind,
    Finished,
    Found,
    Given,
    Hint,
    Labeling,
    Record,
    RemoteRecord,
    Suggestion,
    Unreadable,
    Value,
    as_text,
    check_labels,
)

T = TypeVar("T")

SHOWN_AS_THEY_ARE = ("http://", "https://", "data:image/", "/data/", "s3://", "gs://", "azure-blob://")
"""How images begin that a browser loads, or that Label Studio turns into such."""
SCHEME = 16
"""Characters of an address that tell which kind it is."""

NOT_SHOWN = (
    "Label Studio itself fails to show it. Mostly it holds half a character, what is left of an emoji that was cut in "
    "two: delete it, or import it anew without"
)

FOREIGN_UID = "label-studio-"
"""Begins the uid of a record that we never pushed; the task's id follows."""


# -- results ---------------------------------------------------------------------------------------------------------


def write_result(form: Form, value: Value, score: float | None = None, scores: Sequence[float] = ()) -> list[Json]:
    """``value`` as a list of regions; empty for an empty value. ``scores``: one a region, in place of ``score``.

    Raises LabelingMismatch if a label is not in the config.
    """
    check_labels(form.labeling, value)
    base: Json = {"from_name": form.control, "to_name": form.target, "type": form.tag.lower()}
    if score is not None:
        base["score"] = score
    return [{**base, **region} for region in form.asks.write(form, value, scores)]


def read_result(form: Form, result: Any) -> Value:
    """The value that regions hold; regions of other controls don't count. Unknown labels are kept as they are.

    Raises KeyError or ValueError if it can't be read, or can't be an answer.
    """
    regions = [read_object(one, "a region of its result") for one in read_list(result, "its result")]
    own = [one["value"] for one in regions if one.get("from_name") == form.control and one.get("value")]
    values = [dict(read_object(one, "the value of a region")) for one in own]
    return fitting(form.labeling, form.asks.read(values))


def prediction_from(labeling: Labeling, suggestion: Suggestion, form: Form | None = None) -> Json:
    """A live prediction as /predict answers it.

    ``form`` is :func:`.config.read_config` of the config in the request; without it, the project is taken to be one
    that we made.
    """
    form = form or form_of(labeling)
    suggestion = form.shows(suggestion)
    result = write_result(form, suggestion.value, suggestion.score, suggestion.scores)
    return {"model_version": suggestion.model_version, "score": suggestion.score, "result": result}


# -- tasks -----------------------------------------------------------------------------------------------------------


def write_task(form: Form, record: Record) -> Json:
    """A record as a task to import: its fields and uid as data, its metadata as meta.

    Raises LabelingMismatch if it lacks a field that annotators are shown, or has an image that no browser would load.
    """
    if form.by_address:
        raise LabelingMismatch(
            f'the project reads {", ".join(sorted(form.by_address))} from addresses (valueType="url"), and records '
            "bring texts: import addresses in Label Studio, or take valueType out of the labeling config"
        )
    if missing := [key for key in form.objects if key not in record.fields]:
        raise LabelingMismatch(f"record {record.uid!r} lacks the fields {', '.join(missing)}, which the project shows")
    for one in form.labeling.fields:
        if one.kind is FieldKind.IMAGE:
            _check_image(record.uid, one.name, record.fields.get(one.name, ""))
    task: Json = {"data": {**nested(record.fields), UID_KEY: record.uid}}
    if record.metadata:
        task["meta"] = dict(record.metadata)
    return task


def write_finished(labeling: Labeling, finished: Finished, config: str = "") -> Json:
    """A record as Label Studio's JSON export has it and its import takes it: annotations, and a prediction.

    Whose answer it was stands as an e-mail address where the name is one, else as the number. Where nobody's answers
    are given, one annotation of nobody holds what was agreed on. ``config`` is the project's, empty for one of our own.
    Raises LabelingMismatch as write_task does.
    """
    form = read_config(config, labeling.name) if config else form_of(labeling)
    given = [(_person(one), one.value) for one in finished.given]
    if not given and finished.answer is not None:
        given = [({}, finished.answer)]
    annotations = [
        {
            "result": write_result(form, value),
            "ground_truth": finished.settled and value == finished.answer,
            **person,
        }
        for person, value in given
    ]
    predictions = []
    if finished.suggestion is not None:
        predictions.append(prediction_from(form.labeling, finished.suggestion, form))
    return {**write_task(form, finished.record), "annotations": annotations, "predictions": predictions}


def _person(given: Given) -> Json:
    """Nothing of whose account was deleted."""
    if "@" in given.name:
        return {"completed_by": {"email": given.name}}
    return {"completed_by": int(given.annotator)} if given.annotator.isdecimal() else {}


def _check_image(uid: str, name: str, address: str) -> None:
    """Nothing at all is fine: there is no image to see then."""
    start = address.strip()[:SCHEME].lower()
    if not start or start.startswith(SHOWN_AS_THEY_ARE):
        return
    shown = address if len(address) <= 80 else f"{address[:80]}..."
    raise LabelingMismatch(
        f"record {uid!r}: the image {shown!r} in {name!r} is no address that an annotator's browser loads: Label "
        "Studio shows http(s):// and data:image/ addresses, /data/ paths that it serves itself, and buckets of a "
        "connected storage (s3://, gs://, azure-blob://). Give files as data:image/...;base64 addresses, or "
        "serve them over http"
    )


def record_from_task(task: Mapping[str, Any], labeling: Labeling) -> Record:
    """The record that a task holds. Fields that the labeling does not show stay out.

    Raises ValueError if the task has neither uid nor id.
    """
    data = mapping(task.get("data"))
    uid = data.get(UID_KEY)
    if not storable(uid):
        if task.get("id") is None:
            raise ValueError("a task with neither uid nor id")
        uid = f"{FOREIGN_UID}{task['id']}"
    fields = {one.name: as_text(value_at(data, one.name)) for one in labeling.fields}
    return Record(uid, fields, dict(mapping(task.get("meta"))))


def remote_record(task: Mapping[str, Any], labeling: Labeling, unread: Collection[str] = ()) -> RemoteRecord:
    """A listed task: the platform's id, the record, and what else its data holds, which may be somebody's id for it.

    What is shown under the keys in ``unread`` (sounds, tables) tells it from others, though it is not read.
    """
    record = record_from_task(task, labeling)
    others = {key: value for key, value in mapping(task.get("data")).items() if key not in {*record.fields, UID_KEY}}
    ids, made_at = short_values(record.metadata) | short_values(others), task.get("created_at")
    apart = {key: others[key] for key in unread if others.get(key) is not None}
    shown = json.dumps(apart, sort_keys=True, ensure_ascii=False) if apart else ""
    when = read_time(made_at) if made_at else None
    return RemoteRecord(str(task["id"]), record, ids, shown, made_at=when, fault=task.get(FAULT, ""))


# -- annotations -----------------------------------------------------------------------------------------------------


def read_annotations(form: Form, task: Mapping[str, Any]) -> list[Found]:
    """All annotations of a task as Label Studio lists it with them; one without an id where it can't show them."""
    if FAULT in task:
        return [Unreadable("", str(task["id"]), "", task[FAULT], NOT_SHOWN)]
    return [read_found(form, one, task["id"]) for one in task.get("annotations") or ()]


def read_found(form: Form, body: Any, task: int | str | None = None) -> Found:
    """One annotation as Label Studio lists it, of a ``task`` that the listing names."""
    try:
        return read_annotation(form, body, task)
    except ODD as error:
        body = mapping(body)
        return Unreadable(
            str(body.get("id") or ""),
            str(body.get("task") if task is None else task),
            str(_annotator(body)),
            reason(error),
            "open the task in Label Studio, correct the annotation and press Update, or delete it",
        )


def read_annotation(form: Form, body: Mapping[str, Any], task: int | str | None = None) -> Annotation:
    """The same. Raises one of ODD if it can't be read."""
    return Annotation(
        id=str(int(body["id"])),
        remote_id=str(int(body["task"] if task is None else task)),
        annotator=read_id(_annotator(body), "a person"),
        value=read_result(form, body.get("result")),
        status=AnnotationStatus.SKIPPED if body.get("was_cancelled") else AnnotationStatus.SUBMITTED,
        updated_at=read_time(body["updated_at"]),
        is_truth=body.get("ground_truth") is True,
    )


def _annotator(body: Mapping[str, Any]) -> Any:
    """Who made it, as far as Label Studio knows: it keeps the answers of accounts that are deleted."""
    by = body.get("completed_by")
    by = by.get("id") if isinstance(by, Mapping) else by
    return FORGOTTEN if by is None else by


# -- webhooks --------------------------------------------------------------------------------------------------------


def read_event(config: str, project: str, body: Mapping[str, Any]) -> Hint:
    """Where one webhook body says to look. Events of other projects, and those we don't know, say nothing.

    ``config`` is the labeling config as we know it. Raises ValueError on a malformed body.
    """
    try:
        action = body["action"]
        about = body.get("project")
        if isinstance(about, Mapping) and "id" in about and str(about["id"]) != project:
            return Hint()
        return _read_event(config, action, body)
    except ODD as error:
        raise ValueError(f"malformed event: {type(error).__name__} {error}") from None


def _read_event(config: str, action: str, body: Mapping[str, Any]) -> Hint:
    match action:
        case "ANNOTATION_CREATED" | "ANNOTATION_UPDATED" | "ANNOTATIONS_CREATED":
            several = body["annotation"] if isinstance(body["annotation"], list) else [body["annotation"]]
            found = _each(several, lambda one: (_number(one["id"]), _number(one["task"]), _seen_version(one)))
            return Hint(
                annotations={number: task for number, task, _ in found},
                seen_versions={number: version for number, _, version in found if version},
            )
        case "ANNOTATIONS_DELETED":
            return Hint(annotations=dict.fromkeys(_each(body["annotations"], lambda one: _number(one["id"]))))
        case "TASKS_DELETED":
            return Hint(records=frozenset(_each(body["tasks"], lambda one: _number(one["id"]))))
        case "TASKS_CREATED":
            return Hint(records_added=True)
        case "PROJECT_UPDATED":
            new = (body.get("project") or {}).get("label_config")
            return Hint(labeling_changed=isinstance(new, str) and new != config)
        case "START_TRAINING":
            return Hint(train_requested=True)
    return Hint()


def _each(several: Iterable[Json], read: Callable[[Json], T]) -> list[T]:
    """What can be read of several things that one event names; raises one of ODD if nothing can."""
    found: list[T] = []
    fault: Exception | None = None
    for one in several:
        try:
            found.append(read(one))
        except ODD as error:
            fault = error
    if fault and not found:
        raise fault
    return found


def _number(value: Any) -> str:
    """An id. Raises ValueError on what no database could look up."""
    if not 0 < int(value) < 2**63:
        raise ValueError(f"{value!r:.30} is no id")
    return str(int(value))


def _seen_version(annotation: Mapping[str, Any]) -> str:
    """The version of the prediction that was shown; one with an empty result is shown blind."""
    shown = annotation.get("prediction")
    if not isinstance(shown, Mapping) or not shown.get("result"):
        return ""
    return as_text(shown.get("model_version"))
