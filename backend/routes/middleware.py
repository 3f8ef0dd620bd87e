"""What lies around every route: who may call, and from where, what browsers are told, and how long it took.

Wanted is basic auth or a bearer token on everything but ``/health`` and ``/ready``, and images, whose addresses are
signed.

The webhook is special: Label Studio sends its events without the credentials of the ML backend, so there a
secret header will do. Whoever may list webhooks can read it, so it opens nothing else. Argilla signs each delivery
with a secret that only the route can find out, so that route guards itself. Every comparison takes the same time
whatever was sent.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nextlabel.backend.credentials import Credentials
from nextlabel.backend.service.image_copies import PATH
from nextlabel.connectors.platforms import PLATFORMS

from .metrics import Metrics

SECRET_HEADER: Final = "X-Nextlabel-Secret"  # noqa: S105 - a name
OPEN_PATHS: Final = frozenset({"/health", "/ready"})
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
WEBHOOK_PATHS: Final = frozenset({"/webhook"})
SIGNED_PATHS: Final = frozenset(f"/webhook/{one.name}" for one in PLATFORMS.values() if one.signs)
_KNOWN: Final = "nextlabel.known"
_ONE_SITE: Final = ("X-Frame-Options", "Cache-Control")
"""Headers that the route of images sets by itself, or that say nothing of an image."""

_DOCS: Final = frozenset({"/docs"})
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_CLOSED: Final = "default-src 'none'; frame-ancestors 'none'"
_SWAGGER: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'"
)


class RequireCredentials:
    """ASGI middleware: closed unless shown to be open, so a route added tomorrow is guarded too."""

    def __init__(self, app: ASGIApp, credentials: Credentials) -> None:
        self.app = app
        self._basic = f"{credentials.user}:{credentials.password}".encode()
        self._token = credentials.api_token.encode()
        self._secret = credentials.webhook_secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401 before a byte of its body is read."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS | SIGNED_PATHS or is_image(scope):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        known = self._is_known(headers)
        if known or self._has_secret(scope["path"], headers):
            scope[_KNOWN] = known
            await self.app(scope, receive, send)
            return
        accepted = "basic auth or a bearer token"
        if scope["path"] in WEBHOOK_PATHS:
            accepted = f"the header {SECRET_HEADER}, {accepted}"
        answer = JSONResponse({"detail": f"not authorised: send {accepted}"}, 401)
        for challenge in ('Basic realm="nextlabel"', "Bearer"):  # both in one line, and Chromium offers no login
            answer.headers.append("WWW-Authenticate", challenge)
        await answer(scope, receive, send)

    def _has_secret(self, path: str, headers: Headers) -> bool:
        return path in WEBHOOK_PATHS and _same(_bytes(headers.get(SECRET_HEADER, "")), self._secret)

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _same(_bytes(value.strip()), self._token)
        if scheme.lower() != "basic":
            return False
        try:
            return _same(base64.b64decode(value.strip(), validate=True), self._basic)
        except (binascii.Error, ValueError):
            return False


def is_image(scope: Scope) -> bool:
    """Whether somebody looks at what is behind signed addresses, and that route judges by itself."""
    before, _, _ = str(scope["path"]).rpartition("/")
    return scope["method"] in ("GET", "HEAD") and f"{before}/" == PATH


def is_known(scope: Scope) -> bool:
    """Whether the caller has shown the password or the token; the webhooks' secret is neither."""
    return bool(scope.get(_KNOWN))


def _bytes(header: str) -> bytes:
    return header.encode("latin-1")  # what Starlette decoded it with


def _same(shown: bytes, expected: bytes) -> bool:
    return bool(expected) and hmac.compare_digest(shown, expected)


class RefuseForeignPages:
    """ASGI middleware: answers 403 to what changes something and comes from another site's page, as browsers say.

    A browser that has logged in here would send the password along. Platforms and curl say nothing, and pass.
    ``address`` is the service's own, where it stands behind another name than the one it is called by.
    """

    def __init__(self, app: ASGIApp, address: str) -> None:
        self.app = app
        self._host = urlsplit(address).netloc.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it before anything else is looked at."""
        if scope["type"] != "http" or scope["method"] in READING or self._is_ours(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        detail = "a page of another site asks for this; open it from here, or set NEXTLABEL_PUBLIC_URL to our address"
        await JSONResponse({"detail": detail}, 403)(scope, receive, send)

    def _is_ours(self, headers: Headers) -> bool:
        if headers.get("sec-fetch-site", "none").lower() not in ("none", "same-origin"):
            return False
        origin = headers.get("origin")
        try:
            return origin is None or urlsplit(origin).netloc.lower() in {
                headers.get("host", "").lower(),
                self._host,
            } - {""}
        except ValueError:
            return False


class SecurityHeaders:
    """ASGI middleware: the headers that tell browsers to trust nothing here."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to the answer's start."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                shown = is_image(scope) and message["status"] in (200, 304)
                headers.update({name: value for name, value in _HEADERS.items() if not (shown and name in _ONE_SITE)})
                headers["Content-Security-Policy"] = _SWAGGER if scope["path"] in _DOCS else _CLOSED
            await send(message)

        await self.app(scope, receive, guarded if scope["type"] == "http" else send)


class MeasureRequests:
    """ASGI middleware: times every request, under the route's pattern so that strangers can't mint series."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._requests = metrics.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note how long it took and how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._requests.labels(route, str(status)).observe(time.perf_counter() - start)
