"""The ML-backend protocol for a model that does not learn, in any project that asks what it knows.

What a task holds is read as the project's own labeling config says, which comes with each request: its texts in the
order shown, and its picture.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, Field

from nextlabel.connectors.content import content_of
from nextlabel.connectors.label_studio.payloads import record_from_task
from nextlabel.connectors.records import FieldKind, Labeling, Record

from .api import Ready
from .edge import JsonRoute, ModelEdgeDep, Taken
from .label_studio import (
    Event,
    Predictions,
    Setup,
    SetupAnswer,
    Task,
    Tasks,
    Versions,
    form_of,
    leaves_the_loop,
    predictions_of,
)
from .openapi import problems

router = APIRouter(route_class=JsonRoute)


class ModelFacts(BaseModel):
    """What is served."""

    model_version: str
    kind: str = Field(description="single, multi or span")
    labels: list[str]
    fields: dict[str, str] = Field(description="What `records` of /api/predict may hold: name -> text or image.")
    notes: dict[str, str] = Field(default_factory=dict, description="What a caller did that does not fit, by topic.")


@router.get("/ready", summary="Ready?", tags=["nextlabel"])
async def ready() -> Ready:
    """Open to everybody, like /health: the model was loaded before anybody was listened to."""
    return Ready(status="READY")


@router.get("/api/model", summary="What is served?", tags=["nextlabel"], responses=problems(401))
async def facts(edge: ModelEdgeDep) -> ModelFacts:
    """The model's name, its labels, and what it reads."""
    labeling = edge.model.labeling
    return ModelFacts(
        model_version=edge.model.serving_version,
        kind=labeling.kind,
        labels=list(labeling.labels),
        fields={one.name: one.kind for one in labeling.fields},
        notes=dict(edge.notes),
    )


@router.post(
    "/setup", summary="Say which model is served", tags=["Label Studio"], responses=problems(400, 401, 415, 422)
)
async def setup(asked: Setup, edge: ModelEdgeDep) -> SetupAnswer:
    """Label Studio asks before every task it opens. What of the model the project can't show is noted."""
    if asked.schema_:
        edge.note("labeling", _unfit(asked.schema_, edge.model.labeling))
    return SetupAnswer(model_version=edge.model.serving_version)


@router.post(
    "/predict", summary="Predict tasks", tags=["Label Studio"], responses=problems(400, 401, 413, 415, 422, 503)
)
async def predict(asked: Tasks, request: Request, edge: ModelEdgeDep) -> Predictions:
    """One prediction per task; an empty one where the project has no such label."""
    form = form_of(asked.label_config, edge.model.labeling)
    shown = edge.model.labeling if form is None else form.labeling
    aside = await leaves_the_loop(request, asked.tasks)
    try:
        records = await aside(_records, asked.tasks, shown, edge.model.labeling)
    except ValueError as error:
        raise HTTPException(422, f"tasks: {error}") from None
    answers = await edge.classify(records, "/predict") if records else []
    found = [None if one is None else one.suggestion for one in answers]
    answer: Predictions = await aside(predictions_of, edge, form, found, edge.model.serving_version)
    return answer


@router.post("/webhook", summary="Take no notice of an event", tags=["Label Studio"], responses=problems(400, 401, 415))
async def webhook(event: Event) -> Taken:
    """Label Studio sends them to whatever is connected; this model learns from none."""
    return Taken(status="ignored: this model does not learn")


@router.get("/versions", summary="List model versions", tags=["Label Studio"], responses=problems(401))
async def versions(edge: ModelEdgeDep) -> Versions:
    """The one that there is."""
    return Versions(versions=[edge.model.serving_version])


def _records(tasks: Sequence[Task], shown: Labeling, ours: Labeling) -> list[Record]:
    return [_record(task, shown, ours) for task in tasks]


def _record(task: Task, shown: Labeling, ours: Labeling) -> Record:
    """What the project shows of a task, in the fields that the model has."""
    values = task.model_dump()
    content = content_of(shown.content(record_from_task({**values, "id": values.get("id") or 0}, shown)))
    fields = {}
    for field in ours.fields:
        parts = content.images[:1] if field.kind is FieldKind.IMAGE else (content.text,)
        fields[field.name] = "".join(parts)
    return Record("", fields)


def _unfit(config: str, ours: Labeling) -> str:
    """What of the model's answers a project can't show, in words; empty if it can show all."""
    form = form_of(config, ours)
    if form is None:
        return "the labeling config of the project can't be read: it asks none or several questions, or is no XML"
    if form.labeling.kind is not ours.kind:
        return f"the project asks for {form.labeling.kind} labels, and the model says {ours.kind} ones"
    absent = [label for label in ours.labels if label not in form.labeling.labels]
    return f"the project lacks the labels {', '.join(absent)}: rename them with --label MODEL=PROJECT" if absent else ""
