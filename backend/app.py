"""Puts the HTTP edge together: routes, middleware, error answers. The service behind it comes ready made."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from nextlabel.backend.credentials import Credentials, credentials
from nextlabel.backend.routes import api, health, images, label_studio, predict, served_model, webhooks
from nextlabel.backend.routes.bodies import LimitBodies
from nextlabel.backend.routes.edge import Edge, ModelEdge
from nextlabel.backend.routes.metrics import Metrics
from nextlabel.backend.routes.middleware import (
    MeasureRequests,
    RefuseForeignPages,
    RequireCredentials,
    SecurityHeaders,
)
from nextlabel.backend.routes.openapi import describe
from nextlabel.backend.service.ports import Backend, Predicting
from nextlabel.backend.settings import Settings
from nextlabel.connectors.errors import NextlabelError

log = structlog.get_logger(__name__)

RETRY_AFTER_S: Final = 5
LONGEST_DETAIL: Final = 2000
"""Characters of an answer that says what is wrong: callers choose some of them."""
_ABOUT: Final = (
    "What the annotation platform calls, and what you may call with curl. Everything but `/health`, `/ready` "
    "and signed `/images/...` wants basic auth or `Authorization: Bearer $NEXTLABEL_API_TOKEN`."
)


def create_app(backend: Backend, settings: Settings, *, secrets: Credentials | None = None) -> FastAPI:
    """The ASGI app around ``backend``, which is started and stopped by whoever made it.

    ``secrets`` default to those of the settings' home folder. Raises ConfigError if these can't be kept.
    """
    return _guarded(Edge(backend), (label_studio, webhooks, predict, images, api), settings, secrets)


def create_model_app(model: Predicting, settings: Settings, *, secrets: Credentials | None = None) -> FastAPI:
    """The ASGI app around a model without a project. The rest as in create_app."""
    return _guarded(ModelEdge(model, Metrics()), (served_model, predict), settings, secrets)


def _guarded(edge: ModelEdge, rooms: Iterable[Any], settings: Settings, secrets: Credentials | None) -> FastAPI:
    # The API page and its scripts come from here: machines without a way out show it too.
    app = FastAPIOffline(title="nextlabel", version=_version(), description=_ABOUT, redoc_url=None)
    app.state.edge = edge
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    for routes in (health, *rooms):
        app.include_router(routes.router)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(NextlabelError, _unavailable)
    app.add_exception_handler(Exception, _defect)
    # The last one added is the outermost: measure everything, then guard, then limit what is let in.
    app.add_middleware(LimitBodies, limit=settings.max_request_bytes)
    app.add_middleware(RequireCredentials, credentials=secrets or credentials(settings))
    app.add_middleware(RefuseForeignPages, address=settings.public_url)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(MeasureRequests, metrics=edge.metrics)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker; registered for nothing else
    if error.status_code not in (401, 404, 405):
        log.info("refused", path=request.url.path, status=error.status_code, reason=error.detail)
    return JSONResponse({"detail": error.detail[:LONGEST_DETAIL]}, error.status_code, headers=error.headers)


async def _unavailable(request: Request, error: Exception) -> Response:
    log.warning("not now", path=request.url.path, error=f"{type(error).__name__}: {error}")
    return JSONResponse({"detail": str(error)[:LONGEST_DETAIL]}, 503, headers={"Retry-After": str(RETRY_AFTER_S)})


async def _defect(request: Request, error: Exception) -> Response:
    log.error("defect", path=request.url.path, exc_info=error)
    return JSONResponse({"detail": "a defect in nextlabel; its log has the traceback"}, 500)


def _version() -> str:
    try:
        return version("nextlabel")
    except PackageNotFoundError:  # run from a checkout
        return "0"
