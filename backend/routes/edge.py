"""What the routes share: the service and the counters, bodies that strangers send, and the events of every platform.

Whatever JSON arrives becomes plain, bounded values, or a 4xx that says why. Values that would go off later are defused:
NaN and infinities become null, integers that fit no database column become text, lone surrogates (which can't be
encoded) become U+FFFD, nesting has a limit.

An event says where to look, and is answered at once. Nothing of it is believed: what it is about is read from the
platform, and what is refused here is found by the next poll.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Annotated, Any, Final, TypeVar

import structlog
from fastapi import Body, Depends, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel

from nextlabel.backend.questions import Prediction
from nextlabel.backend.service.ports import Backend, Predicting
from nextlabel.connectors.base import ProjectRef
from nextlabel.connectors.platforms import PLATFORMS
from nextlabel.connectors.records import Hint, Record, Suggestion

from .metrics import Metrics

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class ModelEdge:
    """One a running app; every route gets it as an argument. This one knows of a model, and of nothing else.

    ``notes`` holds, by topic, what a caller did that does not fit; ``/api/status`` shows them.
    """

    def __init__(self, model: Predicting, metrics: Metrics) -> None:
        self.model, self.metrics = model, metrics
        self.notes: dict[str, str] = {}

    async def classify(self, records: list[Record], route: str) -> list[Prediction | None]:
        """The suggestions for ``records`` with all probabilities, counted under ``route``."""
        return self._counted(await self.model.classify(records), len(records), route)

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


class Edge(ModelEdge):
    """That of a project's service."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend, Metrics(backend.status))
        self.backend = backend
        self._project: ProjectRef | None = None

    @property
    def knows_project(self) -> bool:
        """Whether :meth:`project` answers at once."""
        return self._project is not None

    async def project(self) -> ProjectRef | None:
        """The project served, None while the service does not know it yet. It never changes after that."""
        if self._project is None:
            self._project = (await asyncio.to_thread(self.backend.status)).project
        return self._project

    async def works_for(self, project: Any) -> bool:
        """Whether the project with this id is the one served. What names none is ours."""
        ours = await self.project()
        return ours is None or project is None or str(project) == ours.id

    async def predict(self, records: list[Record], route: str) -> list[Suggestion | None]:
        """The suggestions for ``records``, counted under ``route``."""
        return self._counted(await self.backend.predict(records) if records else [], len(records), route)


def edge_of(request: Request) -> Edge:
    """The app's edge, for what is no route."""
    edge: Edge = request.app.state.edge
    return edge


async def _edge(request: Request) -> Edge:
    return edge_of(request)


EdgeDep = Annotated[Edge, Depends(_edge)]
ModelEdgeDep = Annotated[ModelEdge, Depends(_edge)]


class Taken(BaseModel):
    """What became of an event."""

    status: str


def only_for(platform: str) -> Callable[[Request, EdgeDep], Awaitable[None]]:
    """A dependency that answers 404 unless the project served is on ``platform``, or not known yet."""

    async def check(request: Request, edge: EdgeDep) -> None:
        if not edge.knows_project:  # before it is waited for: the caller may hang up, and its event be lost
            await request.body()
        project = await edge.project()
        if project is not None and project.platform != platform:
            raise HTTPException(
                404, f"the project served is not on {PLATFORMS[platform].title}, which this route is for"
            )

    return check


async def take_in(edge: Edge, action: str, body: dict[str, Any], project: Any) -> Taken:
    """Have the service look where an event of our ``project`` says, counted under ``action``. Does not wait for it.

    Raises HTTPException 400 if the event is malformed.
    """
    counted = edge.metrics.events.labels
    if not await edge.works_for(project):
        counted(action, "other project").inc()
        return Taken(status="ignored: an event of another project")
    try:
        hint = edge.backend.parse_event(body)
    except ValueError as error:
        counted(action, "malformed").inc()
        log.warning("malformed event", action=action, reason=str(error))
        raise HTTPException(400, f"{action}: {error}") from None
    if hint == Hint():
        counted(action, "nothing to do").inc()
    elif edge.backend.notify(hint):
        counted(action, "followed").inc()
    else:
        counted(action, "too many").inc()
        log.warning("more events than can be followed; the next poll finds what they are about", action=action)
    return Taken(status="ok")


SMALL: Final = 64 * 1024
"""Bytes of a body that are parsed before anybody else would have had to wait for it."""
COMPLAINTS: Final = 5
"""Wrong places that an answer names."""
MAX_DEPTH: Final = 100  # Label Studio's deepest payload has about 12 levels
_LARGEST_INT: Final = 2**63 - 1
_ESCAPED_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class JsonRoute(APIRoute):
    """A route whose body, where it has one, is read by :func:`read_json`, and refused in words."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, around a request that reads JSON as we do."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if self.body_field is not None:
                request = _Read(request, await read_json(request), await request.body())
            try:
                return await handler(request)
            except RequestValidationError as error:
                raise HTTPException(422, _complaint(error.errors())) from None

        return handle


class _Read(Request):
    """A request whose JSON is known."""

    def __init__(self, request: Request, value: dict[str, Any], raw: bytes) -> None:
        super().__init__(request.scope, request.receive)
        self._body, self._value = raw, value

    async def json(self) -> dict[str, Any]:
        """What was read."""
        return self._value


def examples(**named: Any) -> Any:
    """A body with examples for the API page, by their names."""
    return Body(openapi_examples={name.replace("_", " "): {"value": value} for name, value in named.items()})


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Raises HTTPException 400 (not JSON, not an object) or 415 (not sent as JSON)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException(415, "send JSON, with the header Content-Type: application/json")
    raw = await request.body()
    value = parse(raw) if len(raw) < SMALL else await asyncio.to_thread(parse, raw)
    if not isinstance(value, dict):
        raise HTTPException(400, "the body must be a JSON object")
    return value


def parse(raw: bytes) -> Any:
    """The defused value of a JSON text. Raises HTTPException 400."""
    try:
        value = _DECODER.decode(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise HTTPException(400, "the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from None
    except RecursionError:
        raise HTTPException(400, f"the body is nested deeper than {MAX_DEPTH} levels") from None
    _check_depth(value)
    return _without_surrogates(value) if _ESCAPED_SURROGATE.search(raw) else value


def _parse_int(digits: str) -> int | str:
    if len(digits) > 20:
        return digits  # a 5,000-digit number would even fail to convert
    number = int(digits)
    return number if -_LARGEST_INT <= number <= _LARGEST_INT else digits


def _parse_float(digits: str) -> float | None:
    number = float(digits)
    return number if number - number == 0 else None  # 1e999 is inf


_DECODER: Final = json.JSONDecoder(
    parse_int=_parse_int, parse_float=_parse_float, parse_constant=lambda name: None, strict=False
)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise HTTPException(400, f"the body is nested deeper than {MAX_DEPTH} levels")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def _complaint(errors: Sequence[Any]) -> str:
    """Which parts are wrong, the first of them by name, without echoing them."""
    named = [f"{'.'.join(map(str, item['loc'][1:])):.200}: {item['msg']:.200}" for item in errors[:COMPLAINTS]]
    more = len(errors) - len(named)
    return "; ".join([*named, f"and {more:,} more"] if more else named)
