"""One Argilla dataset, as the loop sees it: the :class:`~nextlabel.connectors.base.Connector` of this platform."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

import structlog
from typing_extensions import override

from nextlabel.connectors.argilla import giving
from nextlabel.connectors.argilla.changes import Poll
from nextlabel.connectors.argilla.client import (
    Client,
    Datasets,
    min_submitted,
    overlap_of,
    read_form,
    title_of,
)
from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.diagnose import findings
from nextlabel.connectors.argilla.lanes import People, is_deleted
from nextlabel.connectors.argilla.payloads import NOT_SHOWN, read_event
from nextlabel.connectors.argilla.queue import ArgillaQueue
from nextlabel.connectors.argilla.rows import Push, Rows
from nextlabel.connectors.argilla.traces import Traces
from nextlabel.connectors.argilla.webhooks import Webhooks
from nextlabel.connectors.base import (
    NO_ANSWERS,
    BackendAddress,
    Finding,
    NewProject,
    Progress,
    ProjectRef,
    Survey,
    closed_on_failure,
    no_progress,
)
from nextlabel.connectors.basics import Json
from nextlabel.connectors.errors import MissingExtra, PlatformError, ProjectNotFound
from nextlabel.connectors.http import NO_HEADERS
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
)

log = structlog.get_logger(__name__)

PLATFORM = "argilla"
LOOK_AFTER_S = 30.0
"""Seconds between two looks for people who joined the workspace, and for what others did to the queue."""


class ArgillaConnector(ProjectConnector[Client, Form]):
    """Fulfils the connector protocol for one dataset."""

    config = ""
    live_predictions = False
    """Argilla never asks for a suggestion."""

    def __init__(self, client: Client, found: Json, question: str | None = None) -> None:
        super().__init__(client, found, question)
        self._id = str(found["id"])
        self._looked_after = time.monotonic()
        self.form = read_form(client, self._id, question)
        self._people = People(client, str(found["workspace_id"]), min_submitted(found), self.form.apart)
        self._people.refresh()
        self._rows = Rows(client, self._id)
        self._queue = ArgillaQueue(client, self._rows, self._people, self._id)
        self._poll = Poll(client, self._rows, self._id)
        self._pushing = False
        link = self._queue.link(self._people.members[0])  # the owner of the API key
        self.project = ProjectRef(PLATFORM, client.url, self._id, title_of(found), link)
        self.labeling = self.form.labeling
        self.overlap = self._people.overlap = overlap_of(found)

    @classmethod
    @override
    def projects(cls, url: str, token: str, headers: Mapping[str, str]) -> Datasets:
        return Datasets(Client(url, token, headers))

    @classmethod
    @override
    def create(cls, url: str, token: str, new: NewProject, *, headers: Mapping[str, str] = NO_HEADERS) -> Self:
        """``workspace`` is a name or an id; without it, the only one that the key sees, else one named nextlabel."""
        with closed_on_failure(super().create(url, token, new, headers=headers)) as connector:
            connector._queue.look_after(connector.form)
            return connector

    # -- the protocol ------------------------------------------------------------------------------------------------

    @property
    def has_none(self) -> bool:
        """Whether the question has our option for "none of these"."""
        return self.form.has_none

    @override
    def links(self) -> Mapping[str, str]:
        return self._queue.links()

    @override
    def annotator_names(self) -> Mapping[str, str]:
        return self._queue.names()

    @override
    def survey(self) -> Survey:
        changes = [*self._queue.ahead(), *self._webhooks.ahead()]
        return Survey(self._rows.total(), self._rows.answered(), tuple(changes))

    @override
    def push(
        self,
        records: Sequence[Record],
        progress: Progress = no_progress,
        answers: Mapping[str, Sequence[GivenAnswer]] = NO_ANSWERS,
    ) -> dict[str, str]:
        self._pushing = True
        try:
            return Push(self._rows, self.form).push(self._as_shown(records), progress)
        finally:
            self._pushing = False

    @override
    def accounts(self) -> Mapping[str, str]:
        """All users of the server for an owner's key, else those of the workspace."""
        return {**giving.accounts(self._client), **self.annotator_names()}

    @override
    def own_account(self) -> str:
        return self._people.members[0].id

    @override
    def make_accounts(self, names: Collection[str]) -> Mapping[str, str]:
        """In no workspace: who is in it gets a share of the queue."""
        return giving.make_accounts(self._client, names, {name: number for number, name in self.accounts().items()})

    @override
    def give(self, answers: Sequence[GivenAnswer], given: Callable[[Changes], object]) -> dict[str, str]:
        def look(records: Collection[str]) -> Changes:
            found = self._poll.each({record: record for record in records}, self.form)
            self._queue.note(found.annotations, found.complete)
            return found

        return giving.give(self._rows, self.form, look, answers, given)

    @override
    def records(self, *, newest_first: bool = False) -> Iterator[RemoteRecord]:
        return self._as_known(self._rows.records(self.form, newest_first=newest_first))

    @override
    def image_addresses(self, most: int) -> Sequence[str]:
        return self._rows.image_addresses(self.form, most)

    @override
    def turn_images(self, progress: Progress = no_progress) -> int:
        return self._rows.turn_images(self.form, self.images, progress)

    @override
    def unread(self) -> Mapping[str, str]:
        """By their places: Argilla does not tell the ids of those that it can't show."""
        hidden = sorted(self._rows.hidden.items())
        return {f"number {place + 1}, in the order they were made,": f"{why}. {NOT_SHOWN}" for place, why in hidden}

    @override
    def read_again(self) -> Iterator[RemoteRecord]:
        return self._as_known(self._rows.read_again(self.form))

    @override
    def changes(self, cursor: str | None) -> Changes:
        self._refresh()
        found = self._poll.since(cursor, self.form)
        self._queue.note(found.annotations, found.complete)
        # While we push, how many there are says nothing about what others do.
        records = tuple(self._as_known(found.records))
        return replace(found, records=records, total=None if self._pushing else self._rows.listed())

    @override
    def look_after(self) -> None:
        """Give people who joined a queue and a link, and mend the queue."""
        if time.monotonic() - self._looked_after < LOOK_AFTER_S:
            return
        if self._queue.look_after(self.form):
            self._webhooks.guidelines(self.links())
        self._looked_after = time.monotonic()

    @override
    def annotated(self) -> Iterator[Changes]:
        return self._poll.everything(self.form)

    @override
    def annotations(self, wanted: Mapping[str, str | None]) -> dict[str, Found | None]:
        """Each of these annotations, by its record, which is asked for by itself with all its responses."""
        found = self._poll.each(wanted, self.form)
        self._queue.note(found.annotations, found.complete)
        here: dict[str, Found] = {one.id: one for one in found.annotations}
        here |= {one.id: one for one in found.unreadable}
        return {number: here.get(number) for number, record in wanted.items() if record in found.complete}

    @override
    def departed(self, annotators: Collection[str]) -> Collection[str]:
        """Argilla deletes what people answered with their account, and leaves the records complete."""
        return [one for one in annotators if is_deleted(self._client, one)]

    @override
    def has_gone_back(self, newest: Sequence[Annotation]) -> bool:
        """Whether the dataset's last activity is an earlier one than it was: a record has no time that tells."""
        return self._poll.went_back

    @override
    def missing(self, remote_ids: Iterable[str]) -> tuple[str, ...]:
        return self._rows.missing(remote_ids)

    @override
    def parse_event(self, body: Mapping[str, Any]) -> Hint:
        return read_event(self._id, body)

    @override
    def authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        try:
            return self._webhooks.authentic(headers, body)
        except MissingExtra as error:
            log.warning("a webhook delivery can't be verified", reason=str(error))
            return False

    @override
    def in_hand(self) -> Collection[str]:
        """What the pages of those at work may hold: up to sixteen records each."""
        return self._queue.in_hand()

    @override
    def publish(self, version: str, entries: Sequence[QueueEntry]) -> None:
        self._instruct()
        self._queue.publish(entries, self.form)

    @override
    def extend(self, version: str, entries: Sequence[QueueEntry]) -> None:
        self._instruct()
        self._queue.extend(entries, self.form)

    @override
    def refused(self) -> Mapping[str, str]:
        return self._queue.refused()

    @override
    def retire(self, version: str) -> None:
        """Nothing is left of a generation that is no longer in force."""

    @override
    def generations(self) -> tuple[str, ...]:
        """None: a generation leaves nothing behind."""
        return ()

    @override
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

    @override
    def settle(self, remote_ids: Sequence[str]) -> None:
        """Nothing: Argilla counts for the whole dataset. Such records are at the end of everybody's queue."""

    @override
    def repair(self, backend: BackendAddress) -> tuple[str, ...]:
        if gone := self._webhooks.missing(backend):
            self.connect(backend)
        return gone

    @override
    def connect(self, backend: BackendAddress) -> None:
        """Hook the service up: the webhook, a queue for everybody, and their links in the guidelines."""
        self._webhooks.connect(backend)
        self._queue.look_after(self.form)
        self._webhooks.guidelines(self.links())

    @override
    def settings(self) -> Mapping[str, Any]:
        found = self._client.get(f"/api/v1/datasets/{self._id}")
        return {"min_submitted": min_submitted(found)}

    @override
    def detach(
        self, before: Mapping[str, Any], asked_again: Collection[str], progress: Progress = no_progress
    ) -> Sequence[str]:
        with self._lock:
            return Traces(self._client, self._id, self.form, self._rows).remove(self._webhooks, before, progress)

    @override
    def diagnose(self, backend: BackendAddress | None = None) -> Iterator[Finding]:
        return self._client.examine(
            findings(self._client, self._id, self._webhooks, backend, self._question, self.form.apart)
        )

    @cached_property
    def _webhooks(self) -> Webhooks:
        return Webhooks(self._client, self._id, self.form.question if self.form.apart else "")

    def _instruct(self) -> None:
        """Tell the queue what may have been set since."""
        self._queue.delivery.replace_suggestions = self.replace_suggestions
        self._people.overlap = self.overlap

    def _refresh(self) -> None:
        """Read the dataset's settings again.

        Raises LabelingMismatch if it now asks something that we can't, ProjectNotFound if it is gone.
        """
        try:
            form = read_form(self._client, self._id, self._question)
        except ProjectNotFound:
            raise ProjectNotFound(
                f"the dataset {self.project.title!r} ({self._id}) was deleted; if it was made anew, it is another one: "
                "stop the service and start it again, which says how to go on"
            ) from None
        with self._lock:
            self.form, self.labeling = form, form.labeling
