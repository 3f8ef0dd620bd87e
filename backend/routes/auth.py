"""Who may call: basic auth or a bearer token on everything but ``/health``.

The webhook is special: Label Studio sends its events without the credentials of the ML backend, so there a
secret header will do. Whoever may list webhooks can read it, so it opens nothing else. Argilla signs each delivery
with a secret that only the route can find out, so that route guards itself. Every comparison takes the same time
whatever was sent.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from nextlabel.backend.credentials import Credentials
from nextlabel.connectors.platforms import PLATFORMS

SECRET_HEADER: Final = "X-Nextlabel-Secret"  # noqa: S105 - a name
OPEN_PATHS: Final = frozenset({"/health"})
WEBHOOK_PATHS: Final = frozenset({"/webhook"})
SIGNED_PATHS: Final = frozenset(f"/webhook/{one.name}" for one in PLATFORMS.values() if one.signs)
_SECRET_ONLY: Final = "nextlabel.secret_only"  # noqa: S105 - a key of the scope


class RequireCredentials:
    """ASGI middleware: closed unless shown to be open, so a route added tomorrow is guarded too."""

    def __init__(self, app: ASGIApp, credentials: Credentials) -> None:
        self.app = app
        self._basic = f"{credentials.user}:{credentials.password}".encode()
        self._token = credentials.api_token.encode()
        self._secret = credentials.webhook_secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401 before a byte of its body is read."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS | SIGNED_PATHS:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        known = self._is_known(headers)
        if known or self._has_secret(scope["path"], headers):
            scope[_SECRET_ONLY] = not known
            await self.app(scope, receive, send)
            return
        accepted = "basic auth or a bearer token"
        if scope["path"] in WEBHOOK_PATHS:
            accepted = f"the header {SECRET_HEADER}, {accepted}"
        await JSONResponse(
            {"detail": f"not authorised: send {accepted}"},
            401,
            headers={"WWW-Authenticate": 'Basic realm="nextlabel", Bearer'},
        )(scope, receive, send)

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


def shows_secret_only(request: Request) -> bool:
    """Whether the caller has shown the webhooks' secret, and no password or token."""
    return bool(request.scope.get(_SECRET_ONLY))


def _bytes(header: str) -> bytes:
    return header.encode("latin-1")  # what Starlette decoded it with


def _same(shown: bytes, expected: bytes) -> bool:
    return bool(expected) and hmac.compare_digest(shown, expected)
