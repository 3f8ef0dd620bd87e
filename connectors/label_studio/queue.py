"""Queue generations: which task every annotator gets next.

Under "Uncertainty sampling" Label Studio serves, lowest score first, the tasks with a prediction whose model version
is the project's, and only then all others, at random. So a generation is a set of predictions under a version of its
own, with scores that rise with the rank; one PATCH of the project puts it in force, whole, at once.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial

import stamina
import structlog

from nextlabel.connectors.base import Progress
from nextlabel.connectors.basics import Json, batched
from nextlabel.connectors.bulk import Narrowing
from nextlabel.connectors.errors import ConnectorError, PlatformError, PlatformUnavailable, RecordsRejected
from nextlabel.connectors.http import IMPORT_TIMEOUT_S
from nextlabel.connectors.label_studio.client import OURS, Client, is_our_version
from nextlabel.connectors.label_studio.config import Form
from nextlabel.connectors.label_studio.payloads import write_result
from nextlabel.connectors.records import QueueEntry, ranked

log = structlog.get_logger(__name__)

BATCH = 500
GENTLY = 50
"""Rows deleted in one go. Label Studio needs 8-20 ms per row and holds SQLite's one write lock all the while."""


def score_of(rank: int) -> float:
    """A score in [0, 1) that rises with the rank and doesn't depend on how many there are, so that more can follow."""
    return rank / (rank + 1)


