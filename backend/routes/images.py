"""The project's images for annotators' browsers, which have no token: the address itself is signed.

Only what the project's records show is served, by a name that has no path in it. The bytes behind a name never change.
"""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response

from nextlabel.backend.service.image_copies import PATH

from .edge import EdgeDep
from .openapi import problems

router = APIRouter(tags=["nextlabel"])

SHOWN_HEADERS: Final = {
    "Cache-Control": "private, max-age=31536000, immutable",
    # The platform's page may load them into a canvas, or with fetch. No cookie or password is looked at here.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


@router.head(f"{PATH}{{name}}", include_in_schema=False)
@router.get(
    f"{PATH}{{name}}",
    summary="Show an image of a record",
    response_class=Response,
    responses={
        200: {"content": {"image/*": {}}},
        304: {"description": "It is the one that you have."},
        **problems(404),
    },
)
async def image(name: str, request: Request, edge: EdgeDep) -> Response:
    """For an `<img>` of the platform's page: `name` is signed, so no token is asked for. 404 for any other name."""
    found = await asyncio.to_thread(edge.backend.image, name)
    if found is None:
        raise HTTPException(404, "there is no such image, or its address was not signed here")
    headers = SHOWN_HEADERS | {"ETag": f'"{found.name}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(found.data, headers=headers, media_type=found.kind)
