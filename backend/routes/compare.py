"""Compare the annotation log with the platform now. What it came to stands in ``/api/status``."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from .body import read_json, validate
from .edge import EdgeDep
from .openapi import json_body, problems

router = APIRouter(tags=["nextlabel"])


class Compare(BaseModel):
    """What to do about answers and records that are gone, or otherwise, in great numbers."""

    model_config = ConfigDict(extra="forbid", strict=True)

    believe: bool = Field(default=False, description="Take as it is what was told instead of believed.")


class Begun(BaseModel):
    """What the asking came to."""

    number: int = Field(description="It has ended once `comparison.ended` of /api/status is at least this.")


@router.post(
    "/api/compare",
    summary="Compare log and platform",
    responses=problems(400, 401, 413, 415, 422, 503),
    openapi_extra=json_body(Compare, look={}, believe={"believe": True}),
)
async def compare(request: Request, edge: EdgeDep) -> Begun:
    """Every answer of the platform against the log; what differs is asked for by itself, and the log follows it."""
    wanted = validate(Compare, await read_json(request))
    return Begun(number=await asyncio.to_thread(edge.backend.compare, believe=wanted.believe))
