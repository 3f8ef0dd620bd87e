"""Annotators who work through a platform's HTTP API, call by call as its web page does; and Argilla's page itself.

For the demo and the tests: nothing here knows our connector, so what it sees is what a person would see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpx

from nextlabel.connectors.errors import PlatformError

Json = dict[str, Any]
Answer = str | list[Any] | Mapping[str, Any]
"""On Argilla: a value for the dataset's only question, or a value for each question by name."""


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


class Client:
    """One user's access to an API. Thread-safe: each call is a connection of its own.

    A kept connection costs 43-75 ms on Label Studio's development server, and Argilla drops it after an error of its
    own, which the next call would pay for. ``ask`` raises PlatformError if the platform refuses, httpx.HTTPError if it
    does not answer.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, limits=limits, trust_env=False)

    def ask(self, method: str, path: str, **request: Any) -> Json:
        """The object that is answered."""
        return json_of(self._http.request(method, path, **request))

    def close(self) -> None:
        """Release connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Submitted:
    """What the platform stored: the annotation's id, its task, and the whole answer."""

    id: int
    task: int
    body: Json


class Annotator(Client):
    """One Label Studio user at work in one project. Thread-safe."""

    def __init__(self, url: str, token: str, project: int | str, timeout_s: float = 60) -> None:
        self.url = url.rstrip("/")
        super().__init__(self.url, {"Authorization": f"Token {token}"}, timeout_s)
        self.project = int(project)

    def next_task(self) -> Json | None:
        """The task that the platform serves next, with its predictions and the name of the queue; None at the end."""
        answer = self._http.get(f"/api/projects/{self.project}/next")
        return None if answer.status_code == 404 else json_of(answer)

    def open(self, task: int | Json) -> Json:
        """Open a task as the web page does: this is what may ask the ML backend for a live prediction."""
        return self.ask("GET", f"/api/tasks/{_task_id(task)}", params={"project": self.project})

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
        body = self.ask("PATCH", f"/api/annotations/{number}", json={"result": regions(result)})
        return Submitted(int(body["id"]), int(body["task"]), body)

    def delete(self, annotation: int | Submitted) -> None:
        """Delete an answer given before."""
        number = annotation.id if isinstance(annotation, Submitted) else annotation
        checked(self._http.delete(f"/api/annotations/{number}"))

    def _submit(
        self, task: int | Json, result: Sequence[Mapping[str, Any]] | str, lead_time: float, **extra: Any
    ) -> Submitted:
        body = {"result": regions(result), "lead_time": lead_time, "project": self.project, **extra}
        stored = self.ask("POST", f"/api/tasks/{_task_id(task)}/annotations", json=body)
        return Submitted(int(stored["id"]), int(stored["task"]), stored)


def regions(result: Sequence[Mapping[str, Any]] | str) -> list[Json]:
    """A bare label becomes the one region of a Choices ``label`` on a text ``text``; regions stay as they are."""
    if isinstance(result, str):
        return [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [result]}}]
    return [dict(region) for region in result]


def _task_id(task: int | Json) -> int:
    return int(task["id"]) if isinstance(task, dict) else task


@dataclass(frozen=True, slots=True)
class Response:
    """What the platform stored: the response's id, its record, status, and the whole answer."""

    id: str
    record: str
    status: str
    body: Json


