"""What the webhooks of every platform share: an event says where to look, and is answered at once.

Nothing of it is believed. What it is about is read from the platform; what is refused here is found by the next poll.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from fastapi import HTTPException, Request
from pydantic import BaseModel

from nextlabel.connectors.platforms import PLATFORMS
from nextlabel.connectors.records import Hint

from .edge import Edge, EdgeDep

log = structlog.get_logger(__name__)


class Taken(BaseModel):
    """What became of an event."""

    status: str


IGNORED: Final = Taken(status="ignored: an event of another project")


def only_for(platform: str) -> Callable[[Request, EdgeDep], Awaitable[None]]:
    """A dependency that answers 404 unless the project served is on ``platform``, or not known yet."""

    async def check(request: Request, edge: EdgeDep) -> None:
        await request.body()  # before anything else is waited for: the caller may hang up, and its event be lost
        project = await edge.project()
        if project is not None and project.platform != platform:
            raise HTTPException(
                404, f"the project served is not on {PLATFORMS[platform].title}, which this route is for"
            )

    return check


def take_in(edge: Edge, action: str, body: dict[str, Any]) -> Taken:
    """Have the service look where an event of our project says, counted under ``action``. Does not wait for it.

    Raises HTTPException 400 if the event is malformed.
    """
    counted = edge.metrics.events.labels
    try:
        hint = edge.backend.parse_event(body)
    except ValueError as error:
        counted(action, "malformed").inc()
        log.warning("malformed event", action=action, reason=str(error))
        raise HTTPException(400, f"{action}: {error}") from None
    if hint == Hint():
        counted(action, "nothing to do").inc()
    elif edge.backend.notify(hint):
        counted(action, "followed").inc()
    else:
        counted(action, "too many").inc()
        log.warning("more events than can be followed; the next poll finds what they are about", action=action)
    return Taken(status="ok")
