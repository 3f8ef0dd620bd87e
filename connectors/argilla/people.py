"""Who labels in a dataset: the members of its workspace, who of them is at work, and what each has answered."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.argilla.payloads import LANE
from nextlabel.connectors.records import Annotation, AnnotationStatus

AT_WORK = timedelta(minutes=15)
"""How long after an answer somebody still counts as working, and their page as open."""


@dataclass(frozen=True, slots=True)
class Person:
    """One user of Argilla who may label here."""

    id: str
    name: str

    @property
    def lane(self) -> str:
        """The metadata property that this person's queue is sorted by."""
        return LANE + self.id.replace("-", "")[:8]


class People:
    """The people of one dataset. Thread-safe."""

    def __init__(self, client: Client, workspace_id: str, min_submitted: int) -> None:
        self.min_submitted = min_submitted
        self._client = client
        self._workspace = workspace_id
        self._members: tuple[Person, ...] = ()
        self._answers: dict[str, dict[str, Annotation]] = defaultdict(dict)  # record -> person -> the newest
        self._last: dict[str, Annotation] = {}  # person -> the newest
        self._lock = threading.Lock()

    @property
    def members(self) -> tuple[Person, ...]:
        """Everyone who may label, as of the last :meth:`refresh`: the key's own user first."""
        return self._members

    def refresh(self) -> bool:
        """Ask who is in the workspace; whether anybody joined or left since the last time."""
        me = self._client.request("GET", "/api/v1/me", again=True)
        users = self._client.request("GET", f"/api/v1/workspaces/{self._workspace}/users", again=True)["items"]
        found = {str(user["id"]): Person(str(user["id"]), str(user["username"])) for user in (me, *users)}
        changed = tuple(found.values()) != self._members
        self._members = tuple(found.values())
        return changed

    def note(self, annotations: Iterable[Annotation], complete: Mapping[str, frozenset[str]]) -> None:
        """Remember who answered what, so that nobody's page is disturbed. Repeats and old news change nothing.

        ``complete``: record -> the ids of all annotations that it has; others of it are forgotten.
        """
        with self._lock:
            for one in annotations:
                here = self._answers[one.remote_id]
                if one.annotator not in here or here[one.annotator].updated_at <= one.updated_at:
                    here[one.annotator] = one
                if one.annotator not in self._last or self._last[one.annotator].updated_at <= one.updated_at:
                    self._last[one.annotator] = one
            for record, ids in complete.items():
                here = self._answers.get(record, {})
                for person in [person for person, one in here.items() if one.id not in ids]:
                    del here[person]

    def active(self) -> list[str]:
        """Ids of the members who answered something lately."""
        since = self._client.now() - AT_WORK
        with self._lock:
            return [one.id for one in self._members if one.id in self._last and self._last[one.id].updated_at >= since]

    def last_answered(self, person: str) -> str:
        """The record that this person answered last; empty if we know of none."""
        with self._lock:
            return self._last[person].remote_id if person in self._last else ""

    def who_answered(self, record: str) -> frozenset[str]:
        """Who has the record behind them, or in hand as a draft, as far as we have heard."""
        with self._lock:
            return frozenset(self._answers.get(record, ()))

    def is_complete(self, record: str) -> bool:
        """Whether the record left everybody's queue: it has as many answers as the dataset asks for."""
        with self._lock:
            given = [one.status for one in self._answers.get(record, {}).values()]
        return given.count(AnnotationStatus.SUBMITTED) >= self.min_submitted

    def is_open(self, record: str, person: str) -> bool:
        """Whether ``record`` still waits in this person's queue."""
        return person not in self.who_answered(record) and not self.is_complete(record)
