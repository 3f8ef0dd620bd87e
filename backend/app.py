"""Puts the HTTP edge together: routes, middleware, error answers. The service behind it comes ready made."""

from __future__ import annotations

from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nextlabel.backend.credentials import Credentials, credentials
from nextlabel.backend.routes import compare, label_studio, predict, relabel, status, train, webhooks
from nextlabel.backend.routes.auth import RequireCredentials
from nextlabel.backend.routes.edge import Edge
from nextlabel.backend.routes.limits import LimitBody
from nextlabel.backend.routes.metrics import MeasureRequests
from nextlabel.backend.routes.openapi import describe
from nextlabel.backend.service.ports import Backend
from nextlabel.backend.settings import Settings
from nextlabel.connectors.errors import NextlabelError

log = structlog.get_logger(__name__)

RETRY_AFTER_S: Final = 5
_DOCS: Final = frozenset({"/docs"})
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_CLOSED: Final = "default-src 'none'; frame-ancestors 'none'"
_SWAGGER: Final = (  # the API page fetches its scripts from where FastAPI says
    "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; img-src 'self' data: https://fastapi.tiangolo.com; "
    "frame-ancestors 'none'"
)
_ABOUT: Final = (
    "What the annotation platform calls, and what you may call with curl. Everything but `/health` wants basic auth or "
    "`Authorization: Bearer $NEXTLABEL_API_TOKEN`."
)


def create_app(backend: Backend, settings: Settings, *, secrets: Credentials | None = None) -> FastAPI:
    """The ASGI app around ``backend``, which is started and stopped by whoever made it.

    ``secrets`` default to those of the settings' home folder. Raises ConfigError if these can't be kept.
    """
    edge = Edge(backend, settings)

    app = FastAPI(
        title="nextlabel",
        version=_version(),
        description=_ABOUT,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.edge = edge
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    for routes in (label_studio, webhooks, predict, relabel, train, compare, status):
        app.include_router(routes.router)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(NextlabelError, _unavailable)
    app.add_exception_handler(Exception, _defect)
    # The last one added is the outermost: measure everything, then guard, then limit what is let in.
    app.add_middleware(LimitBody, limit=settings.max_request_bytes)
    app.add_middleware(RequireCredentials, credentials=secrets or credentials(settings))
    app.add_middleware(SecurityHeaders)
    app.add_middleware(MeasureRequests, metrics=edge.metrics)
    return app


class SecurityHeaders:
    """ASGI middleware: the headers that tell browsers to trust nothing here."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to the answer's start."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers["Content-Security-Policy"] = _SWAGGER if scope["path"] in _DOCS else _CLOSED
            await send(message)

        await self.app(scope, receive, guarded if scope["type"] == "http" else send)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker; registered for nothing else
    if error.status_code not in (401, 404, 405):
        log.info("refused", path=request.url.path, status=error.status_code, reason=error.detail)
    return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)


async def _unavailable(request: Request, error: Exception) -> Response:
    log.warning("not now", path=request.url.path, error=f"{type(error).__name__}: {error}")
    return JSONResponse({"detail": str(error)}, 503, headers={"Retry-After": str(RETRY_AFTER_S)})


async def _defect(request: Request, error: Exception) -> Response:
    log.error("defect", path=request.url.path, exc_info=error)
    return JSONResponse({"detail": "a defect in nextlabel; its log has the traceback"}, 500)


def _version() -> str:
    try:
        return version("nextlabel")
    except PackageNotFoundError:  # run from a checkout
        return "0"
