"""What you ask of the loop with curl: how it is doing, and to train, to compare, or to ask other annotators again.

``/ready`` says whether people can label. How far a training is, and what a comparison came to, stands in
``/api/status``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from nextlabel.backend.service.ports import Status
from nextlabel.connectors.errors import ConfigError, LearningError, PlatformError, RecordsRejected

from .edge import EdgeDep, JsonRoute, examples
from .openapi import problems

log = structlog.get_logger(__name__)

router = APIRouter(tags=["nextlabel"], route_class=JsonRoute)


class StatusAnswer(BaseModel):
    """The loop's state, as :class:`~nextlabel.backend.service.ports.Status` has it, and ``notes`` about its callers."""

    model_config = ConfigDict(extra="allow")

    notes: dict[str, str]


class Ready(BaseModel):
    """The first queue is on the platform."""

    status: str


class Begun(BaseModel):
    """What the asking came to."""

    asked: bool = Field(description="A training starts within seconds, or when the one that runs has ended.")


class Cancelled(BaseModel):
    """What the cancelling came to."""

    cancelled: bool = Field(description="Whether a training was running.")


class Compare(BaseModel):
    """What to do about answers and records that are gone, or otherwise, in great numbers."""

    model_config = ConfigDict(extra="forbid", strict=True)

    believe: bool = Field(default=False, description="The platform is right: the log follows it.")
    keep: bool = Field(default=False, description="The log is right: what the platform lacks counts on.")


class Comparing(BaseModel):
    """What the asking came to."""

    number: int = Field(description="It has ended once `comparison.ended` of /api/status is at least this.")


class Relabel(BaseModel):
    """Which records, and how many annotators shall have answered each of them in the end."""

    uids: list[str] = Field(min_length=1, max_length=10_000, description="The records' ids, as `export` shows them.")
    opinions: int | None = Field(
        default=None,
        ge=2,
        le=1000,
        description="Annotators in all, those who answered included; one more than by now if it is left out.",
    )


class Asked(BaseModel):
    """How many records were asked about."""

    asked: int


@router.get("/ready", summary="Can people label?", responses=problems(503))
async def ready(edge: EdgeDep) -> Ready:
    """Open to everybody, like /health. 503, with the reason, until the first queue is on the platform."""
    if not_ready := (await asyncio.to_thread(edge.backend.status)).not_ready:
        raise HTTPException(503, not_ready)
    return Ready(status="READY")


@router.get("/api/status", summary="How is the loop doing?", responses=problems(401))
async def status(edge: EdgeDep) -> StatusAnswer:
    """A snapshot: counts, versions, latencies, audit accuracy, the last error."""
    snapshot = await asyncio.to_thread(edge.backend.status)
    return StatusAnswer(notes=dict(edge.notes), **as_json(snapshot))


@router.post("/api/train", summary="Train the encoder now", responses=problems(401, 409, 503))
async def train(edge: EdgeDep) -> Begun:
    """However little the labels have grown since the last time. 409: there is nothing to train, and why."""
    try:
        await asyncio.to_thread(edge.backend.train)
    except LearningError as error:
        raise HTTPException(409, str(error)) from None
    log.info("training asked for")
    return Begun(asked=True)


@router.delete("/api/train", summary="Cancel the training", responses=problems(401, 503))
async def cancel(edge: EdgeDep) -> Cancelled:
    """The model in use stays; the next training comes when the labels have grown again."""
    cancelled = await asyncio.to_thread(edge.backend.cancel_training)
    return Cancelled(cancelled=cancelled)


@router.post(
    "/api/compare",
    summary="Compare log and platform",
    responses=problems(400, 401, 409, 413, 415, 422, 503),
)
async def compare(
    wanted: Annotated[Compare, examples(look={}, believe={"believe": True}, keep={"keep": True})], edge: EdgeDep
) -> Comparing:
    """Every answer of the platform against the log; what differs is asked for by itself, and the log follows it.

    409: the platform can't be right, and the log too.
    """
    if wanted.believe and wanted.keep:
        raise HTTPException(409, "believe the platform, or keep what is here: not both")
    number = await asyncio.to_thread(edge.backend.compare, believe=wanted.believe, keep=wanted.keep)
    return Comparing(number=number)


@router.post(
    "/api/relabel",
    summary="Ask other annotators again",
    responses=problems(400, 401, 409, 413, 415, 422, 503),
)
async def relabel(
    wanted: Annotated[Relabel, examples(two_records={"uids": ["review-17", "review-40"], "opinions": 2})],
    edge: EdgeDep,
) -> Asked:
    """They come first in the queue, without a suggestion, and never to who answered them.

    422: a record is unknown, or can't be asked about; 409: the platform does not allow it. Nobody was asked then.
    """
    uids = list(dict.fromkeys(wanted.uids))
    try:
        asked = await asyncio.to_thread(edge.backend.ask_again, uids, wanted.opinions)
    except ConfigError as error:
        raise HTTPException(422, str(error)) from None
    except (PlatformError, RecordsRejected) as error:
        raise HTTPException(409, str(error)) from None
    log.info("asked again", records=asked, opinions=wanted.opinions)
    return Asked(asked=asked)


def as_json(status: Status) -> dict[str, Any]:
    """``status`` as plain values; figures that are not finite become None, which JSON can say."""
    return {name: _finite(value) for name, value in dataclasses.asdict(status).items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
