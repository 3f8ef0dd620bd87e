"""One Label Studio project, as the loop sees it: the :class:`~nextlabel.connectors.base.Connector` of this platform.

What annotators did is read here: since the last look, everything, or one annotation asked for by itself. A task's
``updated_at`` moves when it is imported or its data is changed, when an annotation of it is made, changed, or deleted
(in bulk as well), and stays put when predictions are imported. So a look is: which tasks moved, as they are now, then
the annotations of those. A task's counters
(``total_annotations`` and the like) are not looked at: an import of predictions counts first and writes later, over
whatever was counted meanwhile, so a task that has just been answered may say 0, for minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from typing_extensions import override

from nextlabel.connectors.base import NO_ANSWERS, BackendAddress, Finding, Progress, ProjectRef, Survey, no_progress
from nextlabel.connectors.basics import Json, batched
from nextlabel.connectors.errors import PlatformUnavailable
from nextlabel.connectors.http import server_time
from nextlabel.connectors.label_studio import giving
from nextlabel.connectors.label_studio.client import Client, LabelStudioProjects
from nextlabel.connectors.label_studio.config import Form, read_config
from nextlabel.connectors.label_studio.diagnose import findings
from nextlabel.connectors.label_studio.listing import FAILED, condition
from nextlabel.connectors.label_studio.payloads import (
    NOT_SHOWN,
    read_annotations,
    read_event,
    read_found,
)
from nextlabel.connectors.label_studio.queue import LabelStudioQueue
from nextlabel.connectors.label_studio.tasks import FETCH, SHOWN, Tasks
from nextlabel.connectors.label_studio.webhooks import SETTINGS, Webhooks
from nextlabel.connectors.project import ProjectConnector
from nextlabel.connectors.records import (
    Annotation,
    Changes,
    Found,
    GivenAnswer,
    Hint,
    QueueEntry,
    Record,
    RemoteRecord,
    Unreadable,
)

log = structlog.get_logger(__name__)

PLATFORM = "label-studio"
MARGIN = timedelta(seconds=10)
"""How long a change may take from its timestamp to its commit; so much of the past is read again."""
TURNED_BACK = timedelta(seconds=2)
"""The server's time is known to the second. Where it lies before the cursor by more, its clock was put back."""
ANNOTATED = "id,annotations,completed_by,result,was_cancelled,ground_truth,updated_at"
"""What is asked of tasks with their annotations: the one list holds for both. The prediction that was shown is left
out of listings by Label Studio; only webhooks carry it."""
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
HAS_ANNOTATIONS = condition("annotations_ids", "empty", "false")
"""Joins the annotations themselves, whatever the task's counters say."""


