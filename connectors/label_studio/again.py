"""Another opinion on tasks that are done.

Every task has an overlap of its own, copied from the project when it was imported, and Label Studio lets its API
change it. It doesn't count again then whether the task is done, so that is said in the same request. From there on
the task is like any other that wants annotators: served by its place in the queue, to whoever did not answer it yet.
"""

from __future__ import annotations

from collections.abc import Sequence

from nextlabel.connectors.batches import batched
from nextlabel.connectors.errors import RecordsRejected
from nextlabel.connectors.label_studio.client import Client
from nextlabel.connectors.label_studio.payloads import Json
from nextlabel.connectors.label_studio.tasks import Tasks, _in

FETCH = 200
"""Tasks looked at in one request."""
_LOOKED_AT = "id,overlap,is_labeled,annotations,completed_by,was_cancelled"


def ask_again(client: Client, tasks: Tasks, remote_ids: Sequence[str], opinions: int) -> None:
    """Raise the overlap of these tasks to ``opinions``, and open those again that fewer annotators have answered.

    One request a task, about 0.1 s. May be repeated; an overlap is never lowered. Raises RecordsRejected if one of
    them is not in the project, before any is changed.
    """
    found: list[Json] = []
    for chunk in batched(remote_ids, FETCH):
        found += tasks.list([_in("id", [int(task) for task in chunk])], _LOOKED_AT, fields="all")
    if missing := sorted(set(remote_ids) - {str(task["id"]) for task in found}):
        raise RecordsRejected(
            f"not in the project any more: task {', '.join(missing[:3])}; nobody was asked again",
            sent=len(remote_ids),
            stored=0,
        )
    for task in found:
        wanted = max(opinions, task["overlap"])
        done = len({_author(one) for one in task["annotations"] if not one["was_cancelled"]}) >= wanted
        if task["overlap"] != wanted or task["is_labeled"] != done:
            body = {"overlap": wanted, "is_labeled": done}
            client.request("PATCH", f"/api/tasks/{task['id']}", body=body, again=True)


def _author(annotation: Json) -> str:
    by = annotation["completed_by"]
    return str(by["id"] if isinstance(by, dict) else by)
