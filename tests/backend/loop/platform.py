"""A platform in memory, for failures that a real server can't be asked to have at the right moment.

What a platform does when all is well is tested on real servers (tests/contract, tests/live).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from nextlabel.connectors.base import BackendAddress, Finding, Progress, ProjectRef, no_progress
from nextlabel.connectors.errors import PlatformUnavailable
from nextlabel.connectors.labelings import check_labels
from nextlabel.connectors.records import (
    Annotation,
    AnnotationStatus,
    Changes,
    Hint,
    Labeling,
    QueueEntry,
    Record,
    RemoteRecord,
    Value,
)


def about(*annotations: Annotation) -> Hint:
    """What a webhook would say of these."""
    return Hint(annotations={one.id: one.remote_id for one in annotations})


@dataclass
class MemoryPlatform:
    """Fulfils Connector. ``fail_next`` names methods whose next call fails; ``down`` makes all of them fail."""

    labeling: Labeling
    overlap: int = 1
    down: bool = False
    fail_next: dict[str, Exception] = field(default_factory=dict)
    pushed: dict[str, Record] = field(default_factory=dict)
    answers: dict[str, Annotation] = field(default_factory=dict)
    published: list[tuple[str, list[QueueEntry]]] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    connected: list[BackendAddress] = field(default_factory=list)
    live_predictions: bool = True
    held: list[str] = field(default_factory=list)
    people: dict[str, str] = field(default_factory=dict)
    asked_again: dict[str, int] = field(default_factory=dict)
    records_read: int = 0
    asked_for: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self._told = self.labeling
        self._clock = datetime(2026, 1, 1, tzinfo=UTC)

    # -- what annotators do ------------------------------------------------------------------------------------------

    def annotate(
        self,
        remote_id: str,
        label: str | Value | None,
        annotator: str = "ann",
        status: AnnotationStatus = AnnotationStatus.SUBMITTED,
    ) -> Annotation:
        one = self._annotation(remote_id, label, annotator, status)
        self.answers[one.id] = one
        return one

    def annotate_all(self, labels: Mapping[str, str | Value]) -> None:
        """Remote id -> answer, all at once: no poll finds some of them."""
        submitted = AnnotationStatus.SUBMITTED
        made = [self._annotation(remote_id, label, "ann", submitted) for remote_id, label in labels.items()]
        self.answers.update({one.id: one for one in made})

    def _annotation(
        self, remote_id: str, label: str | Value | None, annotator: str, status: AnnotationStatus
    ) -> Annotation:
        self._clock += timedelta(seconds=1)
        value = (label,) if isinstance(label, str) else label or ()
        return Annotation(f"a{next(self._ids)}", remote_id, annotator, value, status, self._clock)

    def queue(self) -> list[str]:
        """Remote ids that annotators get, in order: the generation in force without what is answered."""
        done = {one.remote_id for one in self.answers.values()}
        return [entry.remote_id for entry in self.published[-1][1] if entry.remote_id not in done]

    # -- Connector ---------------------------------------------------------------------------------------------------

    @property
    def project(self) -> ProjectRef:
        return ProjectRef("memory", "memory://", "1", "memory", "memory://1")

    def _call(self, name: str) -> None:
        if self.down:
            raise PlatformUnavailable("memory is down; start it")
        if name in self.fail_next:
            raise self.fail_next.pop(name)

    def push(self, records: Sequence[Record], progress: Progress = no_progress) -> dict[str, str]:
        self._call("push")
        for record in records:
            self.pushed[f"r-{record.uid}"] = record
        progress(len(records), len(records))
        return {record.uid: f"r-{record.uid}" for record in records}

    def in_hand(self) -> list[str]:
        return self.held

    def links(self) -> Mapping[str, str]:
        self._call("links")
        return dict(self.people)

    def records(self, *, newest_first: bool = False) -> Iterator[RemoteRecord]:
        self._call("records")
        for remote_id, record in list(self.pushed.items())[:: -1 if newest_first else 1]:
            self.records_read += 1
            yield RemoteRecord(remote_id, record)

    def changes(self, cursor: str | None) -> Changes:
        self._call("changes")
        answers = tuple(self.answers.values())  # in one step, as others annotate meanwhile
        changed, self._told = self.labeling != self._told, self.labeling
        return replace(self._listed(answers), labeling_changed=changed, cursor="now")

    def _listed(self, answers: Sequence[Annotation]) -> Changes:
        complete = {remote_id: set[str]() for remote_id in self.pushed}
        for one in answers:
            complete.setdefault(one.remote_id, set()).add(one.id)
        return Changes(tuple(answers), {record: frozenset(ids) for record, ids in complete.items()})

    def annotated(self) -> Iterator[Changes]:
        self._call("annotated")
        yield self._listed(tuple(self.answers.values()))

    def annotations(self, wanted: Mapping[str, str | None]) -> dict[str, Annotation | None]:
        self._call("annotations")
        self.asked_for.extend(wanted)
        found = {number: self.answers.get(number) for number in wanted}
        elsewhere = {number for number, one in found.items() if one and wanted[number] not in (None, one.remote_id)}
        return {number: None if number in elsewhere else one for number, one in found.items()}

    def missing(self, remote_ids: Iterable[str]) -> tuple[str, ...]:
        self._call("missing")
        return tuple(remote_id for remote_id in remote_ids if remote_id not in self.pushed)

    def parse_event(self, body: Mapping[str, Any]) -> Hint:
        raise ValueError("memory sends no webhooks")

    def publish(self, version: str, entries: Sequence[QueueEntry]) -> None:
        self._call("publish")
        self._check(entries)
        assert entries
        assert [entry.rank for entry in entries] == list(range(len(entries)))
        self.published.append((version, list(entries)))
        self._call("published")

    def extend(self, version: str, entries: Sequence[QueueEntry]) -> None:
        self._call("extend")
        self._check(entries)
        in_force, queue = self.published[-1]
        assert version == in_force
        queue.extend(entries)

    def _check(self, entries: Sequence[QueueEntry]) -> None:
        """Refuse what nobody could answer, as every platform's connector does."""
        for entry in entries:
            if entry.suggestion is not None:
                check_labels(self.labeling, entry.suggestion.value)

    def retire(self, version: str) -> None:
        self._call("retire")
        self.retired.append(version)

    def generations(self) -> tuple[str, ...]:
        return tuple(version for version, _ in self.published if version not in self.retired)

    def authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        return False

    def ask_again(self, remote_ids: Sequence[str], opinions: int) -> None:
        self._call("ask_again")
        self.asked_again.update(dict.fromkeys(remote_ids, opinions))

    def connect(self, backend: BackendAddress) -> None:
        self._call("connect")
        self.connected.append(backend)

    def diagnose(self, backend: BackendAddress | None = None) -> Iterator[Finding]:
        return iter(())

    def close(self) -> None:
        pass
