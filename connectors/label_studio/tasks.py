"""Tasks: pushing records so that none is lost or doubled, finding those that are gone, asking again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

import structlog

from nextlabel.connectors.answers import mapping
from nextlabel.connectors.base import Progress
from nextlabel.connectors.basics import Json, batched, weighed
from nextlabel.connectors.bulk import Narrowing, rejected
from nextlabel.connectors.errors import ConnectorError, PlatformError, RecordsRejected
from nextlabel.connectors.http import IMPORT_TIMEOUT_S, absent_is_fine, prepared
from nextlabel.connectors.image_addresses import ImageAddresses, image_fields
from nextlabel.connectors.label_studio.client import Client
from nextlabel.connectors.label_studio.config import UID_KEY, Form
from nextlabel.connectors.label_studio.listing import FAULT, Listing, by_length, is_in
from nextlabel.connectors.label_studio.page import value_at, with_value
from nextlabel.connectors.label_studio.payloads import remote_record, write_task
from nextlabel.connectors.label_studio.texts import Texts
from nextlabel.connectors.records import Record, RemoteRecord, as_text

log = structlog.get_logger(__name__)

BATCH = 10_000
"""Tasks an import: each has a price of its own, so few large ones are a fifth faster than many small ones."""
BATCH_BYTES = 32 * 2**20
"""JSON an import; Label Studio refuses more than 250 MiB."""
TURNED = 20
"""Tasks that are read at a time to be changed: people wait for no more than a second."""
FETCH = 200
"""Tasks with their annotations in one request."""
LOOK_UP = 300
"""Up to so many uids are looked up by name; more are found by listing the project once (2 s for 10,000)."""
SHOWN = "id,data,meta,created_at"
"""What is asked of tasks that are read as records. On SQLite, an imported task may get the id of a deleted one: it was
made at another time then."""


class Tasks(Listing):
    """The tasks of one project."""

    def __init__(self, client: Client, project: int) -> None:
        super().__init__(client, project)
        self.texts = Texts()

    # -- push --------------------------------------------------------------------------------------------------------

    def push(
        self, records: Sequence[Record], form: Form, progress: Progress, answers: Mapping[str, Sequence[Json]]
    ) -> dict[str, str]:
        """uid -> task id of each of ``records``, imported where they were missing, with their ``answers`` if that goes.

        Raises RecordsRejected: before anything is sent if one uid stands for two different records; at the end, with
        all others stored, for records that can't be shown or that Label Studio refuses; and for tasks that are missing
        even after a second try.
        """
        wanted, refused = prepared(records, partial(write_task, form))
        found = {uid: str(task) for uid, task in self._existing(wanted).items()}
        progress(len(found), len(wanted))

        def store(batch: Mapping[str, Json]) -> None:
            answered = {uid: {**task, "annotations": answers[uid]} for uid, task in batch.items() if answers.get(uid)}
            try:
                made = self._import({**batch, **answered})
            except PlatformError as error:
                if not answered or error.status != 400:
                    raise
                log.info("tasks are imported without their answers, which follow", reason=error.body)
                made = self._import(batch)
            found.update((uid, str(task)) for uid, task in made.items())

        narrowing = Narrowing()
        missing = [(uid, task) for uid, task in wanted.items() if uid not in found]
        for batch in weighed(missing, _bytes, BATCH_BYTES, BATCH):
            narrowing.send(dict(batch), store)
            progress(len(found), len(wanted))
        refused |= narrowing.refused
        if refused or len(found) < len(wanted):
            raise rejected(refused, found, len(wanted.keys() | refused.keys()))
        return {uid: found[uid] for uid in wanted}

    def _import(self, batch: Mapping[str, Json]) -> dict[str, int]:
        """Import one batch; when the reply is lost or short, look what is there and import the rest once more.

        Raises PlatformError with the status 400 if it is refused; then nothing of it was stored.
        """
        try:
            return self._import_once(batch)
        except ConnectorError as error:
            if isinstance(error, PlatformError) and error.status == 400:
                raise
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
            chunks = by_length(uids)
            tasks = (task for chunk in chunks for task in self.list([is_in(f"data.{UID_KEY}", chunk)], _NAMED))
        else:
            tasks = self.list([], _NAMED)
        for task in tasks:
            uid = mapping(task.get("data")).get(UID_KEY)
            if isinstance(uid, str) and uid in uids:
                found.setdefault(uid, []).append(task["id"])
        return {uid: self._one_of(uid, same) for uid, same in found.items()}

    def _one_of(self, uid: str, same: list[int]) -> int:
        """The task to keep of several with one uid: the answered one, else the oldest. Untouched others go."""
        if len(same) == 1:
            return same[0]
        touched: dict[int, bool] = {
            task["id"]: bool(FAULT in task or task["annotations"] or self._drafts(task["id"]))
            for task in self.list([is_in("id", same)], "id,annotations", fields="all")
        }
        first, *others = sorted(touched, key=lambda task: (not touched[task], task))
        for task in others:
            if not touched[task]:
                log.warning("doubled task removed", uid=uid, task=task)
                self._delete(task)
        return first

    def _drafts(self, task: int) -> Any:
        """Everybody's drafts of a task; listings of tasks show one's own only."""
        return self._client.get(f"/api/tasks/{task}/drafts")

    def _delete(self, task: int) -> None:
        with absent_is_fine():
            self._client.call(lambda: self._client.sdk.tasks.delete(str(task)), again=True)

    # -- read --------------------------------------------------------------------------------------------------------

    def count(self) -> int:
        """How many tasks the project has."""
        answer = self._client.get(f"/api/projects/{self._project}", {"include": "id,task_number"})
        return int(answer["task_number"])

    def records(self, form: Form, *, newest_first: bool = False) -> Iterator[RemoteRecord]:
        """Every task as a record, by rising id, or by falling id with ``newest_first``.

        Those that can't be read are left out, and noted in ``texts``.
        """
        return self.read(self.newest(SHOWN) if newest_first else self.list([], SHOWN), form)

    def read_again(self, form: Form) -> Iterator[RemoteRecord]:
        """Of the tasks that could not be read, those that can be now. What is gone by now is noted no longer."""
        for chunk in by_length(list(self.texts.unread)):
            tasks = list(self.list([is_in("id", [int(task) for task in chunk])], SHOWN))
            for task in set(chunk) - {str(task["id"]) for task in tasks}:
                self.texts.unread.pop(task, None)
            yield from self.read(tasks, form)

    def read(self, tasks: Iterable[Json], form: Form) -> Iterator[RemoteRecord]:
        """Listed ``tasks`` as records, but for those that can't be read."""
        return self.texts.filled(
            (remote_record(task, form.labeling, form.unread_keys) for task in tasks), form.by_address
        )

    def missing(self, tasks: Iterable[str]) -> tuple[str, ...]:
        """Those of these tasks that are gone: a listing lacks them, and asked for by itself each is not there."""
        gone: list[str] = []
        for chunk in by_length({str(int(task)): None for task in tasks}):
            listed = {str(task["id"]) for task in self.list([is_in("id", [int(task) for task in chunk])], "id")}
            gone.extend(task for task in chunk if task not in listed and self._is_gone(task))
        return tuple(gone)

    def are_older(self, answered: Mapping[str, datetime]) -> bool:
        """Whether a task that is there was changed last before it was ``answered`` (task -> when)."""
        for chunk in by_length(answered):
            for task in self.list([is_in("id", [int(one) for one in chunk])], "id,updated_at"):
                if FAULT not in task and datetime.fromisoformat(task["updated_at"]) < answered[str(task["id"])]:
                    return True
        return False

    def _is_gone(self, task: str) -> bool:
        """Whether this project has no such task: numbers are the server's, so another project may have it."""
        found = self._client.find(f"/api/tasks/{task}/", {"resolve_uri": "false"})
        return found is None or bool(found["project"] != self._project)

    # -- images ------------------------------------------------------------------------------------------------------

    def image_addresses(self, form: Form, most: int) -> list[str]:
        """What the newest ``most`` tasks have for images."""
        names = image_fields(form.labeling)
        tasks = [task for task in islice(self.newest("id,data"), most) if FAULT not in task] if names else []
        return [text for task in tasks for name in names if (text := as_text(value_at(mapping(task["data"]), name)))]

    def turn_images(self, form: Form, images: ImageAddresses, progress: Progress) -> int:
        """Give every task the addresses that ``images`` has for its images; how many had others.

        A task's data can only be replaced whole, so it is read right before: what somebody corrects meanwhile stays.
        """
        names, total, turned = image_fields(form.labeling), self.count(), 0
        for done, task in enumerate(self.list([], "id,data", size=TURNED) if names else (), 1):
            data = mapping(task.get("data"))
            for name in names:
                if isinstance(text := value_at(data, name), str) and text:
                    data = with_value(data, name, images.shown(images.known(text)))
            if FAULT not in task and data != task["data"]:
                self._client.request("PATCH", f"/api/tasks/{task['id']}/", body={"data": data}, again=True)
                turned += 1
            progress(done, total)
        return turned

    # -- ask again ---------------------------------------------------------------------------------------------------

    def ask_again(self, tasks: Sequence[str], opinions: int) -> None:
        """Raise the overlap of these tasks to ``opinions``, and open those again that fewer annotators have answered.

        Every task has an overlap of its own, copied from the project when it was imported, and Label Studio lets its
        API change it. It doesn't count again then whether the task is done, so that is said in the same request. From
        there on the task is like any other that wants annotators: served by its place in the queue, to whoever did not
        answer it yet.

        One request a task, about 0.1 s. May be repeated; an overlap is never lowered. Raises RecordsRejected if one of
        them is not in the project, before any is changed.
        """
        found: list[Json] = []
        for chunk in batched(tasks, FETCH):
            listed = self.list([is_in("id", [int(task) for task in chunk])], _LOOKED_AT, fields="all")
            found += [task for task in listed if FAULT not in task]
        if missing := sorted(set(tasks) - {str(task["id"]) for task in found}):
            raise RecordsRejected(
                f"not in the project any more: task {', '.join(missing[:3])}; nobody was asked again",
                sent=len(tasks),
                stored=0,
            )
        for task in found:
            self._want(task, max(opinions, task["overlap"]))

    def settle(self, tasks: Sequence[str]) -> None:
        """Let these tasks want no more annotators than have answered them, so that they are done.

        Tasks that are gone, and those that nobody has answered, are left alone.
        """
        for chunk in batched(tasks, FETCH):
            for task in self.list([is_in("id", [int(task) for task in chunk])], _LOOKED_AT, fields="all"):
                if FAULT not in task and (people := len(_authors(task))):
                    self._want(task, people)

    def ask_as_usual(self, tasks: Sequence[str], overlap: int) -> int:
        """Let these tasks want ``overlap`` annotators, as all others do; returns how many did not."""
        changed = 0
        for chunk in batched(tasks, FETCH):
            for task in self.list([is_in("id", [int(task) for task in chunk])], _LOOKED_AT, fields="all"):
                if FAULT in task:
                    continue
                changed += task["overlap"] != overlap
                self._want(task, overlap)
        return changed

    def _want(self, task: Json, overlap: int) -> None:
        done = len(_authors(task)) >= overlap
        if task["overlap"] != overlap or task["is_labeled"] != done:
            body = {"overlap": overlap, "is_labeled": done}
            self._client.request("PATCH", f"/api/tasks/{task['id']}", body=body, again=True)


_NAMED = "id,data"
_LOOKED_AT = "id,overlap,is_labeled,annotations,completed_by,was_cancelled"


def _authors(task: Json) -> set[str]:
    """Who has answered ``task``, skips apart."""
    return {_author(one) for one in task["annotations"] if not one["was_cancelled"]}


def _author(annotation: Json) -> str:
    by = annotation["completed_by"]
    return str(by["id"] if isinstance(by, dict) else by)


def _bytes(task: tuple[str, Json]) -> int:
    return sum(4 * len(text) for text in task[1]["data"].values())
