"""Whether the process is alive, and what Prometheus counts.

``/health`` is asked by Label Studio before every call, and by whatever watches over the process, from its first moment
on.
"""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .edge import ModelEdgeDep
from .openapi import problems

router = APIRouter(tags=["nextlabel"])


@router.get("/health", summary="Alive?")
async def health_check() -> dict[str, str]:
    """Open to everybody; says nothing but that the service is up."""
    return {"status": "UP", "model_class": "nextlabel"}


@router.get("/", summary="Alive, as ML backends say it?", responses=problems(401))
async def index() -> dict[str, str]:
    """What /health says, to those who may ask for more: some clients of ML backends look here first."""
    return await health_check()


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=problems(401))
async def metrics(edge: ModelEdgeDep) -> Response:
    """Text exposition format."""
    text = await asyncio.to_thread(generate_latest, edge.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
