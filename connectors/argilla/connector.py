"""One Argilla dataset, as the loop sees it: the :class:`~nextlabel.connectors.base.Connector` of this platform."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

import structlog

from nextlabel.connectors.argilla import dataset, payloads
from nextlabel.connectors.argilla.changes import Poll
from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.diagnose import diagnose
from nextlabel.connectors.argilla.people import People
from nextlabel.connectors.argilla.push import Push
from nextlabel.connectors.argilla.queue import ArgillaQueue
from nextlabel.connectors.argilla.rows import Rows
from nextlabel.connectors.argilla.webhooks import Webhooks
from nextlabel.connectors.base import (
    BackendAddress,
    Finding,
    Progress,
    ProjectConnector,
    ProjectRef,
    closed_on_failure,
    no_progress,
)
from nextlabel.connectors.errors import ConfigError, MissingExtra, PlatformError
from nextlabel.connectors.records import Annotation, Changes, Hint, Labeling, QueueEntry, Record, RemoteRecord

log = structlog.get_logger(__name__)

PLATFORM = "argilla"
LOOK_AFTER_S = 30.0
"""Seconds between two looks for people who joined the workspace, and for what others did to the queue."""


class ArgillaConnector(ProjectConnector[Client, Form]):
    """Fulfils the connector protocol for one dataset. Make one with :meth:`create` or :meth:`attach`."""

    def __init__(self, client: Client, found: Mapping[str, Any], control: str | None = None) -> None:
        self._id = str(found["id"])
        self._control = control
        self._lock = threading.Lock()
        self._looked_after = time.monotonic()
        self._people = People(client, str(found["workspace_id"]), dataset.min_submitted(found))
        self._people.refresh()
        self._rows = Rows(client, self._id)
        self._queue = ArgillaQueue(client, self._rows, self._people, self._id)
        self._poll = Poll(client, self._rows, self._id)
        link = self._queue.link(self._people.members[0])  # the owner of the API key
        ref = ProjectRef(PLATFORM, client.url, self._id, dataset.title(found), link)
        super().__init__(client, ref, dataset.read_form(client, self._id, control), dataset.overlap(found))

    @classmethod
    def create(
        cls,
        url: str,
        api_key: str,
        title: str,
        labeling: Labeling,
        *,
        workspace: str = "",
        overlap: int = 1,
        opinions: int | None = None,
        mark: str = "",
    ) -> Self:
        """A new dataset that asks ``labeling``: ``overlap`` people a record, up to ``opinions`` by :meth:`ask_again`.

        ``workspace`` is a name or an id; without it, the only one that the key sees, else one named nextlabel.
        :meth:`marked` finds it by its ``mark``.
        Raises LabelingMismatch if Argilla can't ask it, ProjectNotFound if there is no such workspace, Unauthorized,
        PlatformUnavailable or PlatformError.
        """
        most = overlap if opinions is None else opinions
        if not 1 <= overlap <= most:
            raise ConfigError(f"overlap {overlap} and opinions {most}: 1 or more, and no fewer opinions than overlap")
        with closed_on_failure(Client(url, api_key)) as client:
            made = dataset.create(
                client, title, labeling, workspace=workspace, overlap=overlap, opinions=most, mark=mark
            )
            connector = cls(client, made)
            connector._queue.look_after(connector._form)
            return connector

    @classmethod
    def attach(cls, url: str, api_key: str, project: str, *, workspace: str = "", control: str | None = None) -> Self:
        """An existing dataset by id or name, its labeling read back; ``control`` names the question if it has several.

        Raises ProjectNotFound, LabelingMismatch if it asks something that we can't, Unauthorized,
        PlatformUnavailable or PlatformError.
        """
        with closed_on_failure(Client(url, api_key)) as client:
            return cls(client, dataset.find(client, str(project), workspace), control)

    @classmethod
    def marked(cls, url: str, api_key: str, mark: str, *, tidy: str | None = None) -> list[str]:
        """Ids of the datasets made with ``mark``, the one to go on with first.

        With ``tidy``, which names the one that is used, others without a record are deleted.
        """
        client = Client(url, api_key)
        try:
            found = dataset.marked(client, mark)
            if tidy is not None:
                dataset.remove_empty(client, [one for one in found if str(one["id"]) != tidy])
            return [str(one["id"]) for one in found]
        finally:
            client.close()

    # -- the protocol ------------------------------------------------------------------------------------------------

    @property
    def live_predictions(self) -> bool:
        """Argilla never asks for a suggestion."""
        return False

    def links(self) -> Mapping[str, str]:
        """User name -> the address that sorts by this person's queue."""
        return self._queue.links()

    def push(self, records: Sequence[Record], progress: Progress = no_progress) -> dict[str, str]:
        """Put ``records`` on the platform; see :class:`.push.Push`."""
        push = Push(self._rows, self._form)
        try:
            return push.push(records, progress)
        finally:
            self._poll.arrivals.pushed(push.created)

    def records(self, *, newest_first: bool = False) -> Iterator[RemoteRecord]:
        """Every record of the dataset. One without an external id has the uid ``argilla-<record id>``."""
        self._poll.arrivals.listing()
        yield from self._rows.records(self._form, newest_first=newest_first)

    def changes(self, cursor: str | None) -> Changes:
        """What annotators did since ``cursor``, whether the question was changed, and whether records were added."""
        changed = self._refresh()
        self._look_after()
        found = self._poll.since(cursor, self._form)
        self._queue.note(found.annotations, found.complete)
        return replace(found, labeling_changed=changed)

    def annotated(self) -> Iterator[Changes]:
        """Every record that has answers, with all of them, page by page."""
        return self._poll.everything(self._form)

    def annotations(self, wanted: Mapping[str, str | None]) -> dict[str, Annotation | None]:
        """Each of these annotations, by its record, which is asked for by itself with all its responses."""
        found = self._poll.each(wanted, self._form)
        self._queue.note(found.annotations, found.complete)
        here = {one.id: one for one in found.annotations}
        return {number: here.get(number) for number, record in wanted.items() if record in found.complete}

    def missing(self, remote_ids: Iterable[str]) -> tuple[str, ...]:
        """Those of these records that are gone."""
        return self._rows.missing(remote_ids)

    def parse_event(self, body: Mapping[str, Any]) -> Hint:
        """Read one webhook body. Raises ValueError on a malformed one."""
        return payloads.read_event(self._id, body)

    def authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a delivery carries the server's signature."""
        try:
            return self._webhooks.authentic(headers, body)
        except MissingExtra as error:
            log.warning("a webhook delivery can't be verified", reason=str(error))
            return False

    def in_hand(self) -> Collection[str]:
        """What the pages of those at work may hold: up to sixteen records each."""
        return self._queue.in_hand()

    def publish(self, version: str, entries: Sequence[QueueEntry]) -> None:
        """Put ``entries`` first in every annotator's queue; see :class:`.queue.Queue`."""
        self._queue.publish(entries, self._form)

    def extend(self, version: str, entries: Sequence[QueueEntry]) -> None:
        """Append ``entries`` to the queue in force."""
        self._queue.extend(entries, self._form)

    def retire(self, version: str) -> None:
        """Nothing is left of a generation that is no longer in force."""

    def generations(self) -> tuple[str, ...]:
        """None: a generation leaves nothing behind."""
        return ()

    def ask_again(self, remote_ids: Sequence[str], opinions: int) -> None:
        """Let each of these records be answered by ``opinions`` people in all.

        Argilla counts for the whole dataset: where it asks for fewer, it is changed for all records, and the queue
        keeps those with enough answers at its end. Raises PlatformError where the server no longer allows it.
        """
        with self._lock:
            if not remote_ids or opinions <= self._people.min_submitted:
                return
            body = {"distribution": {"strategy": "overlap", "min_submitted": opinions}}
            try:
                self._client.request("PATCH", f"/api/v1/datasets/{self._id}", body=body, again=True)
            except PlatformError as error:
                raise PlatformError(
                    f"Argilla does not let a record be answered by {opinions} people, the dataset asks for "
                    f"{self._people.min_submitted} ({error.body}). Set `opinions` in the recipe before people answer, "
                    "and use a new dataset",
                    status=error.status,
                    body=error.body,
                ) from None
            self._people.min_submitted = opinions

    def connect(self, backend: BackendAddress) -> None:
        """Hook the service up: the webhook, a queue for everybody, and their links in the guidelines."""
        self._webhooks.connect(backend)
        self._queue.look_after(self._form)
        self._webhooks.guidelines(self.links())

    def diagnose(self, backend: BackendAddress | None = None) -> Iterator[Finding]:
        """Look for what would silently break the loop; see :mod:`.diagnose`."""
        return diagnose(self._client, self._id, self._webhooks, backend, self._control)

    @cached_property
    def _webhooks(self) -> Webhooks:
        return Webhooks(self._client, self._id)

    def _refresh(self) -> bool:
        """Read the dataset's settings again; whether its labeling changed since the last look.

        Raises LabelingMismatch if it now asks something that we can't, ProjectNotFound if it is gone.
        """
        form = dataset.read_form(self._client, self._id, self._control)
        with self._lock:
            old, self._form = self._form, form
        return old.labeling != form.labeling

    def _look_after(self) -> None:
        """Now and then, give people who joined a queue and a link, and mend the queue."""
        if time.monotonic() - self._looked_after < LOOK_AFTER_S:
            return
        self._looked_after = time.monotonic()
        if self._queue.look_after(self._form):
            self._webhooks.guidelines(self.links())
