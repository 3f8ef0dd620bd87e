"""What annotators did, read from Label Studio: since the last look, everything, or one annotation asked for by itself.

A task's ``updated_at`` moves when an annotation of it is made, changed, or deleted (in bulk as well), and stays put
when predictions are imported. So a look is: which tasks moved, then the annotations of those. A task's counters
(``total_annotations`` and the like) are not looked at: an import of predictions counts first and writes later, over
whatever was counted meanwhile, so a task that has just been answered may say 0, for minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from nextlabel.connectors.batches import batched
from nextlabel.connectors.errors import PlatformError
from nextlabel.connectors.http import server_time
from nextlabel.connectors.label_studio.client import Client
from nextlabel.connectors.label_studio.config import Form
from nextlabel.connectors.label_studio.payloads import Json, read_annotation
from nextlabel.connectors.label_studio.tasks import Tasks
from nextlabel.connectors.records import Annotation, Changes

log = structlog.get_logger(__name__)

MARGIN = timedelta(seconds=10)
"""How long a change may take from its timestamp to its commit; so much of the past is read again."""
TURNED_BACK = timedelta(seconds=2)
"""The server's time is known to the second. Where it lies before the cursor by more, its clock was put back."""
FETCH = 200
"""Tasks with their annotations in one request."""
ANNOTATED = "id,annotations,completed_by,result,was_cancelled,updated_at"
"""What is asked of tasks with their annotations: the one list holds for both. The prediction that was shown is left
out of listings by Label Studio; only webhooks carry it."""
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class Poll:
    """Reads the annotations of one project."""

    def __init__(self, client: Client, project: int, tasks: Tasks) -> None:
        self._client = client
        self._project = project
        self._tasks = tasks

    def since(self, cursor: str | None, form: Form) -> Changes:
        """Every annotation of every task that changed after ``cursor`` (None: of every task), and the next cursor.

        ``complete`` holds each of these tasks. Raises ValueError on a cursor that is not ours.
        """
        answer = self._tasks.respond([], "id,updated_at", size=1, ordering="-tasks:updated_at")
        newest = answer.json()["tasks"]
        if not newest:
            return Changes(cursor=cursor)
        now = server_time(answer)
        start = None if cursor is None else datetime.fromisoformat(cursor)
        turned_back = start is not None and now is not None and now < start - TURNED_BACK
        if turned_back and now is not None:
            start = now - MARGIN
        conditions = [] if start is None else [_changed_after(start)]
        complete = {str(task["id"]): frozenset[str]() for task in self._tasks.list(conditions, "id")}
        annotations: list[Annotation] = []
        for page in self._pages(conditions, form):
            annotations += page.annotations
            complete |= page.complete
        mark = _next_cursor(datetime.fromisoformat(newest[0]["updated_at"]), now)
        return Changes(tuple(annotations), complete, cursor=mark.strftime(TIME), gap=turned_back)

    def everything(self, form: Form) -> Iterator[Changes]:
        """Every task that has annotations, with all of them, page by page."""
        return self._pages([], form)

    def _pages(self, conditions: Sequence[Json], form: Form) -> Iterator[Changes]:
        answered = self._tasks.list([*conditions, _HAS_ANNOTATIONS], ANNOTATED, fields="all", size=FETCH)
        return (_page(tasks, form) for tasks in batched(answered, FETCH))

    def each(self, wanted: Mapping[str, str | None], form: Form) -> dict[str, Annotation | None]:
        """Each of these annotations, asked for by itself; None where this project has no such annotation.

        One request each. One that can't be read is left out. Raises ConnectorError if one could not be asked for.
        """
        found: dict[str, Annotation | None] = {}
        for number in wanted:
            body = self._body(number)
            try:
                found[number] = None if body is None else read_annotation(form, body)
            except (KeyError, TypeError, ValueError) as error:
                log.warning("an annotation can't be read", annotation=number, reason=f"{type(error).__name__} {error}")
        return found

    def _body(self, number: str) -> Json | None:
        try:
            found: Json = self._client.request("GET", f"/api/annotations/{int(number)}/")
        except PlatformError as error:
            if error.status == 404:
                return None
            raise
        return found if found["project"] == self._project else None


def _page(tasks: Sequence[Json], form: Form) -> Changes:
    """Tasks that were listed with their annotations."""
    annotations: list[Annotation] = []
    complete: dict[str, frozenset[str]] = {}
    for task in tasks:
        here = [read_annotation(form, one, task["id"]) for one in task["annotations"]]
        complete[str(task["id"])] = frozenset(one.id for one in here)
        annotations += here
    return Changes(tuple(annotations), complete)


def _next_cursor(newest: datetime, server: datetime | None) -> datetime:
    """Where the next look starts: the newest change, or earlier if changes from before it may not be committed yet."""
    return newest - MARGIN if server is None else min(newest, server - MARGIN)


def _changed_after(when: datetime) -> Json:
    value = when.astimezone(UTC).strftime(TIME)
    return {"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime", "value": value}


_HAS_ANNOTATIONS: Json = {
    # Joins the annotations themselves, whatever the task's counters say.
    "filter": "filter:tasks:annotations_ids",
    "operator": "empty",
    "type": "Number",
    "value": "false",
}