class ArgillaAnnotator(Client):
    """One Argilla user at work in one dataset. Thread-safe. A record is as the API gives it: a dict with ``id``."""

    def __init__(self, url: str, api_key: str, dataset: str, timeout_s: float = 60) -> None:
        self.url = url.rstrip("/")
        super().__init__(f"{self.url}/api/v1", {"X-Argilla-Api-Key": api_key}, timeout_s)
        self.dataset = dataset

    def pending(self, sort: str = "", offset: int = 0, limit: int = 10) -> tuple[list[Json], int]:
        """A stretch of the records that wait for this person, and how many there are in all.

        ``sort`` is an address of the web page with its ``?sort=``, or what stands there; without one, Argilla shuffles
        the records, for each user anew.
        """
        terms = [
            {"type": "terms", "scope": {"entity": entity, "property": "status"}, "values": ["pending"]}
            for entity in ("response", "record")
        ]
        body: Json = {"query": {}, "filters": {"and": terms}}
        if orders := sort_orders(sort):
            body["sort"] = orders
        where = {"include": "responses,suggestions", "offset": offset, "limit": limit, "response_status": "pending"}
        found = self.ask("POST", f"/me/datasets/{self.dataset}/records/search", json=body, params=where)
        return [item["record"] for item in found["items"]], int(found["total"])

    def next(self, sort: str = "") -> Json | None:
        """The first record that a freshly opened page shows; None if none is left."""
        records, _ = self.pending(sort, limit=1)
        return records[0] if records else None

    def submit(self, record: str | Json, answer: Answer) -> Response:
        """Press Submit."""
        return self._respond(record, "submitted", answer)

    def discard(self, record: str | Json, answer: Answer | None = None) -> Response:
        """Press Discard; Argilla keeps what was filled in."""
        return self._respond(record, "discarded", {} if answer is None else answer)

    def draft(self, record: str | Json, answer: Answer) -> Response:
        """Press Save as draft."""
        return self._respond(record, "draft", answer)

    def update(self, response: str | Response, answer: Answer, status: str = "submitted") -> Response:
        """Change an answer given before."""
        number = response.id if isinstance(response, Response) else response
        return self._stored("PUT", f"/responses/{number}", status, answer)

    def delete(self, response: str | Response) -> None:
        """Delete an answer given before."""
        number = response.id if isinstance(response, Response) else response
        self.ask("DELETE", f"/responses/{number}")

    @cached_property
    def question(self) -> str:
        """The name of the dataset's first question."""
        questions = self.ask("GET", f"/datasets/{self.dataset}/questions")["items"]
        return str(questions[0]["name"])

    def _respond(self, record: str | Json, status: str, answer: Answer) -> Response:
        mine = record.get("responses") if isinstance(record, dict) else None
        if mine:  # a draft of ours, which the page carries on with
            return self._stored("PUT", f"/responses/{mine[0]['id']}", status, answer)
        return self._stored("POST", f"/records/{_record_id(record)}/responses", status, answer)

    def _stored(self, method: str, path: str, status: str, answer: Answer) -> Response:
        by_question = answer if isinstance(answer, Mapping) else {self.question: answer}
        values = {question: {"value": value} for question, value in by_question.items()}
        body = self.ask(method, path, json={"status": status, "values": values})
        return Response(body["id"], body["record_id"], body["status"], body)


def sort_orders(sort: str) -> list[Json]:
    """What the page makes of ``metadata.priority.desc~record.inserted_at.asc``, or of an address with ``?sort=`` it."""
    if "://" in sort:
        sort = parse_qs(urlsplit(sort).query).get("sort", [""])[0]
    orders = []
    for part in filter(None, sort.split("~")):
        entity, _, rest = part.partition(".")
        name, _, order = rest.rpartition(".")
        scope = {"entity": entity}
        if entity == "metadata":
            scope["metadata_property"] = name
        elif entity == "record":
            scope["property"] = name
        else:  # suggestion.<question>.<property>, response.<question>
            scope["question"], _, about = name.partition(".")
            scope |= {"property": about} if about else {}
        orders.append({"scope": scope, "order": order})
    return orders


def _record_id(record: str | Json) -> str:
    return str(record["id"]) if isinstance(record, dict) else record


MANY = 10
"""Records in one fetch."""
BUFFER = 5
"""The page fetches on when it has no more records than these after the one shown."""


