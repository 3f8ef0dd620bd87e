"""Pages under a changing queue, many times over: the real queue and the real paging, with a server made of a dict.

tests/live/test_argilla_queue.py has the same on a real server, once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from nextlabel.backend.stack.annotators import Page, Response
from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.lanes import People, Person
from nextlabel.connectors.argilla.queue import ArgillaQueue
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind, QueueEntry, Suggestion
from tests.size import count

IDS = [f"r{number}" for number in range(400)]
FORM = Form(Labeling(LabelKind.SINGLE, ("sport", "politics")), "label", "question")
SPORT = Suggestion(("sport",), 0.9, "m")
MEMBERS = tuple(Person(letter * 8, letter) for letter in "abcdef")


class Server:
    """What the queue needs of a client and of rows."""

    url = "http://argilla"

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {
            one: {
                "id": one,
                "status": "pending",
                "metadata": {},
                "fields": {"text": one},
                "responses": [],
                "suggestions": [],
            }
            for one in IDS
        }
        self.writes = 0
        self.unshown: dict[str, str] = {}

    def request(self, method: str, path: str, **options: Any) -> Any:
        if path.endswith("/me"):
            return {"id": MEMBERS[0].id, "username": MEMBERS[0].name}
        return {"items": [{"id": one.id, "username": one.name} for one in MEMBERS] if "users" in path else []}

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def items(self, path: str) -> Any:
        return self.get(path)["items"]

    def now(self) -> datetime:
        return now()

    def properties(self) -> dict[str, str]:
        return {}

    def walk(self) -> list[dict[str, Any]]:
        return list(self.rows.values())

    def fetch(self, ids: Sequence[str]) -> dict[str, Any]:
        return {one: self.rows[one] for one in ids}

    def search(self, *, filters: Any, sort: Any, limit: int) -> list[dict[str, Any]]:
        return self.waiting(sort[0]["scope"]["metadata_property"])[:limit]

    def upsert(self, items: Sequence[dict[str, Any]]) -> None:
        self.writes += len(items)
        for item in items:
            self.rows[item["id"]] |= item

    def waiting(self, lane: str) -> list[dict[str, Any]]:
        pending = [row for row in self.rows.values() if row["status"] == "pending"]
        return sorted(pending, key=lambda row: -row["metadata"].get(lane, -(2**60)))


class Reader:
    """What a page needs of an annotator."""

    def __init__(self, server: Server, person: Person) -> None:
        self.server, self.person = server, person

    def pending(self, link: str, offset: int, limit: int) -> tuple[list[dict[str, Any]], int]:
        rows = self.server.waiting(self.person.lane)
        return rows[offset : offset + limit], len(rows)

    def submit(self, record: dict[str, Any], answer: str) -> Response:
        self.server.rows[record["id"]]["status"] = "completed"
        return Response(f"{self.person.id}-{record['id']}", record["id"], "submitted", {})


@pytest.mark.parametrize("seed", range(count(10, fast=3)))
def test_nothing_is_passed_over_and_nothing_comes_twice(seed: int) -> None:
    server, dice = Server(), random.Random(seed)
    people = People(server, "workspace", 1)  # type: ignore[arg-type]
    queue = ArgillaQueue(server, server, people, "dataset")  # type: ignore[arg-type]

    def publish(ranking: Sequence[str]) -> None:
        queue.publish([QueueEntry(one, rank, SPORT) for rank, one in enumerate(ranking)], FORM)

    publish(dice.sample(IDS, 150))
    pages = {one: Page(Reader(server, one)) for one in MEMBERS[1:4]}  # type: ignore[arg-type]
    seen: set[str] = set()
    for number in range(200):
        person = MEMBERS[1 + number] if number < 3 else dice.choice(MEMBERS[1:4])
        shown = pages[person].current
        assert shown is not None
        assert shown["id"] == server.waiting(person.lane)[0]["id"], "passed over"
        assert shown["id"] not in seen, "asked of two people"
        seen.add(shown["id"])
        response = pages[person].submit("sport")
        given = Annotation(response.id, response.record, person.id, ("sport",), AnnotationStatus.SUBMITTED, now())
        queue.note([given], {})
        if number >= 2 and dice.random() < 0.5:
            publish(dice.sample([one for one in IDS if one not in seen], 100))


def now() -> datetime:
    return datetime.now(UTC)
