"""What the API page says of bodies read by hand, of the errors that a route may answer, and of logging in."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from nextlabel.backend.service.image_copies import PATH

from .middleware import OPEN_PATHS, SECRET_HEADER, SIGNED_PATHS, WEBHOOK_PATHS

# RequireCredentials decides; these only tell the API page (and the tools that read it) what it wants.
# FastAPI's own security classes would decide too, and turn away passwords that are not ASCII.
_SCHEMES: Final = {
    "basic": {"type": "http", "scheme": "basic", "description": "What the platform sends."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "`NEXTLABEL_API_TOKEN`, for your own calls."},
    "webhook": {"type": "apiKey", "in": "header", "name": SECRET_HEADER, "description": "What webhooks carry."},
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "webhook-signature",
        "description": "Standard Webhooks, with `webhook-id` and `webhook-timestamp`; the secret is Argilla's.",
    },
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of ``app``, with who may call what. Made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        document.setdefault("components", {})["securitySchemes"] = _SCHEMES
        for path, operations in document["paths"].items():
            schemes = [] if path in OPEN_PATHS or path.startswith(PATH) else ["basic", "bearer"]
            schemes += ["webhook"] if path in WEBHOOK_PATHS else []
            schemes = ["signature"] if path in SIGNED_PATHS else schemes
            for operation in operations.values():
                operation["security"] = [{scheme: []} for scheme in schemes]
        app.openapi_schema = document
    return app.openapi_schema


class Problem(BaseModel):
    """An error, in words."""

    detail: str = Field(description="What is wrong, and what to do about it.")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may fail with these statuses."""
    return {status: {"model": Problem, "description": _WORDS[status]} for status in statuses}


_WORDS: Final = {
    400: "The body is not what it should be.",
    401: "No credentials, or wrong ones.",
    403: "Known by the webhooks' secret only, which is not enough for this.",
    404: "The project served is on another platform, or there is no such thing.",
    409: "Meant for another project.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    422: "The body is JSON of another shape.",
    503: "Not now: no model yet, or the store can't be written. Try again after Retry-After seconds.",
}
