"""A proxy between the platform and the backend that treats webhooks as badly as a network can.

One fifth is dropped (answered 200, never delivered), one fifth delivered twice, all delivered after a random
delay, so that their order is shuffled. Every other call passes straight through.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

WEBHOOKS = ("/webhook", "/webhook/argilla")
DROPPED, REPEATED, LONGEST_DELAY = 0.2, 0.2, 1.5


class ChaosProxy:
    """Runs in a thread on ``port`` and forwards to ``target``. ``fates`` counts what became of the webhooks."""

    def __init__(self, port: int, target: str, seed: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.fates: Counter[str] = Counter()
        self._target = target
        self._random = random.Random(seed)
        self._late: set[asyncio.Task[None]] = set()
        app = Starlette(routes=[Route("/{path:path}", self._forward, methods=["GET", "POST"])])
        self._server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> ChaosProxy:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)

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

    async def _deliver(self, request: Request, body: bytes) -> Response:
        headers = {k: v for k, v in request.headers.items() if k not in ("host", "content-length")}
        try:
            async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
                answer = await client.request(
                    request.method, self._target + request.url.path, content=body, headers=headers
                )
        except httpx.TransportError:
            self.fates["met a dead backend"] += request.url.path in WEBHOOKS
            return Response(status_code=502)
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
