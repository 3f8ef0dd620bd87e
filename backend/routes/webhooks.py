"""The webhook of each platform that signs its deliveries, at ``/webhook/NAME``.

An event says where to look and is answered at once; what it is about is read from the platform.
"""

# Annotations are evaluated here, and not later by FastAPI: the example is that of the platform at hand.

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict

from nextlabel.connectors.platform import Platform
from nextlabel.connectors.platforms import PLATFORMS

from .edge import EdgeDep, JsonRoute, Taken, edge_of, examples, only_for, take_in
from .openapi import problems

SIGNATURE: Final = "webhook-signature"
"""The header that Standard Webhooks sign with."""


class SignedRoute(JsonRoute):
    """A route for deliveries that the platform has signed: nothing else of them is looked at before that is known."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """JsonRoute's own, for those that are authentic."""
        handler, check = super().get_route_handler(), only_for(self.path.rpartition("/")[2])

        async def handle(request: Request) -> Response:
            edge = edge_of(request)
            if is_signed := SIGNATURE in request.headers:
                await check(request, edge)
                is_signed = await asyncio.to_thread(edge.backend.authentic, dict(request.headers), await request.body())
            if not is_signed:
                edge.metrics.events.labels("unknown", "forged").inc()
                raise HTTPException(401, "the signature is missing, wrong, or more than five minutes old")
            return await handler(request)

        return handle


router = APIRouter(route_class=SignedRoute)


class Event(BaseModel):
    """What happened; the rest depends on the type."""

    model_config = ConfigDict(extra="allow")

    type: str


def _taker(platform: Platform) -> Callable[..., Awaitable[Taken]]:
    async def webhook(event: Annotated[Event, examples(event=platform.example)], edge: EdgeDep) -> Taken:
        """Every event of the server, with its signature; those of other projects and unknown ones change nothing."""
        body = event.model_dump()
        named, project = platform.event(body)
        kind = named if named in platform.events else "other"
        return await take_in(edge, kind, body, project)

    return webhook


for _platform in PLATFORMS.values():
    if _platform.signs:
        router.add_api_route(
            f"/webhook/{_platform.name}",
            _taker(_platform),
            methods=["POST"],
            tags=[_platform.title],
            summary=f"Take an event of {_platform.title} in",
            responses=problems(400, 401, 404, 413, 415, 422),
            response_model=Taken,
        )