class LabelStudioQueue:
    """Publishes generations in one project. Old ones may be retired by another thread meanwhile."""

    def __init__(self, client: Client, project: int) -> None:
        self._client = client
        self._project = project
        self._path = f"/api/projects/{project}"
        self._batch_path: bool | None = None  # whether the server runs the batch import; None: not known yet
        self._stored: dict[str, set[int]] = {}  # version -> tasks with a row, for versions of which we know every row
        self._used: set[str] | None = None  # versions that exist; None: not read yet
        self._refused: dict[str, str] = {}  # task -> why, of those that have no row in the generation in force
        self._lock = threading.Lock()

    def publish(self, version: str, entries: Sequence[QueueEntry], form: Form) -> None:
        """Store ``entries`` under ``version``, verify, and put it in force, without those that are :meth:`refused`.

        Raises RecordsRejected, the generation in force untouched, if hardly any could be stored, or nobody knows which;
        LabelingMismatch before anything is sent.
        """
        if not version.startswith(OURS):
            raise ValueError(f"{version!r}: versions begin with {OURS!r}")
        rows = _rows(version, entries, form)
        if not rows:
            raise ValueError("a generation needs at least one entry")
        with self._lock:
            if self._used is None:
                self._used = set(self.versions())
            if version not in self._used:
                self._stored[version] = set()
            elif version != self.in_force():
                self._delete_version(version)  # what an earlier try left: its ranking is not this one
                self._stored[version] = set()
            self._used.add(version)
            refused = self._store(version, rows)
            if not self._stored[version]:  # with an empty version in force the queue would be random
                raise RecordsRejected(f"all are refused: {next(iter(refused.values()))}", sent=len(rows), stored=0)
            answer = self._client.request(
                "PATCH", self._path, params=_BRIEF, body={"model_version": version}, again=True
            )
            if answer.get("model_version") != version:
                raise PlatformError(f"the project did not take the version {version}", status=200, body=str(answer))
            self._refused = refused

    def extend(self, version: str, entries: Sequence[QueueEntry], form: Form) -> None:
        """Store more ``entries`` under ``version``, without those that are :meth:`refused`; raises like ``publish``."""
        rows = _rows(version, entries, form)
        with self._lock:
            self._refused |= self._store(version, rows)

    def refused(self) -> dict[str, str]:
        """Task -> why, of those that Label Studio takes no prediction for: that are gone, mostly."""
        return dict(self._refused)

    def retire(self, version: str) -> None:
        """Delete what is stored under ``version``, a few rows at a time so that annotators' submits get through.

        Takes its time, and holds up no ``publish``. Raises PlatformError if it is in force: deleting it would make
        the queue random.
        """
        if version == self.in_force():
            raise PlatformError(f"{version} is in force and can't be retired; publish another first", status=409)
        if self.versions().get(version, 0) > GENTLY:
            ids = [row["id"] for row in self._predictions() if row["model_version"] == version]
            for prediction in ids[GENTLY:]:
                self._delete_prediction(prediction)
        self._delete_version(version)
        with self._lock:
            self._stored.pop(version, None)
            if self._used is not None:
                self._used.discard(version)

    def clear(self, progress: Progress) -> int:
        """Delete everything that we published, and what was predicted live; how many rows that was.

        None of it may be in force.
        """
        found = {version: rows for version, rows in self.versions().items() if is_our_version(version)}
        for number, version in enumerate(found, 1):
            self.retire(version)
            progress(number, len(found))
        return sum(found.values())

    def generations(self) -> tuple[str, ...]:
        """Versions of ours that have rows, newest first, the one in force included."""
        current = self.in_force()
        found = self.versions().items()
        return tuple(name for name, rows in found if name.startswith(OURS) and (rows or name == current))

    def in_force(self) -> str:
        """The project's model version; empty if it has none."""
        return str(self._client.get(self._path, _BRIEF)["model_version"] or "")

    def versions(self) -> dict[str, int]:
        """Every model version of the project and how many predictions it has, newest first."""
        answer = self._client.get(f"{self._path}/model-versions")
        return {str(name): int(rows) for name, rows in answer.items()}

    def imports_in_batches(self) -> bool:
        """Whether the server runs the batch import of predictions (its speed flag), which takes empty results too.

        Found out without storing anything: both paths refuse a task that does not exist, in different words.
        Anything unexpected counts as no: then blind rows go one by one, which every server takes.
        """
        if self._batch_path is None:
            probe = [{"task": 0, "model_version": f"{OURS}probe", "score": 0.0, "result": []}]
            try:
                self._client.request("POST", f"{self._path}/import/predictions", body=probe, again=True)
            except PlatformError as refused:
                self._batch_path = "not found in project" in refused.body
            else:
                self._batch_path = False
        return self._batch_path

    def _store(self, version: str, rows: Sequence[Json]) -> dict[str, str]:
        """Store ``rows``, and return task -> why of those that are refused.

        While the platform is unavailable (SQLite locked, say), look what arrived and go on.
        """
        for attempt in stamina.retry_context(on=PlatformUnavailable, attempts=3, wait_initial=0.2, wait_max=2.0):
            with attempt:
                return self._store_once(version, rows)
        raise AssertionError("unreachable: stamina raises when its attempts are used up")

    def _store_once(self, version: str, rows: Sequence[Json]) -> dict[str, str]:
        known = self._stored.pop(version, None)  # nothing is certain until every row is confirmed
        if known is None:  # after a lost reply, or a restart
            known = self._tasks(version)
        new = {str(row["task"]): row for row in rows if row["task"] not in known}
        batches = not new or self.imports_in_batches()
        alone = {} if batches else {task: row for task, row in new.items() if not row["result"]}
        parts = [*batched((task for task in new if task not in alone), BATCH), *batched(alone, 1)]
        stored, narrowing = set[str](), Narrowing()

        def send(part: Mapping[str, Json]) -> None:
            stored.update(part.keys() - self._sent(version, part, blind=not alone.keys().isdisjoint(part)))

        try:
            for part in parts:
                narrowing.send({task: new[task] for task in part}, send)
        except PlatformError as error:
            raise RecordsRejected(str(error), sent=len(new), stored=len(stored)) from None
        refused = {task: self._why(task, reason) for task, reason in narrowing.refused.items()}
        if narrowing.gave_up:
            raise RecordsRejected(f"hardly any is taken: {refused.popitem()[1]}", sent=len(new), stored=len(stored))
        dropped = dict.fromkeys(new.keys() - stored - refused.keys(), "Label Studio left it out, and said nothing")
        self._stored[version] = known | set(map(int, stored))
        return refused | dropped

    def _sent(self, version: str, part: Mapping[str, Json], *, blind: bool) -> set[str]:
        """Send these rows; return the tasks that have none all the same. Raises PlatformError: then none is stored."""
        if blind:
            for row in part.values():
                self._client.call(partial(self._client.sdk.predictions.create, **row))
            return set()
        body, path = list(part.values()), f"{self._path}/import/predictions"
        answer = self._client.request("POST", path, body=body, timeout=IMPORT_TIMEOUT_S)
        return set() if answer["created"] == len(body) else part.keys() - set(map(str, self._tasks(version)))

    def _why(self, task: str, reason: str) -> str:
        """Why there is no row for ``task``. The ``reason`` that Label Studio gives begins with the row, and is cut."""
        return reason if self._client.find(f"/api/tasks/{task}") else "there is no such task any more"

    def _tasks(self, version: str) -> set[int]:
        """The tasks that have a row under ``version``."""
        return {row["task"] for row in self._predictions() if row["model_version"] == version}

    def _predictions(self) -> list[Json]:
        """Every prediction of the project, in one answer: for repairs only."""
        params = {"project": self._project}
        found: list[Json] = self._client.request(
            "GET", "/api/predictions", params=params, again=True, timeout=IMPORT_TIMEOUT_S
        )
        return found

    def _delete_version(self, version: str) -> None:
        self._client.request(
            "DELETE",
            f"{self._path}/model-versions/",
            body={"model_version": version},
            again=True,
            timeout=IMPORT_TIMEOUT_S,
        )

    def _delete_prediction(self, prediction: int) -> None:
        try:
            self._client.call(lambda: self._client.sdk.predictions.delete(prediction), again=True)
        except ConnectorError as error:
            log.debug("a prediction of an old generation could not be deleted alone", reason=str(error))


_BRIEF = {"include": "id,model_version"}
"""Label Studio counts tasks, annotations and predictions for every project it shows, unless told what to show."""


def _rows(version: str, entries: Sequence[QueueEntry], form: Form) -> list[Json]:
    rows = []
    for entry in ranked(entries):
        shown = None if entry.suggestion is None else form.shows(entry.suggestion)
        result = [] if shown is None else write_result(form, shown.value, shown.score, shown.scores)
        row = {"task": int(entry.remote_id), "model_version": version, "score": score_of(entry.rank), "result": result}
        rows.append(row)
    return rows
