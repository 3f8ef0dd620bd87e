"""An annotator who works through Argilla's HTTP API, call by call as its web page does.

For the demo and the tests: nothing here knows our connector, so what it sees is what a person would see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from .annotator import json_of

Json = dict[str, Any]
Answer = str | list[Any] | Mapping[str, Any]
"""A value for the dataset's only question, or a value for each question by name."""


@dataclass(frozen=True, slots=True)
class Response:
    """What the platform stored: the response's id, its record, status, and the whole answer."""

    id: str
    record: str
    status: str
    body: Json


class ArgillaAnnotator:
    """One Argilla user at work in one dataset. Thread-safe. A record is as the API gives it: a dict with ``id``.

    Every method raises PlatformError if Argilla refuses, httpx.HTTPError if it does not answer.
    """

    def __init__(self, url: str, api_key: str, dataset: str, timeout_s: float = 60) -> None:
        self.url = url.rstrip("/")
        self.dataset = dataset
        headers = {"X-Argilla-Api-Key": api_key}
        # No connection is kept: Argilla drops it after an error of its own, and the next call would pay for that.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1", headers=headers, timeout=timeout_s, limits=limits, trust_env=False
        )

    def pending(self, sort: str = "", offset: int = 0, limit: int = 10) -> tuple[list[Json], int]:
        """A stretch of the records that wait for this person, and how many there are in all.

        ``sort`` is an address of the web page with its ``?sort=``, or what stands there; without one, Argilla shuffles
        the records, for each user anew.
        """
        terms = [
            _terms({"entity": "response", "property": "status"}),
            _terms({"entity": "record", "property": "status"}),
        ]
        body: Json = {"query": {}, "filters": {"and": terms}}
        if orders := sort_orders(sort):
            body["sort"] = orders
        where = {"include": "responses,suggestions", "offset": offset, "limit": limit, "response_status": "pending"}
        found = self._json("POST", f"/me/datasets/{self.dataset}/records/search", json=body, params=where)
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
        self._json("DELETE", f"/responses/{number}")

    def close(self) -> None:
        """Release connections."""
        self._http.close()

    def __enter__(self) -> ArgillaAnnotator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def question(self) -> str:
        """The name of the dataset's first question."""
        questions = self._json("GET", f"/datasets/{self.dataset}/questions")["items"]
        return str(questions[0]["name"])

    def _respond(self, record: str | Json, status: str, answer: Answer) -> Response:
        mine = record.get("responses") if isinstance(record, dict) else None
        if mine:  # a draft of ours, which the page carries on with
            return self._stored("PUT", f"/responses/{mine[0]['id']}", status, answer)
        return self._stored("POST", f"/records/{_id(record)}/responses", status, answer)

    def _stored(self, method: str, path: str, status: str, answer: Answer) -> Response:
        by_question = answer if isinstance(answer, Mapping) else {self.question: answer}
        values = {question: {"value": value} for question, value in by_question.items()}
        body = self._json(method, path, json={"status": status, "values": values})
        return Response(body["id"], body["record_id"], body["status"], body)

    def _json(self, method: str, path: str, **request: Any) -> Json:
        return json_of(self._http.request(method, path, **request))


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


def _terms(scope: Json) -> Json:
    return {"type": "terms", "scope": scope, "values": ["pending"]}


def _id(record: str | Json) -> str:
    return str(record["id"]) if isinstance(record, dict) else record
