"""The webhook of Argilla: events of the whole server, signed as Standard Webhooks says.

Argilla waits twenty seconds for the answer and repeats a delivery that fails after 10, 60 and 180 seconds, in any
order. So an event says where to look and is answered at once, and what it is about is read from Argilla.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, ConfigDict

from .body import read_json, validate
from .edge import EdgeDep
from .events import IGNORED, Taken, only_for, take_in
from .openapi import json_body, problems

router = APIRouter(tags=["Argilla"], dependencies=[Depends(only_for("argilla"))])

# Anything else that calls itself a type is counted as "other": names from outside make no new series.
TYPES: Final = frozenset(
    {"ping"}
    | {f"dataset.{what}" for what in ("created", "updated", "deleted", "published")}
    | {f"record.{what}" for what in ("created", "updated", "deleted", "completed")}
    | {f"response.{what}" for what in ("created", "updated", "deleted")}
)


class Event(BaseModel):
    """What happened; the rest is under ``data`` and depends on the type."""

    model_config = ConfigDict(extra="allow")

    type: str


@router.post(
    "/webhook/argilla",
    summary="Take an event of Argilla in",
    responses=problems(400, 401, 404, 413, 415, 422),
    openapi_extra=json_body(
        Event,
        ping={
            "type": "ping",
            "version": 1,
            "timestamp": "2026-11-22T04:00:00.000000Z",
            "data": {"agent": "argilla-server", "version": "2.8.0"},
        },
    ),
)
async def webhook(request: Request, edge: EdgeDep) -> Taken:
    """Every event of the server, with its signature; those of other datasets and unknown ones change nothing."""
    raw = await request.body()
    if not await asyncio.to_thread(edge.backend.authentic, dict(request.headers), raw):
        edge.metrics.events.labels("unknown", "forged").inc()
        raise HTTPException(401, "the signature is missing, wrong, or more than five minutes old")
    body = await read_json(request)
    kind = validate(Event, body).type
    kind = kind if kind in TYPES else "other"
    ours = await edge.project()
    dataset = _dataset(body)
    if ours is not None and dataset is not None and str(dataset) != ours.id:
        edge.metrics.events.labels(kind, "other project").inc()
        return IGNORED
    return take_in(edge, kind, body)


def _dataset(body: dict[str, Any]) -> Any:
    """The id of the dataset that an event is about, None if it names none."""
    place: Any = body
    for key in ("data", "record", "dataset", "id"):
        place = place.get(key) if isinstance(place, dict) else None
    return place
