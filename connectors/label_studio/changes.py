"""What annotators did since the last look, pulled from Label Studio, because no webhook is sure to arrive.

A task's ``updated_at`` moves when an annotation of it is made, changed, or deleted (in bulk as well), and stays put
when predictions are imported. So a look is: which tasks moved, then the annotations of those.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nextlabel.connectors.batches import batched
from nextlabel.connectors.http import server_time
from nextlabel.connectors.records import Annotation, Changes

from .config import Form
from .tasks import Tasks, _in
from .wire import Json, read_annotation

MARGIN = timedelta(seconds=10)
"""How long a change may take from its timestamp to its commit; so much of the past is read again."""
FETCH = 200
"""Tasks whose annotations are fetched in one request."""
ANNOTATED = "id,annotations,completed_by,result,was_cancelled,updated_at"
"""What is asked of tasks with their annotations: the one list holds for both. The prediction that was shown is left
out of listings by Label Studio; only webhooks carry it."""
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class Poll:
    """Finds changed annotations of one project."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def since(self, cursor: str | None, form: Form) -> Changes:
        """Every annotation of every task that changed after ``cursor`` (None: of every task), and the next cursor.

        ``complete`` holds each of these tasks, but for unanswered ones that changed a moment ago: they show up
        again after the next cursor. Raises ValueError on a cursor that is not ours.
        """
        answer = self._tasks.respond([], "id,updated_at", size=1, ordering="-tasks:updated_at")
        newest = answer.json()["tasks"]
        if not newest:
            return Changes(cursor=cursor)
        mark = _next_cursor(datetime.fromisoformat(newest[0]["updated_at"]), server_time(answer))
        conditions = [] if cursor is None else [_changed_after(datetime.fromisoformat(cursor))]
        annotations: list[Annotation] = []
        complete: dict[str, frozenset[str]] = {}
        moved = self._tasks.list(conditions, "id,updated_at,total_annotations,cancelled_annotations")
        answered: list[int] = []
        for task in moved:
            if task["total_annotations"] or task["cancelled_annotations"]:
                answered.append(task["id"])
            elif datetime.fromisoformat(task["updated_at"]) <= mark:
                complete[str(task["id"])] = frozenset()
            # else: counters are written after the annotation, so the zero may be stale; the next look sees it again
        for chunk in batched(answered, FETCH):
            for task in self._tasks.list([_in("id", chunk)], ANNOTATED, fields="all"):
                here = [read_annotation(form, one, task["id"]) for one in task["annotations"]]
                complete[str(task["id"])] = frozenset(one.id for one in here)
                annotations += here
        return Changes(annotations=tuple(annotations), complete=complete, cursor=mark.strftime(TIME))


def _next_cursor(newest: datetime, server: datetime | None) -> datetime:
    """Where the next look starts: the newest change, or earlier if changes from before it may not be committed yet."""
    return newest - MARGIN if server is None else min(newest, server - MARGIN)


def _changed_after(when: datetime) -> Json:
    value = when.astimezone(UTC).strftime(TIME)
    return {"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime", "value": value}
