"""The webhook of each platform that signs its deliveries, at ``/webhook/NAME``.

An event says where to look and is answered at once; what it is about is read from the platform.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, ConfigDict

from nextlabel.connectors.platform import Platform
from nextlabel.connectors.platforms import PLATFORMS

from .body import read_json, validate
from .edge import EdgeDep
from .events import IGNORED, Taken, only_for, take_in
from .openapi import json_body, problems

router = APIRouter()


class Event(BaseModel):
    """What happened; the rest depends on the type."""

    model_config = ConfigDict(extra="allow")

    type: str


def _taker(platform: Platform) -> Callable[..., Awaitable[Taken]]:
    async def webhook(request: Request, edge: EdgeDep) -> Taken:
        """Every event of the server, with its signature; those of other projects and unknown ones change nothing."""
        raw = await request.body()
        if not await asyncio.to_thread(edge.backend.authentic, dict(request.headers), raw):
            edge.metrics.events.labels("unknown", "forged").inc()
            raise HTTPException(401, "the signature is missing, wrong, or more than five minutes old")
        body = await read_json(request)
        validate(Event, body)
        named, project = platform.event(body)
        kind = named if named in platform.events else "other"
        ours = await edge.project()
        if ours is not None and project is not None and project != ours.id:
            edge.metrics.events.labels(kind, "other project").inc()
            return IGNORED
        return take_in(edge, kind, body)

    return webhook


for _platform in PLATFORMS.values():
    if _platform.signs:
        router.add_api_route(
            f"/webhook/{_platform.name}",
            _taker(_platform),
            methods=["POST"],
            tags=[_platform.title],
            dependencies=[Depends(only_for(_platform.name))],
            summary=f"Take an event of {_platform.title} in",
            responses=problems(400, 401, 404, 413, 415, 422),
            openapi_extra=json_body(Event, event=_platform.example),
            response_model=Taken,
        )