class Page:
    """Argilla's annotation page as ``annotator`` has it open: which record it shows next, and which it never shows.

    Opened at ``link`` (an address with ``?sort=``, or empty). Not thread-safe. ``current`` is the record shown; None
    when the page says that there is nothing to do.

    Argilla 2.8's page fetches ten records, numbers them, and fetches on while the person works. After a change of the
    order the next fetch is out of step with what the page holds. A record that moved to a place which the page
    believes to have seen is passed over. One that the page holds and gets again takes its new number, and where it
    stood the page is empty: the record that the person was looking at is gone, and stays so until the page is opened
    anew.

    The rules are those of the page's own code (the classes Records and PageCriteria and the use case
    load-records-to-annotate of argilla-frontend), for the pending queue in focus mode; the requests and what is shown,
    the empty page included, were compared with the real page in Chromium.
    """

    def __init__(self, annotator: ArgillaAnnotator, link: str = "") -> None:
        self.annotator = annotator
        self.link = link
        self.current: Json | None = None
        self._number = 1  # of the record shown
        self._held: dict[str, tuple[int, Json]] = {}  # record id -> its number, and the record
        self._answered: set[str] = set()  # submitted or discarded, or saved as draft, among those held
        self._total = 0
        self.reload()

    def reload(self) -> Json | None:
        """Open the page anew; return the record shown."""
        self._held, self._answered, self._number = {}, set(), 1
        records, self._total = self.annotator.pending(self.link, 0, MANY)
        self._hold(records, 1)
        self.current = self._at(1)
        return self.current

    def submit(self, answer: Answer) -> Response:
        """Submit an answer to the record shown, and go on to the next. Raises LookupError if none is shown."""
        return self.stored(self.annotator.submit(self._shown(), answer))

    def discard(self) -> Response:
        """Discard the record shown, and go on to the next. Raises LookupError if none is shown."""
        return self.stored(self.annotator.discard(self._shown()))

    def draft(self, answer: Answer) -> Response:
        """Save a draft and stay on the record. Raises LookupError if none is shown."""
        shown = self._shown()
        response = self.annotator.draft(shown, answer)
        shown["responses"] = [response.body]
        self._answered.add(shown["id"])
        return response

    def stored(self, response: Response) -> Response:
        """Go on to the next record after ``response``, an answer to the record shown: what Submit and Discard end with.

        The answer stands, even if the fetch that may follow raises.
        """
        self._answered.add(response.record)
        self.forward()
        return response

    def forward(self) -> Json | None:
        """Go to the next record without an answer to this one; return the record shown."""
        self._number += 1
        if self._at(self._number) is None:
            self._fetch(self._number)
        ahead = sum(number > self._number for number, _ in self._held.values())
        if self._held and self._total != self._last and ahead <= BUFFER:
            self._fetch(self._last + 1)
        self.current = self._at(self._number)
        return self.current

    @property
    def held(self) -> list[str]:
        """Ids of the records that the page has and has not yet shown, in the order in which it will show them."""
        ahead = [(number, uid) for uid, (number, _) in self._held.items() if number > self._number]
        return [uid for _, uid in sorted(ahead)]

    @property
    def _last(self) -> int:
        return max(number for number, _ in self._held.values())

    def _shown(self) -> Json:
        if self.current is None:
            raise LookupError("the page shows no record")
        return self.current

    def _at(self, number: int) -> Json | None:
        return next((record for held, record in self._held.values() if held == number), None)

    def _fetch(self, number: int) -> None:
        """Fetch records to stand at ``number`` and on. Those answered are no longer in the list."""
        beyond = bool(self._held) and number > self._last
        offset = number - 1 - (len(self._answered) if beyond else 0)
        records, _ = self.annotator.pending(self.link, max(0, offset), MANY)
        self._hold(records, number)

    def _hold(self, records: list[Json], first: int) -> None:
        """Number ``records`` from ``first``. One that the page has already gets a new number and leaves a hole."""
        for number, record in enumerate(records, first):
            self._held[record["id"]] = (number, record)