class LabelStudioConnector(ProjectConnector[Client, Form]):
    """Fulfils the connector protocol for one project."""

    has_none = False
    config = ""
    live_predictions = True
    """Label Studio asks whenever somebody opens a task that has no prediction."""

    def __init__(self, client: Client, found: Json, question: str | None = None) -> None:
        super().__init__(client, found, question)
        number = int(found["id"])
        link = f"{client.url}/projects/{number}/data"
        self.project = ProjectRef(PLATFORM, client.url, str(number), str(found["title"]), link)
        self.config = str(found["label_config"])
        self.form = read_config(self.config, question)
        self.labeling = self.form.labeling
        self.overlap = int(found["maximum_annotations"])
        self._tasks = Tasks(client, number)
        self._queue = LabelStudioQueue(client, number)
        self._webhooks = Webhooks(client, number)

    @classmethod
    @override
    def projects(cls, url: str, token: str, headers: Mapping[str, str]) -> LabelStudioProjects:
        return LabelStudioProjects(Client(url, token, headers))

    # -- records -----------------------------------------------------------------------------------------------------

    @override
    def annotator_names(self) -> Mapping[str, str]:
        users = self._client.call(lambda: self._client.sdk.users.list(), again=True)
        return {str(user.id): str(user.email or user.username or user.id) for user in users}

    @override
    def survey(self) -> Survey:
        told = {"include": f"id,task_number,model_version,{','.join(SETTINGS)}"}
        found = self._client.get(f"/api/projects/{self.project.id}", told)
        answered = self._tasks.respond([HAS_ANNOTATIONS], "id", size=1).json()["total"]
        return Survey(int(found["task_number"]), int(answered), tuple(self._webhooks.ahead(found)))

    @override
    def push(
        self,
        records: Sequence[Record],
        progress: Progress = no_progress,
        answers: Mapping[str, Sequence[GivenAnswer]] = NO_ANSWERS,
    ) -> dict[str, str]:
        given = {uid: giving.embedded(self.form, some) for uid, some in answers.items()}
        return self._tasks.push(self._as_shown(records), self.form, progress, given)

    @override
    def own_account(self) -> str:
        return str(self._client.get("/api/current-user/whoami")["id"])

    @override
    def make_accounts(self, names: Collection[str]) -> Mapping[str, str]:
        """A name without an @ gets an address to which no mail goes."""
        known = {name.lower(): number for number, name in self.annotator_names().items()}
        return giving.make_accounts(self._client, names, known)

    @override
    def give(self, answers: Sequence[GivenAnswer], given: Callable[[Changes], object]) -> dict[str, str]:
        return giving.give(self._client, self._tasks, self.form, answers, given)

    @override
    def records(self, *, newest_first: bool = False) -> Iterator[RemoteRecord]:
        return self._as_known(self._tasks.records(self.form, newest_first=newest_first))

    @override
    def image_addresses(self, most: int) -> Sequence[str]:
        return self._tasks.image_addresses(self.form, most)

    @override
    def turn_images(self, progress: Progress = no_progress) -> int:
        """One request for each task that changes, of about 0.05 s. Its annotations and predictions stay."""
        return self._tasks.turn_images(self.form, self.images, progress)

    @property
    @override
    def by_address(self) -> Collection[str]:
        return self.form.by_address

    @override
    def unread(self) -> Mapping[str, str]:
        return dict(self._tasks.texts.unread)

    @override
    def read_again(self) -> Iterator[RemoteRecord]:
        return self._as_known(self._tasks.read_again(self.form))

    @override
    def reads_addresses(self, fetch: Callable[[str], str]) -> None:
        self._tasks.texts.fetch = fetch

    @override
    def departed(self, annotators: Collection[str]) -> Collection[str]:
        """None: what people answered stays when they leave the organisation."""
        return ()

    @override
    def has_gone_back(self, newest: Sequence[Annotation]) -> bool:
        """Whether one of their tasks was changed last before its answer was: whatever becomes of that moves a task."""
        return self._tasks.are_older({one.remote_id: one.updated_at for one in newest})

    @override
    def missing(self, remote_ids: Iterable[str]) -> tuple[str, ...]:
        return self._tasks.missing(remote_ids)

    # -- what annotators did -----------------------------------------------------------------------------------------

    @override
    def changes(self, cursor: str | None) -> Changes:
        """Every annotation of every task that changed after ``cursor`` (None: of every task), and the next cursor.

        ``complete`` holds each of these tasks. Raises ValueError on a cursor that is not ours.
        """
        self._refresh()
        answer = self._tasks.respond([], "id,updated_at", size=1, ordering="-tasks:updated_at")
        newest, total = answer.json()["tasks"], int(answer.json()["total"])
        if not newest:
            return Changes(cursor=cursor, total=total)
        now = server_time(answer)
        start = None if cursor is None else datetime.fromisoformat(cursor)
        turned_back = start is not None and now is not None and now < start - TURNED_BACK
        newest_at = datetime.fromisoformat(newest[0]["updated_at"])
        lost = start is not None and newest_at < start  # what was changed last is there no longer
        if turned_back and now is not None:
            start = now - MARGIN
        conditions: list[Json] = []
        if start is not None:
            conditions.append(condition("updated_at", "greater", start.astimezone(UTC).strftime(TIME), "Datetime"))
        moved = list(self._tasks.list(conditions, SHOWN if conditions else "id"))
        records = list(self._as_known(self._tasks.read(moved, self.form))) if conditions else []
        complete = {str(task["id"]): frozenset[str]() for task in moved}
        annotations: list[Annotation] = []
        unreadable: list[Unreadable] = []
        for page in self._pages(conditions):
            annotations += page.annotations
            unreadable += page.unreadable
            complete |= page.complete
        unknown = {one.remote_id for one in unreadable if not one.id}
        mark = _next_cursor(newest_at, now).strftime(TIME)
        return Changes(
            tuple(annotations),
            {task: found for task, found in complete.items() if task not in unknown},
            cursor=mark,
            gap=turned_back or lost,
            unreadable=tuple(unreadable),
            records=tuple(records),
            total=total,
        )

    @override
    def annotated(self) -> Iterator[Changes]:
        return self._pages([])

    def _pages(self, conditions: Sequence[Json]) -> Iterator[Changes]:
        """The tasks that fulfil all ``conditions`` and have annotations, with all of them."""
        form = self.form
        answered = self._tasks.list([*conditions, HAS_ANNOTATIONS], ANNOTATED, fields="all", size=FETCH)
        for tasks in batched(answered, FETCH):
            yield Changes.listed({str(one["id"]): read_annotations(form, one) for one in tasks})

    @override
    def annotations(self, wanted: Mapping[str, str | None]) -> dict[str, Found | None]:
        """One request each. Raises ConnectorError if one could not be asked for."""
        return {number: self._annotation(int(number), record) for number, record in wanted.items()}

    def _annotation(self, number: int, record: str | None) -> Found | None:
        path = f"/api/annotations/{number}/"
        try:
            body = self._client.find(path, again=False)
        except PlatformUnavailable as error:
            if error.status != FAILED:
                raise
            try:
                body = self._client.find(path)
            except PlatformUnavailable as again:
                if again.status != FAILED:
                    raise
                return Unreadable(str(number), record or "", "", str(again), NOT_SHOWN)
        here = body is not None and str(body["project"]) == self.project.id
        return read_found(self.form, body) if here else None

    def _refresh(self) -> None:
        """Read the project again.

        Raises LabelingMismatch if it now asks something that we can't.
        """
        found = LabelStudioProjects(self._client).find(self.project.id)
        with self._lock:
            self.overlap = int(found["maximum_annotations"])
            if found["label_config"] == self.config:
                return
            # Of several questions, when others were added, ours is the one that we had.
            self.form = read_config(found["label_config"], self._question or self.form.control)
            self.config, self.labeling = found["label_config"], self.form.labeling

    # -- the queue ---------------------------------------------------------------------------------------------------

    @override
    def links(self) -> Mapping[str, str]:
        """Nobody needs a link of their own: the order is the project's."""
        return {}

    @override
    def in_hand(self) -> Collection[str]:
        """None that matters: Label Studio serves one task at a time, and keeps it for whoever has it open."""
        return ()

    @override
    def publish(self, version: str, entries: Sequence[QueueEntry]) -> None:
        self._queue.publish(version, entries, self.form)

    @override
    def extend(self, version: str, entries: Sequence[QueueEntry]) -> None:
        self._queue.extend(version, entries, self.form)

    @override
    def refused(self) -> Mapping[str, str]:
        return self._queue.refused()

    @override
    def retire(self, version: str) -> None:
        self._queue.retire(version)

    @override
    def generations(self) -> tuple[str, ...]:
        return self._queue.generations()

    @override
    def ask_again(self, remote_ids: Sequence[str], opinions: int) -> None:
        self._tasks.ask_again(remote_ids, opinions)

    @override
    def settle(self, remote_ids: Sequence[str]) -> None:
        self._tasks.settle(remote_ids)

    # -- the service -------------------------------------------------------------------------------------------------

    @override
    def connect(self, backend: BackendAddress) -> None:
        self._webhooks.connect(backend)

    @override
    def repair(self, backend: BackendAddress) -> tuple[str, ...]:
        return self._webhooks.repair(backend)

    @override
    def settings(self) -> Mapping[str, Any]:
        return self._webhooks.settings()

    @override
    def detach(
        self, before: Mapping[str, Any], asked_again: Collection[str], progress: Progress = no_progress
    ) -> Sequence[str]:
        disconnected = self._webhooks.disconnect()  # which may set the model version, so the settings follow
        restored = self._webhooks.restore(before)
        rows = self._queue.clear(progress)
        usual = self._tasks.ask_as_usual(sorted(asked_again), self.overlap)
        done = [disconnected, *restored, f"{rows:,} predictions removed"]
        return [*done, f"{usual:,} tasks want {self.overlap} annotators again, as all others"] if usual else done

    @override
    def parse_event(self, body: Mapping[str, Any]) -> Hint:
        return read_event(self.config, self.project.id, body)

    @override
    def authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        return self._webhooks.authentic(headers)

    @override
    def diagnose(self, backend: BackendAddress | None = None) -> Iterator[Finding]:
        number = int(self.project.id)
        found = findings(
            self._client, number, self._queue, self._webhooks, backend, self._question or self.form.control
        )
        return self._client.examine(found)


def _next_cursor(newest: datetime, server: datetime | None) -> datetime:
    """Where the next look starts: the newest change, or earlier if changes from before it may not be committed yet."""
    return newest - MARGIN if server is None else min(newest, server - MARGIN)
