"""Proxies that treat what passes them as badly as networks, caches and indexes can.

Of webhooks one fifth is dropped (answered 200, never delivered), one fifth delivered twice, all delivered after a
random delay, so that their order is shuffled. Listings are of before the last change. Every other call passes straight
through.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from typing import Any, Self

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

WEBHOOKS = ("/webhook", "/webhook/argilla")
DROPPED, REPEATED, LONGEST_DELAY, STALE = 0.2, 0.2, 1.5, 0.5
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
KEPT = ("content-type", "date", "location", "set-cookie")
"""Headers of an answer that are passed on."""


class Proxy:
    """Runs in a thread on ``port`` and forwards to ``target``. ``fates`` counts what became of what."""

    def __init__(self, port: int, target: str, seed: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.fates: Counter[str] = Counter()
        self._target = target
        self._random = random.Random(seed)
        app = Starlette(routes=[Route("/{path:path}", self._forward, methods=METHODS)])
        self._server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    async def _forward(self, request: Request) -> Response:
        return await self._deliver(request, await request.body())

    async def _deliver(self, request: Request, body: bytes) -> Response:
        headers = {k: v for k, v in request.headers.items() if k not in ("host", "content-length")}
        try:
            async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
                url = httpx.URL(self._target + request.url.path, query=request.url.query.encode())
                answer = await client.request(request.method, url, content=body, headers=headers)
        except httpx.TransportError:
            self.fates["met a dead backend"] += request.url.path in WEBHOOKS
            return Response(status_code=502)
        kept = {name: answer.headers[name] for name in KEPT if name in answer.headers}
        return Response(self._changed(request, answer.content), answer.status_code, headers=kept)

    def _changed(self, request: Request, content: bytes) -> bytes:
        """What is answered in place of ``content``."""
        return content


class ChaosProxy(Proxy):
    """Between a platform and our backend."""

    def __init__(self, port: int, target: str, seed: int) -> None:
        super().__init__(port, target, seed)
        self._late: set[asyncio.Task[None]] = set()

    async def _forward(self, request: Request) -> Response:
        body = await request.body()
        if request.url.path not in WEBHOOKS:
            return await self._deliver(request, body)
        if self._random.random() < DROPPED:
            self.fates["dropped"] += 1
            return Response()
        times = 2 if self._random.random() < REPEATED else 1
        self.fates["repeated" if times == 2 else "delayed"] += 1
        for _ in range(times):
            task = asyncio.create_task(self._later(request, body, self._random.uniform(0, LONGEST_DELAY)))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        return Response()

    async def _later(self, request: Request, body: bytes, delay: float) -> None:
        await asyncio.sleep(delay)
        await self._deliver(request, body)


class StaleProxy(Proxy):
    """Between our backend and a platform: as long as ``stale``, listings may be of before the last change.

    On Label Studio a listed task is shown, half of the time, as it was listed before; on Argilla a search, whose index
    is written after the database, half of the time lacks a record that it should have found. What is asked
    for by its id is answered truly.
    """

    stale = True

    def __init__(self, port: int, target: str, seed: int) -> None:
        super().__init__(port, target, seed)
        self._seen: dict[int, Any] = {}

    def _changed(self, request: Request, content: bytes) -> bytes:
        if not self.stale:
            return content
        if request.url.path == "/api/tasks" and request.query_params.get("fields") == "all":
            found = json.loads(content)
            found["tasks"] = [self._older(task) for task in found["tasks"]]
            return json.dumps(found).encode()
        if request.url.path.endswith("/records/search") and "responses" in request.query_params.get("include", ""):
            found = json.loads(content)
            if found["items"] and self._random.random() < STALE:
                found["items"].pop(self._random.randrange(len(found["items"])))
                self.fates["left out"] += 1
            return json.dumps(found).encode()
        return content

    def _older(self, task: Any) -> Any:
        before, self._seen[task["id"]] = self._seen.get(task["id"], {**task, "annotations": []}), task
        if before["annotations"] == task["annotations"] or self._random.random() > STALE:
            return task
        self.fates["as before"] += 1
        return before
