"""What the tests of Label Studio share: calls of the owner, and records."""

from __future__ import annotations

import secrets
from typing import Any

import httpx

from nextlabel.backend.stack import LabelStudioServer
from nextlabel.connectors.records import Record


def api(server: LabelStudioServer, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Token {server.token}"}
    return httpx.request(method, server.url + path, headers=headers, timeout=60, **options).raise_for_status()


def access_token(server: LabelStudioServer) -> str:
    """A new person's access token; a person can have one only."""
    legacy = server.add_user(f"{secrets.token_hex(4)}@example.com", secrets.token_hex(8))
    headers = {"Authorization": f"Token {legacy}"}
    answer = httpx.post(f"{server.url}/api/token/", headers=headers, timeout=60).raise_for_status()
    return str(answer.json()["token"])


def numbered(count: int) -> list[Record]:
    return [Record(f"u{number}", {"text": f"text {number}"}, {"row": number}) for number in range(count)]


# -- push and records ------------------------------------------------------------------------------------------------
