"""Train the encoder now, or stop the training that runs. How far it is stands in ``/api/status``."""

from __future__ import annotations

import asyncio

import structlog
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from nextlabel.connectors.errors import LearningError

from .edge import EdgeDep
from .openapi import problems

log = structlog.get_logger(__name__)

router = APIRouter(tags=["nextlabel"])


class Cancelled(BaseModel):
    """What the cancelling came to."""

    cancelled: bool = Field(description="Whether a training was running.")


class Begun(BaseModel):
    """What the asking came to."""

    asked: bool = Field(description="A training starts within seconds, or when the one that runs has ended.")


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
