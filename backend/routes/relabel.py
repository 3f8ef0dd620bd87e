"""Ask for other opinions on records that were answered: by hand here, by strategies from inside the loop."""

from __future__ import annotations

import asyncio
from typing import Annotated

import structlog
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from nextlabel.connectors.errors import ConfigError, PlatformError, RecordsRejected

from .body import JsonRoute, examples
from .edge import EdgeDep
from .openapi import problems

log = structlog.get_logger(__name__)

router = APIRouter(tags=["nextlabel"], route_class=JsonRoute)


class Relabel(BaseModel):
    """Which records, and how many annotators shall have answered each of them in the end."""

    uids: list[str] = Field(min_length=1, max_length=10_000, description="The records' ids, as `export` shows them.")
    opinions: int = Field(default=2, ge=2, le=1000, description="Annotators in all, those who answered included.")


class Asked(BaseModel):
    """How many records were asked about."""

    asked: int


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
