"""A platform in memory: for tests of what runs on a platform, and for failures that a real one can't be asked to have.

It passes the contract of every connector (tests/contract). Annotators are methods of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from typing_extensions import override

from nextlabel.connectors.base import (
    NO_ANSWERS,
    BackendAddress,
    Connector,
    Finding,
    Progress,
    ProjectRef,
    Survey,
    no_progress,
)
from nextlabel.connectors.bulk import rejected
from nextlabel.connectors.errors import LabelingMismatch, PlatformUnavailable
from nextlabel.connectors.image_addresses import AS_THEY_ARE, ImageAddresses, image_fields, with_images
from nextlabel.connectors.records import (
    Annotation,
    AnnotationStatus,
    Changes,
    Found,
    GivenAnswer,
    Hint,
    Labeling,
    QueueEntry,
    Record,
    RemoteRecord,
    Unreadable,
    Value,
    can_be_given,
    check_labels,
)

EVENTS = frozenset({"annotation.changed", "record.deleted"})


@dataclass
class MemoryConnector(Connector):
    """A Connector. ``fail_next``: names of methods -> what their next call raises; ``down`` makes all of them fail.

    What was done to it can be looked at: ``pushed`` records by remote id, ``answers`` by id, ``published`` generations
    with their entries, ``retired`` ones, ``asked_for`` annotations, ``asked_again`` and ``settled`` records. ``odd``:
    annotations that can't be read, by id. It ``refuses`` some records, uid -> why: to take them, and to give them a
    place. ``restored``: whether it is as it was at an earlier time. ``accounts_made``: for people who answered
    elsewhere, id -> name.
    """

    labeling: Labeling
    overlap: int = 1
    down: bool = False
    fail_next: dict[str, Exception] = field(default_factory=dict)
    pushed: dict[str, Record] = field(default_factory=dict)
    answers: dict[str, Annotation] = field(default_factory=dict)
    published: list[tuple[str, list[QueueEntry]]] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    connected: list[BackendAddress] = field(default_factory=list)
    has_none: bool = False
    config: str = ""
    live_predictions: bool = True
    held: list[str] = field(default_factory=list)
    people: dict[str, str] = field(default_factory=dict)
    asked_again: dict[str, int] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    made_at: dict[str, datetime] = field(default_factory=dict)
    unhooked: tuple[str, ...] = ()
    records_read: int = 0
    asked_for: list[str] = field(default_factory=list)
    odd: dict[str, Unreadable] = field(default_factory=dict)
    replace_suggestions: bool = False
    left: set[str] = field(default_factory=set)
    detached: list[dict[str, Any]] = field(default_factory=list)
    refuses: dict[str, str] = field(default_factory=dict)
    restored: bool = False
    accounts_made: dict[str, str] = field(default_factory=dict)
    images: ImageAddresses = AS_THEY_ARE

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self._moved: set[str] = set()
        self._clock = datetime(2026, 1, 1, tzinfo=UTC)

    # -- what people do ----------------------------------------------------------------------------------------------

    def annotate(
        self,
        remote_id: str,
        label: str | Value | None,
        annotator: str = "ann",
        status: AnnotationStatus = AnnotationStatus.SUBMITTED,
    ) -> Annotation:
        """Answer a record, a second after the answer before."""
        one = self._annotation(remote_id, label, annotator, status)
        self.answers[one.id] = one
        return one

    def annotate_all(self, labels: Mapping[str, str | Value]) -> None:
        """Remote id -> answer, all at once: no poll finds some of them."""
        submitted = AnnotationStatus.SUBMITTED
        made = [self._annotation(remote_id, label, "ann", submitted) for remote_id, label in labels.items()]
        self.answers.update({one.id: one for one in made})

    def take_back(self, annotation_id: str) -> None:
        """Delete an answer."""
        del self.answers[annotation_id]

    def delete(self, remote_id: str) -> None:
        """Delete a record with its answers."""
        del self.pushed[remote_id]
        self.answers = {number: one for number, one in self.answers.items() if one.remote_id != remote_id}

    def correct(self, remote_id: str, **fields: str) -> None:
        """Change what a record says."""
        self._moved.add(remote_id)
        record = self.pushed[remote_id]
        self.pushed[remote_id] = replace(record, fields={**record.fields, **fields})

    def put(self, remote_id: str, record: Record) -> None:
        """Somebody else adds a record; under the id of a deleted one, it is another."""
        self._clock += timedelta(seconds=1)
        self._moved.add(remote_id)
        self.pushed[remote_id], self.made_at[remote_id] = record, self._clock

    def next(self, annotator: str = "ann") -> str | None:
        """The record that ``annotator`` gets: the best of the queue that wants one more answer, and not theirs."""
        given: dict[str, set[str]] = {}
        for one in list(self.answers.values()):
            given.setdefault(one.remote_id, set()).add(one.annotator)
        queue = [entry.remote_id for entry in self.published[-1][1]] if self.published else []
        for remote_id in dict.fromkeys([*queue, *self.pushed]):
            people, wanted = given.get(remote_id, set()), self.asked_again.get(remote_id, self.overlap)
            open_ = remote_id in self.pushed and remote_id not in self.settled
            if open_ and annotator not in people and len(people) < wanted:
                return remote_id
        return None

    def queue(self) -> list[str]:
        """Remote ids that annotators get, in order: the generation in force without what is answered."""
        done = {one.remote_id for one in self.answers.values()}
        return [entry.remote_id for entry in self.published[-1][1] if entry.remote_id not in done]

    def _annotation(
        self, remote_id: str, label: str | Value | None, annotator: str, status: AnnotationStatus
    ) -> Annotation:
        self._clock += timedelta(seconds=1)
        value = (label,) if isinstance(label, str) else label or ()
        return Annotation(f"a{next(self._ids)}", remote_id, annotator, value, status, self._clock)

    # -- Connector ---------------------------------------------------------------------------------------------------

    project = ProjectRef("memory", "memory://", "1", "memory", "http://memory.invalid/1")
    """Always the same one."""

    @override
    def expect(self, labeling: Labeling) -> None:
        if labeling != self.labeling:
            raise LabelingMismatch(f"the project asks {self.labeling.name!r} otherwise")

    def _call(self, name: str) -> None:
        if self.down:
            raise PlatformUnavailable("memory is down; start it")
        if name in self.fail_next:
            raise self.fail_next.pop(name)

    @override
    def annotator_names(self) -> Mapping[str, str]:
        self._call("annotator_names")
        return {one.annotator: f"{one.annotator}@example.com" for one in self.answers.values()}

    @override
    def survey(self) -> Survey:
        self._call("survey")
        return Survey(len(self.pushed), len({one.remote_id for one in self.answers.values()}), ("nothing",))

    @override
    def push(
        self,
        records: Sequence[Record],
        progress: Progress = no_progress,
        answers: Mapping[str, Sequence[GivenAnswer]] = NO_ANSWERS,
    ) -> dict[str, str]:
        """Remote ids tell the uid."""
        self._call("push")
        taken = [record for record in records if record.uid not in self.refuses]
        for record in taken:
            self.pushed.setdefault(f"r-{record.uid}", with_images(record, self.labeling, self.images.shown))
            self._moved.add(f"r-{record.uid}")
        progress(len(taken), len(records))
        found = {record.uid: f"r-{record.uid}" for record in taken}
        if len(taken) < len(records):
            refused = {record.uid: self.refuses[record.uid] for record in records if record.uid in self.refuses}
            raise rejected(refused, found, len(records))
        return found

    @override
    def accounts(self) -> Mapping[str, str]:
        """The owner, those who answered, and the ``accounts_made``: they are called by their ids."""
        return {"owner": "owner"} | {one.annotator: one.annotator for one in self.answers.values()} | self.accounts_made

    @override
    def own_account(self) -> str:
        """Always the same one."""
        return "owner"

    @override
    def make_accounts(self, names: Collection[str]) -> Mapping[str, str]:
        self._call("make_accounts")
        self.accounts_made.update({name: name for name in names})
        return {name: name for name in names}

    @override
    def give(self, answers: Sequence[GivenAnswer], given: Callable[[Changes], object]) -> dict[str, str]:
        """One at a time; ``fail_next["given"]`` strikes between the first being there and its being told."""
        refused = {}
        for one in answers:
            self._call("give")
            if one.remote_id not in self.pushed or not can_be_given(self.labeling, one.value):
                refused[one.key] = "there is no such record, or no such answer"
                continue
            theirs = (had for had in self.answers.values() if had.remote_id == one.remote_id)
            known = next((had for had in theirs if had.annotator == one.annotator), None)
            known = known or self.annotate(one.remote_id, one.value, one.annotator, one.status)
            self._call("given")
            given(Changes((known,)))
        return refused

    @override
    def in_hand(self) -> list[str]:
        """``held``."""
        return self.held

    @override
    def links(self) -> Mapping[str, str]:
        """``people``."""
        self._call("links")
        return dict(self.people)

    @override
    def records(self, *, newest_first: bool = False) -> Iterator[RemoteRecord]:
        self._call("records")
        for remote_id, record in list(self.pushed.items())[:: -1 if newest_first else 1]:
            self.records_read += 1
            yield self._remote(remote_id, record)

    @override
    def image_addresses(self, most: int) -> Sequence[str]:
        newest = list(self.pushed.values())[::-1][:most]
        return [record.fields[name] for record in newest for name in image_fields(self.labeling)]

    @override
    def turn_images(self, progress: Progress = no_progress) -> int:
        turned = {
            remote_id: with_images(record, self.labeling, lambda one: self.images.shown(self.images.known(one)))
            for remote_id, record in self.pushed.items()
        }
        changed = sum(turned[remote_id] is not record for remote_id, record in self.pushed.items())
        self.pushed = turned
        return changed

    def _remote(self, remote_id: str, record: Record) -> RemoteRecord:
        record = with_images(record, self.labeling, self.images.known)
        return RemoteRecord(remote_id, record, made_at=self.made_at.get(remote_id))

    @override
    def changes(self, cursor: str | None) -> Changes:
        """Each poll lists everything."""
        self._call("changes")
        answers = tuple(self.answers.values())  # in one step, as others annotate meanwhile
        here = [self._remote(*item) for item in list(self.pushed.items()) if cursor and item[0] in self._moved]
        found = replace(self._listed(answers, self.pushed), cursor="now")
        return replace(found, records=tuple(here), total=len(self.pushed))

    def _listed(self, answers: Sequence[Annotation], records: Iterable[str] = ()) -> Changes:
        found: dict[str, list[Found]] = {remote_id: [] for remote_id in list(records)}
        every: list[Found] = [*answers, *self.odd.values()]
        for one in every:
            found.setdefault(one.remote_id, []).append(one)
        return Changes.listed(found)

    @override
    def annotated(self) -> Iterator[Changes]:
        """One page."""
        self._call("annotated")
        yield self._listed(tuple(self.answers.values()))

    @override
    def annotations(self, wanted: Mapping[str, str | None]) -> dict[str, Found | None]:
        self._call("annotations")
        self.asked_for.extend(wanted)
        found = {number: self.answers.get(number) or self.odd.get(number) for number in wanted}
        elsewhere = {number for number, one in found.items() if one and wanted[number] not in (None, one.remote_id)}
        return {number: None if number in elsewhere else one for number, one in found.items()}

    @override
    def departed(self, annotators: Collection[str]) -> Collection[str]:
        """Those who have ``left``."""
        return self.left.intersection(annotators)

    @override
    def has_gone_back(self, newest: Sequence[Annotation]) -> bool:
        """Once somebody has ``restored`` a backup of it."""
        return self.restored

    @override
    def missing(self, remote_ids: Iterable[str]) -> tuple[str, ...]:
        self._call("missing")
        return tuple(remote_id for remote_id in remote_ids if remote_id not in self.pushed)

    @override
    def parse_event(self, body: Mapping[str, Any]) -> Hint:
        """``{"event": "annotation.changed", "annotation": id, "record": id}``, and record.deleted."""
        event, annotation, record = (body.get(name) for name in ("event", "annotation", "record"))
        if not isinstance(event, str):
            raise ValueError("malformed: there is no event")
        if event not in EVENTS:
            return Hint()
        if not isinstance(record, str) or (event == "annotation.changed" and not isinstance(annotation, str)):
            raise ValueError("malformed: the event names nothing")
        if event == "record.deleted":
            return Hint(records=frozenset({record}))
        return Hint(annotations={str(annotation): record})

    @override
    def publish(self, version: str, entries: Sequence[QueueEntry]) -> None:
        """Raises ValueError for ranks with gaps, or an empty queue."""
        self._call("publish")
        self._check(entries)
        if not entries or [entry.rank for entry in entries] != list(range(len(entries))):
            raise ValueError("a generation has entries, ranked from 0 without gaps")
        self.published.append((version, list(entries)))
        self._call("published")

    @override
    def extend(self, version: str, entries: Sequence[QueueEntry]) -> None:
        """Raises ValueError unless ``version`` is in force."""
        self._call("extend")
        self._check(entries)
        in_force, queue = self.published[-1]
        if version != in_force:
            raise ValueError(f"{version} is not in force; {in_force} is")
        queue.extend(entries)

    def _check(self, entries: Sequence[QueueEntry]) -> None:
        """Refuse what nobody could answer, as every platform's connector does."""
        for entry in entries:
            if entry.suggestion is not None:
                check_labels(self.labeling, entry.suggestion.value)

    @override
    def refused(self) -> dict[str, str]:
        """Of those that were published last, what it ``refuses``."""
        entries = self.published[-1][1] if self.published else []
        uids = {
            entry.remote_id: self.pushed[entry.remote_id].uid for entry in entries if entry.remote_id in self.pushed
        }
        return {remote_id: self.refuses[uid] for remote_id, uid in uids.items() if uid in self.refuses}

    @override
    def retire(self, version: str) -> None:
        self._call("retire")
        self.retired.append(version)

    @override
    def generations(self) -> tuple[str, ...]:
        return tuple(version for version, _ in self.published if version not in self.retired)

    @override
    def authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        """It sends nothing."""
        return False

    @override
    def ask_again(self, remote_ids: Sequence[str], opinions: int) -> None:
        self._call("ask_again")
        self.asked_again.update(dict.fromkeys(remote_ids, opinions))
        self.settled.difference_update(remote_ids)

    @override
    def settle(self, remote_ids: Sequence[str]) -> None:
        self._call("settle")
        self.settled.update(remote_ids)

    @override
    def connect(self, backend: BackendAddress) -> None:
        self._call("connect")
        self.connected.append(backend)

    @override
    def repair(self, backend: BackendAddress) -> tuple[str, ...]:
        """What is ``unhooked``."""
        self._call("repair")
        gone, self.unhooked = self.unhooked, ()
        return gone

    @override
    def settings(self) -> Mapping[str, Any]:
        """The overlap."""
        return {"overlap": self.overlap}

    @override
    def detach(
        self, before: Mapping[str, Any], asked_again: Collection[str], progress: Progress = no_progress
    ) -> Sequence[str]:
        self._call("detach")
        self.detached.append(dict(before))
        self.published.clear()
        self.connected.clear()
        return ("everything removed",)

    @override
    def diagnose(self, backend: BackendAddress | None = None) -> Iterator[Finding]:
        if self.down:
            yield Finding.error("reachable", "memory is down", "start it")
        else:
            yield Finding.ok("reachable", "memory answers")

    @override
    def close(self) -> None:
        """There is nothing to release."""
