"""The ML-backend protocol, as Label Studio 1.23 speaks it.

/setup, /predict and /versions come with the basic auth of the ML backend; events on /webhook come with our
secret header only, wait one second at most, and are never sent twice. Every member of the organisation may read that
secret, so an event says where to look and is answered at once, and what it is about is read from Label Studio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from nextlabel.connectors.differences import expect
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.label_studio.config import Form, read_config
from nextlabel.connectors.label_studio.payloads import prediction_from, record_from_task
from nextlabel.connectors.records import Labeling, Record, Suggestion

from .edge import SMALL, Edge, EdgeDep, JsonRoute, ModelEdge, Taken, examples, only_for, take_in
from .middleware import is_known
from .openapi import problems

router = APIRouter(tags=["Label Studio"], dependencies=[Depends(only_for("label-studio"))], route_class=JsonRoute)

LONGEST_CONFIG: Final = 1_000_000
MOST_TASKS: Final = 10_000
"""Label Studio sends all that somebody selected at once."""
FEW: Final = 16
"""Tasks that are read and answered sooner than another thread could begin to."""

TRAIN: Final = "START_TRAINING"
# Anything else that calls itself an action is counted as "other": names from outside make no new series.
ACTIONS: Final = frozenset(
    {
        "ANNOTATION_CREATED",
        "ANNOTATIONS_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATIONS_DELETED",
        "TASKS_CREATED",
        "TASKS_DELETED",
        "PROJECT_CREATED",
        "PROJECT_UPDATED",
        "PROJECT_DELETED",
        TRAIN,
    }
)


class Setup(BaseModel):
    """Sent after every good /health. The token of the project's creator, which comes along, is ignored."""

    project: str | int | None = Field(default=None, description="`<id>.<created_at>`")
    schema_: str = Field(default="", alias="schema", description="The labeling config, XML.")


class Task(BaseModel):
    """One task, with everything that Label Studio knows about it."""

    model_config = ConfigDict(extra="allow")

    data: dict[str, Any]


class Tasks(BaseModel):
    """Tasks to predict."""

    tasks: list[Task] = Field(max_length=MOST_TASKS)
    project: str | int | None = Field(default=None, description="`<id>.<created_at>`")
    label_config: str = Field(default="", description="The labeling config, XML; the project's own if not sent.")
    params: dict[str, Any] | None = Field(
        default=None, description="`context`: what the annotator has drawn (interactive)."
    )


class SetupAnswer(BaseModel):
    """The version that stored predictions must carry, or the queue's order turns random."""

    model_version: str


class Prediction(BaseModel):
    """One prediction in Label Studio's words. An empty result shows the task blind."""

    model_version: str
    score: float
    result: list[dict[str, Any]]


class Predictions(BaseModel):
    """One prediction per task, in order."""

    results: list[Prediction]


class Event(BaseModel):
    """What happened; the other keys depend on the action."""

    model_config = ConfigDict(extra="allow")

    action: str


class Versions(BaseModel):
    """Model versions, newest first."""

    versions: list[str]


@router.post(
    "/setup",
    summary="Say which model version is served",
    responses=problems(400, 401, 404, 409, 413, 415, 422),
)
async def setup(
    asked: Annotated[
        Setup,
        examples(
            a_text_project={
                "project": "9.1795320086",
                "schema": '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
                '<Choice value="sport"/></Choices></View>',
                "hostname": "http://127.0.0.1:8080",
                "access_token": "",
                "extra_params": {},
            },
        ),
    ],
    edge: EdgeDep,
) -> SetupAnswer:
    """Label Studio asks before every task it opens, so this must be quick."""
    await _check_project(edge, asked.project)
    if asked.schema_:
        edge.note("labeling", _difference(asked.schema_, edge.backend.labeling))
    return SetupAnswer(model_version=edge.backend.serving_version)


