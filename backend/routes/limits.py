"""A limit on the size of a request, for bodies that say their length and for those that come in chunks."""

from __future__ import annotations

from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATUS: Final = 413


class LimitBody:
    """ASGI middleware: answers 413 to a body of more than ``limit`` bytes, without keeping what came so far."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse at once by the length announced, else count while the body is read."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        detail = f"the request body is larger than {self.limit} bytes (NEXTLABEL_MAX_REQUEST_BYTES)"
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if announced.isdigit() and (len(announced) > 18 or int(announced) > self.limit):
            await JSONResponse({"detail": detail}, STATUS)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self.limit:
                    raise HTTPException(STATUS, detail)
            return message

        await self.app(scope, counted, send)
