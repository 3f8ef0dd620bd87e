"""Compare the annotation log with the platform now. What it came to stands in ``/api/status``."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from .body import JsonRoute, examples
from .edge import EdgeDep
from .openapi import problems

router = APIRouter(tags=["nextlabel"], route_class=JsonRoute)


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
)
async def compare(wanted: Annotated[Compare, examples(look={}, believe={"believe": True})], edge: EdgeDep) -> Begun:
    """Every answer of the platform against the log; what differs is asked for by itself, and the log follows it."""
    return Begun(number=await asyncio.to_thread(edge.backend.compare, believe=wanted.believe))