@router.post(
    "/predict",
    summary="Predict tasks",
    responses=problems(400, 401, 404, 409, 413, 415, 422, 503),
)
async def predict(
    asked: Annotated[
        Tasks,
        examples(
            one_task={"tasks": [{"id": 1, "data": {"text": "The striker scored twice."}}], "project": "9.1795320086"},
            interactive={
                "tasks": [{"id": 1, "data": {"text": "The striker scored twice."}}],
                "project": "9.1795320086",
                "params": {"login": None, "password": None, "context": {"result": []}},
            },
        ),
    ],
    request: Request,
    edge: EdgeDep,
) -> Predictions:
    """One task, many, or one with the annotator's context; a record of the audit slice gets an empty result.

    The context changes nothing: a classifier judges the record, not what was clicked so far.
    """
    await _check_project(edge, asked.project)
    labeling = edge.backend.labeling
    aside = await leaves_the_loop(request, asked.tasks)
    try:
        records = await aside(_records, asked.tasks, labeling)
    except ValueError as error:
        raise HTTPException(422, f"tasks: {error}") from None
    suggestions = await edge.predict(records, "/predict")
    form = form_of(asked.label_config or edge.backend.config, labeling)
    # All are by one model, which may not be the one in service any more.
    version = next((one.model_version for one in suggestions if one), edge.backend.serving_version)
    answer: Predictions = await aside(predictions_of, edge, form, suggestions, version)
    return answer


@router.post(
    "/webhook",
    summary="Take an event in",
    responses=problems(400, 401, 403, 404, 413, 415, 422),
)
async def webhook(
    event: Annotated[
        Event,
        examples(
            train={"action": "START_TRAINING", "project": {"id": 9}},
            deleted={"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 44}], "project": {"id": 9}},
        ),
    ],
    request: Request,
    edge: EdgeDep,
) -> Taken:
    """Every event of the project: it says where to look. START_TRAINING asks for the ML backend's basic auth."""
    body = event.model_dump()
    action = event.action if event.action in ACTIONS else "other"
    if action == TRAIN and not is_known(request.scope):
        edge.metrics.events.labels(action, "refused").inc()
        raise HTTPException(403, "a training is started with the ML backend's basic auth: the secret is no password")
    project = body.get("project")
    return await take_in(edge, action, body, project.get("id") if isinstance(project, dict) else project)


@router.get("/versions", summary="List model versions", responses=problems(401, 404))
async def versions(edge: EdgeDep) -> Versions:
    """For the model picker of the project's settings."""
    return Versions(versions=await asyncio.to_thread(edge.backend.versions))


async def leaves_the_loop(request: Request, tasks: Sequence[Task]) -> Callable[..., Awaitable[Any]]:
    """How work on these tasks is called: in another thread where they are many or large, at once where they are few."""
    few = len(tasks) <= FEW and len(await request.body()) < SMALL
    return _at_once if few else asyncio.to_thread


async def _at_once(function: Callable[..., Any], *given: Any) -> Any:
    return function(*given)


def _records(tasks: list[Task], labeling: Labeling) -> list[Record]:
    return [_record(task, labeling) for task in tasks]


def _record(task: Task, labeling: Labeling) -> Record:
    """The record in a task; one without an id, as a person with curl may send it, is nobody's in particular."""
    values = task.model_dump()
    return record_from_task({**values, "id": values.get("id") or 0}, labeling)


def predictions_of(
    edge: ModelEdge, form: Form | None, suggestions: Sequence[Suggestion | None], version: str
) -> Predictions:
    """``suggestions`` as Label Studio takes them; an empty result where there is none, or it can't be submitted."""
    return Predictions(results=[_prediction(edge, form, suggestion, version) for suggestion in suggestions])


def _prediction(edge: ModelEdge, form: Form | None, suggestion: Suggestion | None, version: str) -> Prediction:
    blind = Prediction(model_version=version, score=0.0, result=[])
    if suggestion is None:
        return blind
    try:
        return Prediction(**prediction_from(edge.model.labeling, suggestion, form))
    except LabelingMismatch as error:  # people see no suggestion rather than one that they can't submit
        edge.note("labeling", str(error))
        return blind


def form_of(config: str, labeling: Labeling) -> Form | None:
    """The names that the project's own config uses; None if it is not sent, or asks something that we can't read."""
    for control in (labeling.name, None):
        try:
            return read_config(config, control) if 0 < len(config) <= LONGEST_CONFIG else None
        except LabelingMismatch:
            continue
    return None


def _difference(config: str, ours: Labeling) -> str:
    """How the project's labeling differs from the one served, in words; empty if it does not."""
    form = form_of(config, ours)
    if form is None:
        return "the labeling config of the project can't be read: it asks none or several questions, or is no XML"
    try:
        expect(form, ours)
    except LabelingMismatch as error:
        return str(error)
    return ""


async def _check_project(edge: Edge, project: str | int | None) -> None:
    if project is not None and not await edge.works_for(str(project).partition(".")[0]):
        ours = await edge.project()
        raise HTTPException(
            409, f"this service works for project {ours.id if ours else '?'} only, not for {project!r:.40}"
        )
