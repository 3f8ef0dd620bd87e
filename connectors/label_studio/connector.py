"""One Label Studio project, as the loop sees it: the :class:`~nextlabel.connectors.base.Connector` of this platform."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from nextlabel.connectors.base import (
    BackendAddress,
    Finding,
    Progress,
    ProjectConnector,
    ProjectRef,
    closed_on_failure,
    no_progress,
)
from nextlabel.connectors.errors import PlatformError, ProjectNotFound
from nextlabel.connectors.label_studio import config, payloads, projects
from nextlabel.connectors.label_studio.again import ask_again
from nextlabel.connectors.label_studio.changes import Poll
from nextlabel.connectors.label_studio.client import Client
from nextlabel.connectors.label_studio.config import Form
from nextlabel.connectors.label_studio.diagnose import diagnose
from nextlabel.connectors.label_studio.queue import LabelStudioQueue
from nextlabel.connectors.label_studio.tasks import Tasks
from nextlabel.connectors.label_studio.webhooks import Webhooks
from nextlabel.connectors.records import Annotation, Changes, Hint, Labeling, QueueEntry, Record, RemoteRecord

PLATFORM = "label-studio"
SHOWN = "id,title,label_config,maximum_annotations,model_version,sampling"


class LabelStudioConnector(ProjectConnector[Client, Form]):
    """Fulfils the connector protocol for one project. Make one with :meth:`create` or :meth:`attach`."""

    def __init__(self, client: Client, project: Mapping[str, Any], control: str | None = None) -> None:
        number = int(project["id"])
        link = f"{client.url}/projects/{number}/data"
        ref = ProjectRef(PLATFORM, client.url, str(number), str(project["title"]), link)
        self._control = control
        self._config = str(project["label_config"])
        form = config.read_config(self._config, control)
        super().__init__(client, ref, form, int(project["maximum_annotations"]))
        self._lock = threading.Lock()
        self._tasks = Tasks(client, number)
        self._poll = Poll(client, number, self._tasks)
        self._queue = LabelStudioQueue(client, number)
        self._webhooks = Webhooks(client, number)

    @classmethod
    def create(cls, url: str, token: str, title: str, labeling: Labeling, *, overlap: int = 1, mark: str = "") -> Self:
        """A new project that asks ``labeling``, with ``overlap`` annotators a record; see :meth:`marked` for ``mark``.

        Raises LabelingMismatch if Label Studio can't ask it, Unauthorized, PlatformUnavailable or PlatformError.
        """
        client = Client(url, token)
        try:
            return cls.attach(url, token, projects.create(client, title, labeling, overlap=overlap, mark=mark))
        finally:
            client.close()

    @classmethod
    def marked(cls, url: str, token: str, mark: str, *, tidy: str | None = None) -> list[str]:
        """Ids of the projects made with ``mark``, the one to go on with first.

        With ``tidy``, which names the one that is used, others without a task are deleted.
        """
        client = Client(url, token)
        try:
            found = projects.marked(client, mark)
            if tidy is not None:
                projects.remove_empty(client, [number for number in found if str(number) != tidy])
            return [str(number) for number in found]
        finally:
            client.close()

    @classmethod
    def attach(cls, url: str, token: str, project: int | str, *, control: str | None = None) -> Self:
        """An existing project, its labeling read back; ``control`` names the question where there are several.

        Raises ProjectNotFound, LabelingMismatch if it asks something that we can't, Unauthorized,
        PlatformUnavailable or PlatformError.
        """
        if not str(project).isdigit():
            raise ProjectNotFound(
                f"{project!r} is no project of Label Studio: projects have numbers, see the address bar"
            )
        with closed_on_failure(Client(url, token)) as client:
            return cls(client, _project(client, int(project)), control)

    # -- the protocol ------------------------------------------------------------------------------------------------

    @property
    def live_predictions(self) -> bool:
        """Label Studio asks whenever somebody opens a task that has no prediction."""
        return True

    def links(self) -> Mapping[str, str]:
        """Nobody needs a link of their own: the order is the project's."""
        return {}

    def push(self, records: Sequence[Record], progress: Progress = no_progress) -> dict[str, str]:
        """Put ``records`` on the platform; see :class:`.tasks.Tasks`."""
        return self._tasks.push(records, self._form, progress)

    def records(self, *, newest_first: bool = False) -> Iterator[RemoteRecord]:
        """Every task of the project. One that we did not push has the uid ``label-studio-<task id>``."""
        return self._tasks.records(self._form, newest_first=newest_first)

    def changes(self, cursor: str | None) -> Changes:
        """What annotators did since ``cursor``, and whether the question itself was changed."""
        changed = self._refresh()
        found = self._poll.since(cursor, self._form)
        return replace(found, labeling_changed=changed)

    def annotated(self) -> Iterator[Changes]:
        """Every task that has annotations, with all of them, page by page."""
        return self._poll.everything(self._form)

    def annotations(self, wanted: Mapping[str, str | None]) -> dict[str, Annotation | None]:
        """Each of these annotations, asked for by itself."""
        return self._poll.each(wanted, self._form)

    def missing(self, remote_ids: Iterable[str]) -> tuple[str, ...]:
        """Those of these tasks that are gone."""
        return self._tasks.missing(remote_ids)

    def parse_event(self, body: Mapping[str, Any]) -> Hint:
        """Read one webhook body. Raises ValueError on a malformed one."""
        return payloads.read_event(self._config, self._ref.id, body)

    def authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a delivery carries the secret that :meth:`connect` gave to the webhooks."""
        return self._webhooks.authentic(headers)

    def in_hand(self) -> Collection[str]:
        """None that matters: Label Studio serves one task at a time, and keeps it for whoever has it open."""
        return ()

    def publish(self, version: str, entries: Sequence[QueueEntry]) -> None:
        """Put ``entries`` first in every annotator's queue; see :class:`.queue.Queue`."""
        self._queue.publish(version, entries, self._form)

    def extend(self, version: str, entries: Sequence[QueueEntry]) -> None:
        """Append ``entries`` to the generation in force."""
        self._queue.extend(version, entries, self._form)

    def retire(self, version: str) -> None:
        """Delete a generation that is no longer in force."""
        self._queue.retire(version)

    def generations(self) -> tuple[str, ...]:
        """The versions of ours that still have rows."""
        return self._queue.generations()

    def ask_again(self, remote_ids: Sequence[str], opinions: int) -> None:
        """Raise the overlap of these tasks to ``opinions``; see :mod:`.again`."""
        ask_again(self._client, self._tasks, remote_ids, opinions)

    def connect(self, backend: BackendAddress) -> None:
        """Hook the service up; see :class:`.webhooks.Webhooks`."""
        self._webhooks.connect(backend)

    def diagnose(self, backend: BackendAddress | None = None) -> Iterator[Finding]:
        """Look for what would silently break the loop; see :mod:`.diagnose`."""
        return diagnose(self._client, int(self._ref.id), self._queue, self._webhooks, backend, self._control)

    def _refresh(self) -> bool:
        """Read the project again; whether its labeling changed since the last look.

        Raises LabelingMismatch if it now asks something that we can't.
        """
        found = _project(self._client, int(self._ref.id))
        with self._lock:
            self._overlap = int(found["maximum_annotations"])
            if found["label_config"] == self._config:
                return False
            old, self._form = self._form, config.read_config(found["label_config"], self._control)
            self._config = found["label_config"]
            return old.labeling != self._form.labeling


def _project(client: Client, number: int) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = client.request(
            "GET", f"/api/projects/{number}", params={"include": SHOWN}, again=True
        )
    except PlatformError as error:
        if error.status == 404:
            raise ProjectNotFound(f"{client.url} has no project {number} that this token may see") from None
        raise
    if not isinstance(found, Mapping) or "label_config" not in found:
        raise PlatformError(f"{client.url} does not answer like a Label Studio", status=200)
    return found
