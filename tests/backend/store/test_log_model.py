"""A platform, readers that write down late and in any order what they read, and the log: it must always be right."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from nextlabel.backend.store import Store
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes
from tests.size import count

START = datetime(2026, 1, 1, tzinfo=UTC)
RECORDS = ("t0", "t1", "t2")


@dataclass
class Reading:
    """What a reader saw, and the head of the log from before it looked: a listing, or annotations asked for."""

    as_of: int
    listed: Changes | None = None
    asked: dict[str, Annotation | None] | None = None


class Readers(RuleBasedStateMachine):
    """``truth`` is the platform now, ``versions`` all that it ever had."""

    readings = Bundle("readings")

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nextlabel-test-"))
        self.store = Store.open(self.folder / "store.db")
        self.truth: dict[str, Annotation] = {}
        self.versions: set[Annotation] = set()
        self.alive = set(RECORDS)
        self.next_id = 0
        self.clock = 0
        self.logged: dict[str, datetime] = {}  # the newest version of each annotation that the log showed
        self.backup()

    def _put(self, number: str, record: str, label: str, status: AnnotationStatus) -> None:
        self.clock += 1
        value = () if status is AnnotationStatus.SKIPPED else (label,)
        one = Annotation(number, record, "1", value, status, START + timedelta(seconds=self.clock))
        self.truth[number] = one
        self.versions.add(one)

    def backup(self) -> None:
        self.kept = dict(self.truth), set(self.alive), self.next_id

    # -- annotators work --

    @rule(record=st.sampled_from(RECORDS), label=st.sampled_from("abc"), status=st.sampled_from(AnnotationStatus))
    def create(self, record: str, label: str, status: AnnotationStatus) -> None:
        if record in self.alive:
            self._put(str(self.next_id), record, label, status)
            self.next_id += 1

    @rule(data=st.data(), label=st.sampled_from("abc"))
    def update(self, data: st.DataObject, label: str) -> None:
        if self.truth:
            old = self.truth[data.draw(st.sampled_from(sorted(self.truth)))]
            self._put(old.id, old.remote_id, label, AnnotationStatus.SUBMITTED)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if self.truth:
            del self.truth[data.draw(st.sampled_from(sorted(self.truth)))]

    @rule(record=st.sampled_from(RECORDS))
    def delete_record(self, record: str) -> None:
        self.alive.discard(record)
        self.truth = {number: one for number, one in self.truth.items() if one.remote_id != record}

    # -- readers look; much may happen before they write down what they saw --

    @rule(target=readings, records=st.sets(st.sampled_from(RECORDS)))
    def look(self, records: set[str]) -> Reading:
        return self._look(records)

    def _look(self, records: set[str]) -> Reading:
        here = tuple(one for one in self.truth.values() if one.remote_id in records)
        complete = {
            record: frozenset(one.id for one in here if one.remote_id == record) for record in records & self.alive
        }
        return Reading(self.store.head(), listed=Changes(here, complete))

    @rule(target=readings, data=st.data())
    def ask(self, data: st.DataObject) -> Reading:
        ever = sorted({one.id for one in self.versions})
        wanted = data.draw(st.sets(st.sampled_from(ever))) if ever else set()
        return Reading(self.store.head(), asked={number: self.truth.get(number) for number in wanted})

    @rule(reading=consumes(readings))
    def write_down(self, reading: Reading) -> None:
        if reading.listed is not None:
            self.store.append(reading.listed, "poll", reading.as_of)
            self.store.doubts(reading.listed, reading.as_of)
        if reading.asked is not None:
            self.store.settle(reading.asked, "poll", reading.as_of)

    @rule()
    def look_for_records(self) -> None:
        self.store.mark_gone(set(RECORDS) - self.alive)
        self.store.mark_back(self.alive)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder / "store.db")

    # -- what must hold --

    def _shown(self) -> dict[str, Annotation]:
        answers = [one for here in self.store.touched(0).values() for one in here]
        assert len({one.id for one in answers}) == len(answers), "one counts twice"
        return {one.id: one for one in answers}

    @invariant()
    def the_log_shows_nothing_that_never_was(self) -> None:
        shown = self._shown()
        assert set(shown.values()) <= self.versions
        drafts = {one.id for one in shown.values() if one.status is AnnotationStatus.DRAFT}
        assert [one.id for one in self.store.answers()] == [
            number for number in shown_in_order(self.store) if number not in drafts
        ]

    @rule()
    def a_comparison_makes_all_equal_to_the_platform(self) -> None:
        self.look_for_records()
        head = self.store.head()
        everything = self._look(set(RECORDS)).listed
        assert everything is not None
        self.store.append(everything, "poll", head)
        doubts = self.store.doubts(everything, head)
        unlisted = [one.id for one in self.store.answers(drafts=True, until=head) if one.id not in self.truth]
        self.store.settle({number: self.truth.get(number) for number in (*doubts, *unlisted)}, "poll", head)
        assert self._shown() == self.truth
        assert self.store.append(everything) == 0
        assert self.store.doubts(everything) == {}

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


def shown_in_order(store: Store) -> list[str]:
    return [one.id for one in store.answers(drafts=True)]


class Steady(Readers):
    """A platform that only goes forwards."""

    @invariant()
    def what_the_platform_still_has_is_never_lost_nor_turned_back(self) -> None:
        shown = self._shown()
        for number, when in self.logged.items():
            if number in self.truth:
                assert number in shown, "hidden, though the platform has it"
                assert shown[number].updated_at >= when
        self.logged |= {number: one.updated_at for number, one in shown.items()}


class Restored(Readers):
    """A platform that is restored from backups, and gives the same ids away again."""

    @rule()
    def backs_up(self) -> None:
        self.backup()

    @rule()
    def restore(self) -> None:
        truth, alive, self.next_id = self.kept
        self.truth, self.alive = dict(truth), set(alive)


for machine in (Steady, Restored):
    machine.TestCase.settings = settings(max_examples=count(60, fast=10, long=300), stateful_step_count=30)
test_any_interleaving = Steady.TestCase
test_any_interleaving_with_restores = Restored.TestCase
