"""The tasks of a project, read page by page. One that Label Studio can't show costs no other.

Label Studio takes half a character (what is left of an emoji that was cut in two, in a text or in what was marked of
it), and from then on answers 500 to whatever would show it: to the task or the annotation, and to each page with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import httpx
import structlog

from nextlabel.connectors.basics import Json, weighed
from nextlabel.connectors.bulk import read_apart
from nextlabel.connectors.errors import PlatformUnavailable
from nextlabel.connectors.label_studio.client import Client

log = structlog.get_logger(__name__)

PAGE = 1000
SMALL_PAGE = 100
"""Tasks in the first page for whoever wants the newest only."""
QUERY_BYTES = 3000
"""Characters of values in one query: it travels in the URL, which reverse proxies cut at 8 KiB."""
FAILED = 500
"""What Label Studio answers where it fails itself; also while its database is locked, for a moment."""
FAULT = "fault"
"""The key that stands in a task in place of what could not be shown: why."""
GONE = "gone meanwhile"


class Listing:
    """Reads the tasks of one project."""

    def __init__(self, client: Client, project: int) -> None:
        self._client = client
        self._project = project
        self._broken: set[int] = set()  # tasks that could not be shown: no use in asking often

    def list(
        self, conditions: Sequence[Json], include: str, fields: str | None = None, size: int = PAGE
    ) -> Iterator[Json]:
        """The tasks that fulfil all ``conditions``, by rising id, with the keys in ``include``, ``size`` at a time.

        Goes by id and not by page number: tasks that appear, change or vanish meanwhile make it skip none. One that
        can't be shown has its id, and why under FAULT.
        """
        after = 0
        while True:
            page = self._page([*conditions, condition("id", "greater", after)], include, size=size, fields=fields)
            yield from (task for task in page if task.get(FAULT) != GONE)
            if len(page) < size:
                return
            after = page[-1]["id"]

    def newest(self, include: str) -> Iterator[Json]:
        """Every task by falling id, in a small page and then in large ones; otherwise like :meth:`list`."""
        conditions: list[Json] = []
        size = SMALL_PAGE
        while page := self._page(conditions, include, size=size, ordering="-tasks:id"):
            yield from (task for task in page if task.get(FAULT) != GONE)
            conditions, size = [condition("id", "less", page[-1]["id"])], PAGE

    def respond(
        self,
        conditions: Sequence[Json],
        include: str,
        *,
        size: int,
        ordering: str = "tasks:id",
        fields: str | None = None,
        again: bool = True,
    ) -> httpx.Response:
        """The first ``size`` of the tasks that fulfil all ``conditions``, and their total: the whole HTTP answer.

        ``fields="all"`` is what annotations need to be listed.
        """
        query = {
            "filters": {"conjunction": "and", "items": list(conditions)},
            "ordering": [ordering],
        }
        params: dict[str, Any] = {
            "project": self._project,
            "include": include,
            "page_size": size,
            "resolve_uri": "false",
            "query": json.dumps(query).replace("%", "%25"),  # Label Studio decodes it once more
        }
        if fields is not None:
            params["fields"] = fields
        return self._client.respond("GET", "/api/tasks", params=params, again=again)

    def _page(
        self,
        conditions: Sequence[Json],
        include: str,
        *,
        size: int,
        ordering: str = "tasks:id",
        fields: str | None = None,
    ) -> Sequence[Json]:
        """One page, with a FAULT in place of a task that can't be shown: the length and the last id are the page's."""
        try:
            again = not self._broken
            return _tasks(self.respond(conditions, include, size=size, ordering=ordering, fields=fields, again=again))
        except PlatformUnavailable as error:
            if error.status != FAILED:
                raise
            log.info("Label Studio can't show a page of tasks, they are asked for apart", reason=str(error))
        names = [task["id"] for task in _tasks(self.respond(conditions, "id", size=size, ordering=ordering))]
        found: dict[int, Json] = {}
        for chunk in by_length(map(str, names)):
            found |= {task["id"]: task for task in self._apart([int(task) for task in chunk], include, fields)}
        return [found.get(task, {"id": task, FAULT: GONE}) for task in names]

    def _apart(self, names: Sequence[int], include: str, fields: str | None) -> Sequence[Json]:
        """These tasks; those that can't be shown are found by halving. Only one alone is asked for again and again."""

        def read(part: Sequence[int]) -> Sequence[Json]:
            again = len(part) == 1 and part[0] not in self._broken
            return _tasks(self.respond([is_in("id", part)], include, size=len(part), fields=fields, again=again))

        def lost(task: int, error: Exception) -> Json:
            self._broken.add(task)
            return {"id": task, FAULT: str(error)}

        return read_apart(names, read, lost, lambda error: error.status == FAILED)


def condition(column: str, operator: str, value: object, kind: str = "Number") -> Json:
    """One of the conditions that :meth:`Listing.list` takes."""
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


def is_in(column: str, values: Sequence[object]) -> Json:
    """The condition that a column holds one of ``values``."""
    return condition(column, "in_list", list(values), "List")


def by_length(values: Iterable[str]) -> Iterator[list[str]]:
    """Chunks that fit into a URL."""
    return weighed(values, lambda value: len(json.dumps(value)) + 4, QUERY_BYTES)


def _tasks(answer: httpx.Response) -> Sequence[Json]:
    found: Sequence[Json] = answer.json()["tasks"]
    return found
