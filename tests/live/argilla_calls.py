"""What the tests of Argilla share: calls of the owner, records, what a poll found, and patience."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from nextlabel.backend.stack import ArgillaServer
from nextlabel.backend.store import Store, StoredRecord
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.argilla.webhooks import EVENTS
from nextlabel.connectors.base import BackendAddress, Finding, Severity
from nextlabel.connectors.records import AnnotationStatus, Changes, Record, Suggestion

Make = Callable[..., ArgillaConnector]
Api = Callable[..., Any]
Json = dict[str, Any]

SPORT = Suggestion(("sport",), 0.9, "model-1")


def api(server: ArgillaServer, method: str, path: str, **options: Any) -> Any:
    """A call of the owner. After an error of its own the server drops the connection: each call has a new one."""
    headers = {"X-Argilla-Api-Key": server.token}
    answer = httpx.request(method, f"{server.url}/api/v1{path}", headers=headers, timeout=60, **options)
    return answer.raise_for_status().json() if answer.content else None


@contextmanager
def argilla_sdk(server: ArgillaServer) -> Iterator[Any]:
    """Argilla's own library as the owner. It leaves its connections open; a warning about those is an error here."""
    import argilla

    client = argilla.Argilla(api_url=server.url, api_key=server.token)
    try:
        yield client
    finally:
        client.http_client.close()


def hooks(server: ArgillaServer) -> list[Json]:
    found: list[Json] = api(server, "GET", "/webhooks")["items"]
    return found


def forget_webhooks(server: ArgillaServer) -> None:
    """Remove every webhook: a server takes ten, and a service that has ended leaves its own."""
    for one in hooks(server):
        api(server, "DELETE", f"/webhooks/{one['id']}")


def hook(server: ArgillaServer, url: str, events: tuple[str, ...] = EVENTS, description: str = "theirs") -> Json:
    made: Json = api(server, "POST", "/webhooks", json={"url": url, "events": list(events), "description": description})
    return made


def dataset(server: ArgillaServer, connector: ArgillaConnector) -> Json:
    found: Json = api(server, "GET", f"/datasets/{connector.project.id}")
    return found


def findings(connector: ArgillaConnector, backend: BackendAddress | None = None) -> dict[str, Finding]:
    return {finding.code: finding for finding in connector.diagnose(backend)}


def wrong(connector: ArgillaConnector, backend: BackendAddress | None = None) -> dict[str, Severity]:
    return {code: one.severity for code, one in findings(connector, backend).items() if one.severity is not Severity.OK}


def in_store(path: Path, records: list[str]) -> dict[str, StoredRecord]:
    """What the service with the store at ``path`` holds of ``records`` (Argilla's ids); empty until it has them all."""
    with Store.open(path) as store:
        found = store.get_remote(records)
    return found if len(found) == len(records) else {}


def push(connector: ArgillaConnector, count: int = 4) -> list[str]:
    return list(connector.push([Record(f"u{n}", {"text": f"text {n}"}) for n in range(count)]).values())


def signed(secret: str, body: bytes, age: timedelta = timedelta(0)) -> dict[str, str]:
    from standardwebhooks import Webhook

    when = datetime.now(UTC) - age
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(when.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", when, body.decode()),
    }


def numbered(count: int, first: int = 0) -> list[Record]:
    return [Record(f"u{number}", {"text": f"text {number}"}, {"row": number}) for number in range(first, count)]


def statuses(found: Changes) -> dict[str, AnnotationStatus]:
    return {one.id: one.status for one in found.annotations}


def values(found: Changes) -> dict[str, Any]:
    return {one.id: one.value for one in found.annotations}
