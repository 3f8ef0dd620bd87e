"""How the loop is doing: for people and programs at ``/api/status``, for Prometheus at ``/metrics``.

``/health`` is asked by Label Studio before every call, and by whatever watches over the process.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict

from nextlabel.backend.service.ports import Status

from .edge import EdgeDep
from .openapi import problems

router = APIRouter(tags=["nextlabel"])


class StatusAnswer(BaseModel):
    """The loop's state, as :class:`~nextlabel.backend.service.ports.Status` has it, and ``notes`` about its callers."""

    model_config = ConfigDict(extra="allow")

    notes: dict[str, str]


@router.get("/health", summary="Alive?")
async def health_check() -> dict[str, str]:
    """Open to everybody; says nothing but that the service is up."""
    return {"status": "UP", "model_class": "nextlabel"}


@router.get("/api/status", summary="How is the loop doing?", responses=problems(401))
async def status(edge: EdgeDep) -> StatusAnswer:
    """A snapshot: counts, versions, latencies, audit accuracy, the last error."""
    snapshot = await asyncio.to_thread(edge.backend.status)
    return StatusAnswer(notes=dict(edge.notes), **as_json(snapshot))


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=problems(401))
async def metrics(edge: EdgeDep) -> Response:
    """Text exposition format."""
    text = await asyncio.to_thread(generate_latest, edge.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def as_json(status: Status) -> dict[str, Any]:
    """``status`` as plain values; figures that are not finite become None, which JSON can say."""
    return {name: _finite(value) for name, value in dataclasses.asdict(status).items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
