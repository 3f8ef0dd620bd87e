"""A dataset on the shared Argilla that was made without our connector."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from nextlabel.backend.stack import ArgillaServer


@dataclass
class Dataset:
    """``ids`` are those of the records r0, r1, ... by external id; ``priority`` falls from the first to the last."""

    server: ArgillaServer
    id: str
    ids: dict[str, str]

    @property
    def link(self) -> str:
        return f"{self.server.url}/dataset/{self.id}/annotation-mode?sort=metadata.priority.desc"

    def prioritise(self, priorities: dict[str, float]) -> None:
        items = [{"id": self.ids[name], "metadata": {"priority": value}} for name, value in priorities.items()]
        call(self.server, "PUT", f"datasets/{self.id}/records/bulk", {"items": items})

    def records(self) -> dict[str, dict[str, Any]]:
        found = call(self.server, "GET", f"datasets/{self.id}/records?include=responses&limit=1000")
        return {record["external_id"]: record for record in found["items"]}


def call(server: ArgillaServer, method: str, path: str, body: object = None) -> dict[str, Any]:
    headers = {"X-Argilla-Api-Key": server.token}
    answer = httpx.request(method, f"{server.url}/api/v1/{path}", json=body, headers=headers, timeout=60)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json() if answer.content else {}
    return found


@pytest.fixture
def plain_dataset() -> Callable[..., Dataset]:
    """``make(server, count)``: a text and a label question, sport or politics."""

    def make(server: ArgillaServer, count: int, min_submitted: int = 1) -> Dataset:
        space = call(server, "GET", "me/workspaces")["items"][0]["id"]
        about = {
            "name": f"plain {secrets.token_hex(4)}",
            "workspace_id": space,
            "distribution": {"strategy": "overlap", "min_submitted": min_submitted},
        }
        dataset = call(server, "POST", "datasets", about)["id"]
        text = {"type": "text", "use_markdown": False}
        call(server, "POST", f"datasets/{dataset}/fields", {"name": "text", "title": "Text", "settings": text})
        options = [{"value": value, "text": value} for value in ("sport", "politics")]
        question = {"type": "label_selection", "options": options}
        call(
            server,
            "POST",
            f"datasets/{dataset}/questions",
            {"name": "topic", "title": "Topic", "required": True, "settings": question},
        )
        priority = {"name": "priority", "title": "Priority", "settings": {"type": "float"}}
        call(server, "POST", f"datasets/{dataset}/metadata-properties", priority)
        call(server, "PUT", f"datasets/{dataset}/publish")
        items = [
            {"external_id": f"r{n}", "fields": {"text": f"text {n}"}, "metadata": {"priority": 1000.0 - n}}
            for n in range(count)
        ]
        stored = call(server, "POST", f"datasets/{dataset}/records/bulk", {"items": items})["items"]
        return Dataset(server, dataset, {record["external_id"]: record["id"] for record in stored})

    return make
