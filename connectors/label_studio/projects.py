"""Projects of Label Studio: making one, and finding those that were made for one store.

One request may make two. On SQLite, Label Studio repeats by itself a request during which its database was locked
(``DatabaseIsLockedRetryMiddleware``), and it writes a project in several transactions: what the first try wrote stays.
A lost answer leaves a project that nobody noted. So each carries a mark of the store that it was made for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import structlog

from nextlabel.connectors.errors import PlatformError
from nextlabel.connectors.label_studio.client import Client
from nextlabel.connectors.label_studio.config import write_config
from nextlabel.connectors.label_studio.payloads import Json
from nextlabel.connectors.label_studio.webhooks import SAMPLING
from nextlabel.connectors.records import Labeling

log = structlog.get_logger(__name__)

PAGE = 100
"""Projects a page; Label Studio gives no more."""
SHORTEST_TITLE = 3
"""Shorter ones are refused."""


def create(client: Client, title: str, labeling: Labeling, *, overlap: int, mark: str) -> int:
    """Make a project that asks ``labeling``, and carries ``mark`` unless that is empty; return its id.

    Raises LabelingMismatch if Label Studio can't ask it, Unauthorized, PlatformUnavailable or PlatformError.
    """
    xml = write_config(labeling)
    made = client.call(
        lambda: client.sdk.projects.create(
            title=title if len(title) >= SHORTEST_TITLE else f"{title} project",
            description=_written(mark) if mark else "",
            label_config=xml,
            sampling=SAMPLING,
            maximum_annotations=overlap,
            show_collab_predictions=True,
        )
    )
    return int(made.id)


def marked(client: Client, mark: str) -> list[int]:
    """The projects that carry ``mark``: those with tasks first, then the newest, which has all its parts."""
    found = [one for one in _all(client) if _written(mark) in str(one["description"] or "")]
    return sorted((int(one["id"]) for one in found), key=lambda number: (_size(client, number) > 0, number))[::-1]


def remove_empty(client: Client, numbers: list[int]) -> None:
    """Delete those of these projects that have no task."""
    for number in numbers:
        if _size(client, number) == 0:
            log.warning("removing a project that was made twice", project=number)
            try:
                client.request("DELETE", f"/api/projects/{number}/", again=True)
            except PlatformError as error:
                if error.status != 404:  # gone already, which is what we want
                    raise


def _written(mark: str) -> str:
    return f"Made by nextlabel (store {mark})."


def _all(client: Client) -> Iterator[Json]:
    """Every project that the token may see, the newest first, so that one made meanwhile hides none."""
    number = 1
    while True:
        params = {"include": "id,description", "page": number, "page_size": PAGE}
        page = client.request("GET", "/api/projects/", params=params, again=True)
        if not isinstance(page, Mapping) or "results" not in page:
            raise PlatformError(f"{client.url} does not answer like a Label Studio", status=200)
        yield from page["results"]
        if not page["next"]:
            return
        number += 1


def _size(client: Client, number: int) -> int:
    try:
        found = client.request("GET", f"/api/projects/{number}", params={"include": "id,task_number"}, again=True)
    except PlatformError as error:
        if error.status == 404:
            return -1
        raise
    return int(found["task_number"])
