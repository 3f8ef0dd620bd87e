"""Tasks: pushing records so that none is lost or doubled, listing them, and finding those that are gone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import httpx
import structlog

from nextlabel.connectors.base import Progress
from nextlabel.connectors.batches import weighed
from nextlabel.connectors.errors import ConnectorError, LabelingMismatch, PlatformError, RecordsRejected
from nextlabel.connectors.http import IMPORT_TIMEOUT_S, dump
from nextlabel.connectors.label_studio.client import Client
from nextlabel.connectors.label_studio.config import UID_KEY, Form
from nextlabel.connectors.label_studio.payloads import Json, remote_record, write_task
from nextlabel.connectors.records import Record, RemoteRecord

log = structlog.get_logger(__name__)

BATCH = 10_000
"""Tasks an import: each has a price of its own, so few large ones are a fifth faster than many small ones."""
BATCH_BYTES = 32 * 2**20
"""JSON an import; Label Studio refuses more than 250 MiB."""
PAGE = 1000
SMALL_PAGE = 100
"""Tasks in the first page for whoever wants the newest only."""
LOOK_UP = 300
"""Up to so many uids are looked up by name; more are found by listing the project once (2 s for 10,000)."""
QUERY_BYTES = 3000
"""Characters of values in one query: it travels in the URL, which reverse proxies cut at 8 KiB."""


class Tasks:
    """The tasks of one project."""

    def __init__(self, client: Client, project: int) -> None:
        self._client = client
        self._project = project

    # -- push --------------------------------------------------------------------------------------------------------

    def push(self, records: Sequence[Record], form: Form, progress: Progress) -> dict[str, str]:
        """uid -> task id of each of ``records``, imported where they were missing.

        Raises RecordsRejected: before anything is sent if a record can't be shown, if one uid stands for two
        different records, or if text can't be encoded; afterwards if tasks are missing even after a second try.
        """
        wanted = self._prepared(records, form)
        found = self._existing(wanted)
        done = len(found)
        progress(done, len(wanted))
        missing = [(uid, task) for uid, task in wanted.items() if uid not in found]
        for batch in map(dict, weighed(missing, _bytes, BATCH_BYTES, BATCH)):
            found |= self._import(batch)
            done += len(batch)
            progress(done, len(wanted))
        return {uid: str(found[uid]) for uid in wanted}

    def _prepared(self, records: Sequence[Record], form: Form) -> dict[str, Json]:
        wanted: dict[str, Json] = {}
        for record in records:
            try:
                task = write_task(form, record)
                dump(task)
            except LabelingMismatch as error:
                raise RecordsRejected(str(error), sent=len(records), stored=0) from None
            except (UnicodeEncodeError, TypeError, ValueError) as error:
                raise RecordsRejected(
                    f"record {record.uid!r} can't be sent as JSON: {error}", sent=len(records), stored=0
                ) from None
            if not record.uid or wanted.setdefault(record.uid, task) != task:
                raise RecordsRejected(
                    f"the uid {record.uid!r} is empty or stands for two different records; nothing was pushed",
                    sent=len(records),
                    stored=0,
                )
        return wanted

    def _import(self, batch: Mapping[str, Json]) -> dict[str, int]:
        """Import one batch; when the reply is lost or short, look what is there and import the rest once more."""
        try:
            return self._import_once(batch)
        except ConnectorError as error:
            if isinstance(error, PlatformError) and error.status == 400:  # refused as a whole: nothing was stored
                raise RecordsRejected(str(error), sent=len(batch), stored=0) from None
            log.warning("import in doubt, looking what arrived", tasks=len(batch), reason=str(error))
        found = self._existing(batch)
        missing = {uid: task for uid, task in batch.items() if uid not in found}
        if not missing:
            return found
        try:
            return found | self._import_once(missing)
        except RecordsRejected as error:
            raise RecordsRejected(str(error), sent=len(batch), stored=len(found) + error.stored) from None

    def _import_once(self, batch: Mapping[str, Json]) -> dict[str, int]:
        answer = self._client.request(
            "POST",
            f"/api/projects/{self._project}/import",
            params={"return_task_ids": "true"},
            body=list(batch.values()),
            timeout=IMPORT_TIMEOUT_S,
        )
        ids = answer.get("task_ids") or []
        if answer.get("task_count") != len(batch) or len(ids) != len(batch):
            raise RecordsRejected(
                f"Label Studio stored {answer.get('task_count')} of {len(batch)} tasks and said so only in passing",
                sent=len(batch),
                stored=int(answer.get("task_count") or 0),
            )
        return dict(zip(batch, ids, strict=True))

    def _existing(self, uids: Mapping[str, object]) -> dict[str, int]:
        """uid -> task id of those that are on the platform; tasks that were doubled are made one again."""
        if not uids or self.count() == 0:
            return {}
        found: dict[str, list[int]] = {}
        tasks: Iterator[Json]
        if len(uids) <= LOOK_UP:
            chunks = _by_length(uids)
            tasks = (task for chunk in chunks for task in self.list([_in(f"data.{UID_KEY}", chunk)], _NAMED))
        else:
            tasks = self.list([], _NAMED)
        for task in tasks:
            uid = task["data"].get(UID_KEY)
            if uid in uids:
                found.setdefault(uid, []).append(task["id"])
        return {uid: self._one_of(uid, same) for uid, same in found.items()}

    def _one_of(self, uid: str, same: list[int]) -> int:
        """The task to keep of several with one uid: the answered one, else the oldest. Untouched others go."""
        if len(same) == 1:
            return same[0]
        touched: dict[int, bool] = {
            task["id"]: bool(task["annotations"] or self._drafts(task["id"]))
            for task in self.list([_in("id", same)], "id,annotations", fields="all")
        }
        first, *others = sorted(touched, key=lambda task: (not touched[task], task))
        for task in others:
            if not touched[task]:
                log.warning("doubled task removed", uid=uid, task=task)
                self._delete(task)
        return first

    def _drafts(self, task: int) -> Any:
        """Everybody's drafts of a task; listings of tasks show one's own only."""
        return self._client.request("GET", f"/api/tasks/{task}/drafts", again=True)

    def _delete(self, task: int) -> None:
        try:
            self._client.call(lambda: self._client.sdk.tasks.delete(str(task)), again=True)
        except PlatformError as error:
            if error.status != 404:  # gone already, which is what we want
                raise

    # -- read --------------------------------------------------------------------------------------------------------

    def count(self) -> int:
        """How many tasks the project has."""
        answer = self._client.request(
            "GET", f"/api/projects/{self._project}", params={"include": "id,task_number"}, again=True
        )
        return int(answer["task_number"])

    def records(self, form: Form, *, newest_first: bool = False) -> Iterator[RemoteRecord]:
        """Every task as a record, by rising id, or by falling id with ``newest_first``."""
        for task in self._newest() if newest_first else self.list([], _SHOWN):
            yield remote_record(task, form.labeling)

    def _newest(self) -> Iterator[Json]:
        """Every task by falling id, in a small page and then in large ones."""
        conditions: list[Json] = []
        size = SMALL_PAGE
        while page := self.respond(conditions, _SHOWN, size=size, ordering="-tasks:id").json()["tasks"]:
            yield from page
            conditions, size = [_number("id", "less", page[-1]["id"])], PAGE

    def missing(self, tasks: Iterable[str]) -> tuple[str, ...]:
        """Those of these tasks that are gone: a listing lacks them, and asked for by itself each is not there."""
        gone: list[str] = []
        for chunk in _by_length({str(int(task)): None for task in tasks}):
            listed = {str(task["id"]) for task in self.list([_in("id", [int(task) for task in chunk])], "id")}
            gone.extend(task for task in chunk if task not in listed and self._is_gone(task))
        return tuple(gone)

    def _is_gone(self, task: str) -> bool:
        """Whether this project has no such task: numbers are the server's, so another project may have it."""
        try:
            params = {"resolve_uri": "false"}
            found = self._client.request("GET", f"/api/tasks/{task}/", params=params, again=True)
        except PlatformError as error:
            if error.status == 404:
                return True
            raise
        return bool(found["project"] != self._project)

    def list(
        self, conditions: Sequence[Json], include: str, fields: str | None = None, size: int = PAGE
    ) -> Iterator[Json]:
        """The tasks that fulfil all ``conditions``, by rising id, with the keys in ``include``, ``size`` at a time.

        Goes by id and not by page number: tasks that appear, change or vanish meanwhile make it skip none.
        """
        after = 0
        while True:
            page = self.page([*conditions, _number("id", "greater", after)], include, size=size, fields=fields)["tasks"]
            yield from page
            if len(page) < size:
                return
            after = page[-1]["id"]

    def page(self, conditions: Sequence[Json], include: str, *, size: int, fields: str | None = None) -> Any:
        """The first ``size`` tasks by id, and the ``total``."""
        return self.respond(conditions, include, size=size, fields=fields).json()

    def respond(
        self,
        conditions: Sequence[Json],
        include: str,
        *,
        size: int,
        ordering: str = "tasks:id",
        fields: str | None = None,
    ) -> httpx.Response:
        """As :meth:`page`, the whole HTTP answer, in another ``ordering`` if need be.

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
        return self._client.respond("GET", "/api/tasks", params=params, again=True)


_SHOWN = "id,data,meta"
_NAMED = "id,data"


def _in(column: str, values: Sequence[object]) -> Json:
    return {"filter": f"filter:tasks:{column}", "operator": "in_list", "type": "List", "value": list(values)}


def _number(column: str, operator: str, number: int) -> Json:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": "Number", "value": number}


def _by_length(values: Iterable[str]) -> Iterator[list[str]]:
    """Chunks that fit into a URL."""
    return weighed(values, lambda value: len(json.dumps(value)) + 4, QUERY_BYTES)


def _bytes(task: tuple[str, Json]) -> int:
    return sum(4 * len(text) for text in task[1]["data"].values())
