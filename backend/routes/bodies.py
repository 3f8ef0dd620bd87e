"""How much may be sent, by route: in bytes, in values of JSON, in time, and in all that wait for their end at once.

All of it is judged while a body comes in, so nothing larger is ever held. What passes is small enough to be parsed
without anybody noticing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .middleware import SIGNED_PATHS, WEBHOOK_PATHS, is_known

MIB: Final = 2**20
LARGEST: Final = {
    "/setup": 8 * MIB,  # a labeling config
    "/api/relabel": 4 * MIB,  # ids
    **dict.fromkeys(WEBHOOK_PATHS | SIGNED_PATHS, 8 * MIB),  # hints; what is refused, the next poll finds
}
"""Bytes, by path; never more than the setting, which is also what predictions may have."""
PREDICTED: Final = frozenset({"/predict", "/api/predict"})
OTHERS: Final = 64 * 1024
VALUES: Final = 250_000
"""Values of JSON in a body: 10,000 tasks of Label Studio, with all that it knows of each."""
BODY_S: Final = 30.0
"""Seconds that a body may take."""
AT_ONCE: Final = 64
STRANGERS_BYTES: Final = 16 * MIB
"""Bodies, and bytes of them, that may wait for their end at once, of callers without password or token."""
KNOWN_AT_ONCE: Final = 1000
KNOWN_BODIES: Final = 4
"""Bodies, and largest ones of them, that may wait at once of those who have one of the two."""


class LimitBodies:
    """ASGI middleware: 413 to a body that is larger than its route takes, 408 to one that does not come."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit
        self._strangers = Waiting(AT_ONCE, STRANGERS_BYTES)
        self._known = Waiting(KNOWN_AT_ONCE, max(KNOWN_BODIES * limit, STRANGERS_BYTES))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse at once by the length announced, else count while the body is read."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.largest(scope["path"])
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
            await JSONResponse({"detail": _too_large(limit)}, 413)(scope, receive, send)
            return
        waiting = self._known if is_known(scope) else self._strangers
        with waiting.body(ValueCount(texts=scope["path"] in PREDICTED)) as body:

            async def counted() -> Message:
                if body.complete:
                    return await receive()
                message = await body.next(receive)
                if body.size > limit:
                    raise HTTPException(413, _too_large(limit))
                return message

            await self.app(scope, counted, send)

    def largest(self, path: str) -> int:
        """Bytes that a body for ``path`` may have."""
        return self.limit if path in PREDICTED else min(self.limit, LARGEST.get(path, OTHERS))


def _too_large(limit: int) -> str:
    return (
        f"the request body is larger than {limit} bytes, the most that this route takes (NEXTLABEL_MAX_REQUEST_BYTES)"
    )


class Body:
    """One body on its way in. ``size`` is what came so far, and ``complete`` once that is all."""

    def __init__(self, waiting: Waiting, values: ValueCount) -> None:
        self._waiting, self._values = waiting, values
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)
        self.deadline = self._loop.time() + BODY_S
        self.size, self.complete = 0, False

    async def next(self, receive: Receive) -> Message:
        """The next message. Raises HTTPException 400, 408 or 413."""
        self._timeout = asyncio.timeout_at(self.deadline)
        try:
            async with self._timeout:
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"the body did not come within {BODY_S:g} seconds, or too many wait") from None
        if message["type"] == "http.disconnect":
            raise HTTPException(400, "the caller hung up within the body")
        piece = message.get("body", b"")
        self.size += len(piece)
        if self._values.count(piece) > VALUES:
            raise HTTPException(413, f"the body holds more than {VALUES:,} values; send it in parts")
        self.complete = not message.get("more_body", False)
        self._waiting.make_room()
        return message

    def give_up(self) -> None:
        """Have it answered 408 instead of waited for."""
        self.deadline = 0.0
        if self._timeout.when() is not None:
            self._timeout.reschedule(0.0)


class Waiting:
    """The bodies that are waited for: ``most`` at once, and ``room`` bytes of them."""

    def __init__(self, most: int, room: int) -> None:
        self._most, self._room = most, room
        self._bodies: dict[Body, None] = {}  # a set in order

    @contextmanager
    def body(self, values: ValueCount) -> Iterator[Body]:
        """One more, until the block ends."""
        body = Body(self, values)
        self._bodies[body] = None
        try:
            yield body
        finally:
            self._bodies.pop(body, None)

    def make_room(self) -> None:
        """Give up the largest while there are too many bytes, and the oldest while there are too many bodies.

        Whoever comes with something small and sends it at once gets through.
        """
        for body in [body for body in self._bodies if body.complete]:
            del self._bodies[body]
        while self._bodies and sum(body.size for body in self._bodies) > self._room:
            self._give_up(max(self._bodies, key=lambda body: body.size))
        while len(self._bodies) > self._most:
            self._give_up(next(iter(self._bodies)))

    def _give_up(self, body: Body) -> None:
        del self._bodies[body]
        body.give_up()


_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\Z)', re.DOTALL)


class ValueCount:
    """Counts the values of a JSON text that comes in pieces, without parsing it: lists, objects, and commas.

    ``texts``: whether strings are looked at, which may hold many commas. That takes longer.
    """

    def __init__(self, *, texts: bool) -> None:
        self._texts = texts
        self._found = 0
        self._begins = b""  # what the next piece goes on with: a string, maybe with a backslash at its end

    def count(self, piece: bytes) -> int:
        """How many there are so far."""
        if self._texts:
            piece = self._without_strings(self._begins + piece)
        self._found += sum(map(piece.count, (b"[", b"{", b",")))
        return self._found

    def _without_strings(self, text: bytes) -> bytes:
        """``text`` without its strings, the last of which may go on in the next piece."""
        bare = _STRING.sub(b"", text + b"\n")
        goes_on = not bare.endswith(b"\n")
        cut = (len(text) - len(text.rstrip(b"\\"))) % 2 == 1
        self._begins = (b'"\\' if cut else b'"') if goes_on else b""
        return bare
