"""An annotator who works through Label Studio's HTTP API, call by call as its web page does.

For the demo and the tests: nothing here knows our connector, so what it sees is what a person would see. What a
platform answers to somebody who works there is the same for every platform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from nextlabel.connectors.errors import PlatformError

Json = dict[str, Any]


def checked(answer: httpx.Response) -> httpx.Response:
    """``answer``, unless it says no. Raises PlatformError with what was asked and how the refusal begins."""
    if answer.is_error:
        asked = f"{answer.request.method} {answer.request.url.path}"
        raise PlatformError(f"{asked}: {answer.status_code}", status=answer.status_code, body=answer.text[:500])
    return answer


def json_of(answer: httpx.Response) -> dict[str, Any]:
    """The object that was answered. Raises PlatformError as :func:`checked` does."""
    body: dict[str, Any] = checked(answer).json()
    return body


@dataclass(frozen=True, slots=True)
class Submitted:
    """What the platform stored: the annotation's id, its task, and the whole answer."""

    id: int
    task: int
    body: Json


class Annotator:
    """One Label Studio user at work in one project. Thread-safe: each call is a connection of its own.

    A new connection a call because a kept one costs 43-75 ms on Label Studio's development server.
    """

    def __init__(self, url: str, token: str, project: int | str, timeout_s: float = 60) -> None:
        self.url = url.rstrip("/")
        self.project = int(project)
        limits = httpx.Limits(max_keepalive_connections=0)
        headers = {"Authorization": f"Token {token}"}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout_s, limits=limits, trust_env=False)

    def next_task(self) -> Json | None:
        """The task that the platform serves next, with its predictions and the name of the queue; None at the end."""
        answer = self._http.get(f"/api/projects/{self.project}/next")
        return None if answer.status_code == 404 else json_of(answer)

    def open(self, task: int | Json) -> Json:
        """Open a task as the web page does: this is what may ask the ML backend for a live prediction."""
        return json_of(self._http.get(f"/api/tasks/{_id(task)}", params={"project": self.project}))

    def submit(
        self, task: int | Json, result: Sequence[Mapping[str, Any]] | str, *, lead_time: float = 1.0, **extra: Any
    ) -> Submitted:
        """Submit an answer: regions as Label Studio stores them, or just a label for a project with one Choices."""
        return self._submit(task, result, lead_time, was_cancelled=False, **extra)

    def skip(self, task: int | Json, *, lead_time: float = 1.0) -> Submitted:
        """Press the Skip button."""
        return self._submit(task, (), lead_time, was_cancelled=True)

    def update(self, annotation: int | Submitted, result: Sequence[Mapping[str, Any]] | str) -> Submitted:
        """Change an answer given before."""
        number = annotation.id if isinstance(annotation, Submitted) else annotation
        body = json_of(self._http.patch(f"/api/annotations/{number}", json={"result": regions(result)}))
        return Submitted(int(body["id"]), int(body["task"]), body)

    def delete(self, annotation: int | Submitted) -> None:
        """Delete an answer given before."""
        number = annotation.id if isinstance(annotation, Submitted) else annotation
        checked(self._http.delete(f"/api/annotations/{number}"))

    def close(self) -> None:
        """Release connections."""
        self._http.close()

    def __enter__(self) -> Annotator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _submit(
        self, task: int | Json, result: Sequence[Mapping[str, Any]] | str, lead_time: float, **extra: Any
    ) -> Submitted:
        body = {"result": regions(result), "lead_time": lead_time, "project": self.project, **extra}
        stored = json_of(self._http.post(f"/api/tasks/{_id(task)}/annotations", json=body))
        return Submitted(int(stored["id"]), int(stored["task"]), stored)


def regions(result: Sequence[Mapping[str, Any]] | str) -> list[Json]:
    """A bare label becomes the one region of a Choices ``label`` on a text ``text``; regions stay as they are."""
    if isinstance(result, str):
        return [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [result]}}]
    return [dict(region) for region in result]


def _id(task: int | Json) -> int:
    return int(task["id"]) if isinstance(task, dict) else task
