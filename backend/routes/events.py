"""What the webhooks of every platform share: an event is read, written to the log and answered at once.

What is refused here is found again by the next poll.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from fastapi import HTTPException, Request
from pydantic import BaseModel, Field

from nextlabel.backend.loop.platforms import NAMES
from nextlabel.backend.recipe import Platform
from nextlabel.connectors.errors import LabelingMismatch, StoreError
from nextlabel.connectors.records import Changes

from .edge import Edge, EdgeDep

log = structlog.get_logger(__name__)

RETRY_AFTER_S: Final = 30


class Taken(BaseModel):
    """What became of an event."""

    status: str
    new: int = Field(default=0, description="Rows that the annotation log gained.")


IGNORED: Final = Taken(status="ignored: an event of another project")


def only_for(platform: Platform) -> Callable[[Request, EdgeDep], Awaitable[None]]:
    """A dependency that answers 404 unless the project served is on ``platform``, or not known yet."""

    async def check(request: Request, edge: EdgeDep) -> None:
        await request.body()  # before anything else is waited for: the caller may hang up, and its event be lost
        project = await edge.project()
        if project is not None and project.platform != platform:
            raise HTTPException(404, f"the project served is not on {NAMES[platform]}, which this route is for")

    return check


async def take_in(edge: Edge, action: str, body: dict[str, Any]) -> Taken:
    """Read an event of our project and append it to the log, counted under ``action``.

    Raises HTTPException: 400 if it is malformed, 503 if it can't be stored.
    """
    counted = edge.metrics.events.labels
    try:
        changes = edge.backend.parse_event(body)
    except (ValueError, LabelingMismatch) as error:
        counted(action, "malformed").inc()
        log.warning("malformed event", action=action, reason=str(error))
        raise HTTPException(400, f"{action}: {error}") from None
    if changes == Changes():
        counted(action, "nothing to do").inc()
        return Taken(status="ok")
    try:
        new = await edge.write(edge.backend.take_in, changes, "webhook")
    except StoreError as error:
        counted(action, "not stored").inc()
        log.error("event not stored; the next poll will find it", action=action, reason=str(error))
        raise HTTPException(503, str(error), {"Retry-After": str(RETRY_AFTER_S)}) from None
    counted(action, "taken in").inc()
    return Taken(status="ok", new=new)
