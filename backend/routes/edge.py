"""What the routes share: the service, its settings, and the counters."""

from __future__ import annotations

import asyncio
from typing import Annotated, TypeVar

import structlog
from fastapi import Depends, HTTPException, Request

from nextlabel.backend.retraining.prediction import Prediction
from nextlabel.backend.service.ports import Backend
from nextlabel.backend.settings import Settings
from nextlabel.connectors.base import ProjectRef
from nextlabel.connectors.records import Record, Suggestion

from .metrics import Metrics

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class Edge:
    """One a running app; every route gets it as an argument.

    ``notes`` holds, by topic, what a caller did that does not fit; ``/api/status`` shows them.
    """

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self.backend = backend
        self.settings = settings
        self.metrics = Metrics(backend.status)
        self.notes: dict[str, str] = {}
        self._project: ProjectRef | None = None

    async def project(self) -> ProjectRef | None:
        """The project served, None while the service does not know it yet. It never changes after that."""
        if self._project is None:
            self._project = (await asyncio.to_thread(self.backend.status)).project
        return self._project

    async def predict(self, records: list[Record], route: str) -> list[Suggestion | None]:
        """The suggestions for ``records``, counted under ``route``."""
        return self._counted(await self.backend.predict(records) if records else [], len(records), route)

    async def classify(self, records: list[Record], route: str) -> list[Prediction | None]:
        """The suggestions for ``records`` with all probabilities, counted under ``route``."""
        return self._counted(await self.backend.classify(records), len(records), route)

    def _counted(self, answers: list[Result], asked: int, route: str) -> list[Result]:
        if len(answers) != asked:
            raise HTTPException(503, "the model answered another number of records than were asked")
        self.metrics.predictions.labels(route).inc(asked)
        return answers

    def note(self, topic: str, text: str) -> None:
        """Keep ``text`` for the status page and log it, once until it changes. An empty text takes it back."""
        if not text:
            self.notes.pop(topic, None)
        elif self.notes.get(topic) != text:
            self.notes[topic] = text
            log.warning(text, topic=topic)


def edge_of(request: Request) -> Edge:
    """The app's edge, for what is no route."""
    edge: Edge = request.app.state.edge
    return edge


async def _edge(request: Request) -> Edge:
    return edge_of(request)


EdgeDep = Annotated[Edge, Depends(_edge)]
