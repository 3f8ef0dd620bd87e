"""A platform, a lossy and shuffling wire, a poller, and the log between them: the log must always be right."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from nextlabel.backend.store import Store
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes

START = datetime(2026, 1, 1, tzinfo=UTC)
RECORDS = ("t0", "t1", "t2")


class Poll:
    """What a poll saw, and the head of the log from before it looked."""

    def __init__(self, changes: Changes, as_of: int) -> None:
        self.changes, self.as_of = changes, as_of


class Wire(RuleBasedStateMachine):
    """``truth`` is the platform. ``heard`` is what an honest reader may conclude from what was delivered so far."""

    events = Bundle("events")
    polls = Bundle("polls")

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nextlabel-test-"))
        self.store = Store.open(self.folder / "store.db")
        self.truth: dict[str, Annotation] = {}
        self.alive = set(RECORDS)
        self.clock = 0
        # the reader's own notes
        self.answers: dict[str, Annotation] = {}
        self.arrived: dict[str, int] = {}
        self.lifted: dict[str, int] = {}
        self.deleted: set[str] = set()
        self.absent: set[str] = set()
        self.gone: set[str] = set()

    def _tick(self) -> datetime:
        self.clock += 1
        return START + timedelta(seconds=self.clock)

    # -- annotators work; each act makes a webhook event, which may be delivered late, often, or never --

    @rule(target=events, record=st.sampled_from(RECORDS), label=st.sampled_from("abc"), skip=st.booleans())
    def create(self, record: str, label: str, skip: bool) -> Changes:
        if record not in self.alive:
            return Changes()
        status = AnnotationStatus.SKIPPED if skip else AnnotationStatus.SUBMITTED
        one = Annotation(str(self.clock), record, "1", () if skip else (label,), status, self._tick())
        self.truth[one.id] = one
        return Changes(annotations=(one,))

    @rule(target=events, data=st.data(), label=st.sampled_from("abc"))
    def update(self, data: st.DataObject, label: str) -> Changes:
        if not self.truth:
            return Changes()
        old = self.truth[data.draw(st.sampled_from(sorted(self.truth)))]
        one = Annotation(old.id, old.remote_id, "2", (label,), AnnotationStatus.SUBMITTED, self._tick())
        self.truth[one.id] = one
        return Changes(annotations=(one,))

    @rule(target=events, data=st.data())
    def delete(self, data: st.DataObject) -> Changes:
        if not self.truth:
            return Changes()
        chosen = data.draw(st.sampled_from(sorted(self.truth)))
        del self.truth[chosen]
        return Changes(deleted_annotations=(chosen,))

    @rule(target=events, record=st.sampled_from(RECORDS))
    def delete_record(self, record: str) -> Changes:
        self.alive.discard(record)
        self.truth = {id: one for id, one in self.truth.items() if one.remote_id != record}
        return Changes(deleted_records=(record,))

    # -- the wire --

    @rule(event=events)
    def deliver(self, event: Changes) -> None:
        self.store.append(event)
        self._note(event)

    @rule(first=events, second=events)
    def deliver_together(self, first: Changes, second: Changes) -> None:
        both = Changes(
            annotations=first.annotations + second.annotations,
            deleted_annotations=first.deleted_annotations + second.deleted_annotations,
            deleted_records=first.deleted_records + second.deleted_records,
        )
        self.store.append(both)
        self._note(both)

    def _note(self, event: Changes) -> None:
        for one in event.annotations:
            known = self.answers.get(one.id)
            if known is None or one.updated_at > known.updated_at:
                self.answers[one.id] = one
            if known is None:
                self.arrived[one.id] = self.store.head()
        self.deleted |= set(event.deleted_annotations)
        self.gone |= set(event.deleted_records)

    # -- the poller: looks, then writes down what it saw; much may happen in between --

    @rule(target=polls)
    def look(self) -> Poll:
        listed = {record: frozenset(i for i, o in self.truth.items() if o.remote_id == record) for record in self.alive}
        dead = tuple(record for record in RECORDS if record not in self.alive)
        seen = Changes(annotations=tuple(self.truth.values()), deleted_records=dead, complete=listed)
        return Poll(seen, self.store.head())

    @rule(poll=consumes(polls))
    def write_down(self, poll: Poll) -> None:
        known = {id for id, head in self.arrived.items() if max(head, self.lifted.get(id, 0)) <= poll.as_of}
        self.store.append(poll.changes, source="poll", as_of=poll.as_of)
        self._note(poll.changes)
        listed = {one.id for one in poll.changes.annotations}
        for id, one in self.answers.items():
            if id in listed:
                if id in self.absent:
                    self.absent.remove(id)
                    self.lifted[id] = self.store.head()
            elif id in known and one.remote_id in poll.changes.complete and self._shown(one):
                self.absent.add(id)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder / "store.db")

    def _shown(self, one: Annotation) -> bool:
        return not (one.id in self.deleted or one.id in self.absent or one.remote_id in self.gone)

    # -- what must hold --

    @invariant()
    def the_store_says_what_was_heard(self) -> None:
        expected = {id: one for id, one in self.answers.items() if self._shown(one)}
        assert {one.id: one for one in self.store.answers()} == expected
        touched = self.store.touched(0)
        assert {one.id: one for answers in touched.values() for one in answers} == expected

    @rule()
    def an_undisturbed_poll_makes_all_equal_to_the_platform(self) -> None:
        poll = self.look()
        self.write_down(poll)
        assert {one.id: one for one in self.store.answers()} == self.truth
        head = self.store.head()
        assert self.store.append(poll.changes, source="poll", as_of=head) == 0

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


Wire.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_any_interleaving = Wire.TestCase
