"""A workspace that somebody else makes at the same moment."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from nextlabel.connectors.argilla.client import Client, Datasets
from nextlabel.connectors.errors import PlatformError


def client(*answers: tuple[int, Any]) -> Client:
    """Of a server that gives these answers in turn."""
    waiting = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        status, body = waiting.pop(0)
        return httpx.Response(status, json=body)

    return Client("http://argilla", "key", transport=httpx.MockTransport(answer))


def seen(*names: str) -> tuple[int, Any]:
    return 200, {"items": [{"id": f"id of {name}", "name": name} for name in names]}


def test_the_workspace_that_another_store_made_a_moment_ago_is_taken() -> None:
    racing = client(seen("a", "b"), (409, {"detail": "taken"}), seen("a", "b", "nextlabel"))
    assert Datasets(racing)._workspace("")["id"] == "id of nextlabel"


def test_any_other_refusal_is_told() -> None:
    with pytest.raises(PlatformError, match="name is too long"):
        Datasets(client(seen("a", "b"), (422, {"detail": "name is too long"})))._workspace("")
