"""Answers from elsewhere, on a platform in memory: planned before anything is changed, and there once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.loop.answer_import import AnswerImport
from nextlabel.backend.loop.leadership import Leadership
from nextlabel.backend.loop.record_import import ImportPlan, take_up
from nextlabel.backend.pool.export import answer_rows
from nextlabel.backend.queue.publishing import QueueSizes
from nextlabel.backend.recipe.existing import ExistingAnswers
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.answer_plan import AnswerPlan, note_plan, plan_answers, refuse_missing
from nextlabel.backend.service.existing_answers import carry_out, give_waiting, take_existing
from nextlabel.backend.store import Rule, Store
from nextlabel.connectors.base import no_progress
from nextlabel.connectors.errors import ConfigError, PlatformUnavailable
from nextlabel.connectors.records import AnnotationStatus, Changes, Labeling, LabelKind, Record, Span
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import LABELS, ServiceFactory
from tests.backend.running import settled, started
from tests.waiting import wait_for

RULE = Rule(("text",))
PLAN = ImportPlan(RULE, 0.2, 500)


def recipe(**other: object) -> Recipe:
    values = {"name": "animals", "labels": LABELS, "data": "animals.csv", "encoder": "hashing", **other}
    return Recipe.model_validate(values)


def votes(folder: Path, rows: Sequence[tuple[object, ...]], head: str = "uid,annotator,label") -> str:
    path = folder / "votes.csv"
    path.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return str(path)


def planned(store: Store, platform: MemoryConnector, file: str, **options: object) -> AnswerPlan:
    spec = ExistingAnswers.model_validate({"file": file, "make_accounts": True, **options})
    return plan_answers(recipe(), store, platform, spec, RULE)


def imported(store: Store, platform: MemoryConnector, file: str, **options: object) -> AnswerPlan:
    plan = planned(store, platform, file, **options)
    carry_out(plan, store, platform, Leadership(store), PLAN, no_progress)
    return plan


def on_platform(platform: MemoryConnector) -> dict[tuple[str, str], object]:
    found: dict[tuple[str, str], object] = {
        (one.remote_id, one.annotator): one.value for one in platform.answers.values()
    }
    assert len(found) == len(platform.answers), "nobody has two answers about one record"
    return found


def in_log(store: Store) -> dict[tuple[str, str], object]:
    return {(one.remote_id, one.annotator): one.value for one in store.answers(drafts=True)}


MANY = [(f"u{i}", who, LABELS[(i + shift) % 3]) for shift, who in enumerate(("anna", "ben")) for i in range(30)]


def test_they_are_there_once_however_often_they_are_imported(
    store: Store, platform: MemoryConnector, tmp_path: Path
) -> None:
    first = imported(store, platform, votes(tmp_path, MANY))
    assert (len(first.answers), first.there, first.found) == (60, 0, 60)
    assert len(on_platform(platform)) == 60
    assert in_log(store) == on_platform(platform)
    again = imported(store, platform, votes(tmp_path, MANY))
    assert (len(again.answers), again.there) == (0, 60)
    assert len(platform.answers) == 60
    assert store.import_counts().there == 60
    assert sum(1 for row in store.log_rows() if row.kind == "answer") == 60


@pytest.mark.parametrize("strikes", ["give", "given", "push"])
def test_whoever_is_stopped_midway_leaves_the_rest_to_the_next(
    store: Store, platform: MemoryConnector, tmp_path: Path, strikes: str
) -> None:
    """After the answer is on the platform and before we know, too."""
    plan = planned(store, platform, votes(tmp_path, MANY))
    note_plan(plan, store, platform)
    platform.fail_next[strikes] = RuntimeError("struck")
    with pytest.raises(RuntimeError, match="struck"):
        give_waiting(store, platform, Leadership(store), no_progress)
    again = imported(store, platform, votes(tmp_path, MANY))
    assert len(again.answers) == 0
    assert len(on_platform(platform)) == 60
    assert in_log(store) == on_platform(platform)
    assert store.import_counts().waiting == 0


def test_a_summary_comes_before_anything_is_changed(store: Store, platform: MemoryConnector, tmp_path: Path) -> None:
    rows = [
        ("u1", "anna", "cat"),
        ("u1", "anna", "oak"),
        ("u2", "anna", "no such label"),
        ("u3", "anna", ""),
        ("new", "anna", "cat"),
        ("u4", "ben", "cat"),
    ]
    plan = planned(store, platform, votes(tmp_path, rows))
    assert [(one.number, one.reason) for one in plan.refused] == [
        (4, "not in the project's labeling config: no such label; it has cat, oak, pebble"),
        (6, "it has no 'text', and no id that is known here"),
    ]
    assert (plan.found, plan.replaced, plan.reading.unanswered, plan.known) == (5, [2], 1, {"u1", "u4"})
    told = "\n".join(plan.lines())
    assert "5 answers of 2 people, about 2 records: 2 known, 0 new" in told
    assert "2 lines are refused" in told
    assert "line 6: it has no 'text'" in told
    assert "2 people get an account: anna, ben" in told
    assert not platform.answers
    assert not platform.accounts_made
    assert store.import_counts().answers == 0


def test_people_without_an_account_are_told_and_nothing_is_changed(
    store: Store, platform: MemoryConnector, tmp_path: Path
) -> None:
    file = votes(tmp_path, [("u1", "anna", "cat"), ("u2", "me", "cat")])
    plan = planned(store, platform, file, make_accounts=False, accounts={"me": "owner"})
    with pytest.raises(ConfigError, match=r"1 person has no account on the platform: anna\. Nothing was changed"):
        refuse_missing(plan)
    with pytest.raises(ConfigError, match="there is no account 'nobody'"):
        planned(store, platform, file, accounts={"me": "nobody"})
    both = imported(store, platform, file, make_accounts=False, accounts={"me": "owner", "anna": "OWNER"})
    assert both.people.accounts == {"anna": "owner", "me": "owner"}
    assert set(in_log(store)) == {("r-u1", "owner"), ("r-u2", "owner")}


def test_answers_of_nobody_named_are_those_of_the_key(store: Store, platform: MemoryConnector, tmp_path: Path) -> None:
    imported(store, platform, votes(tmp_path, [("u1", "cat")], "uid,label"))
    assert on_platform(platform) == {("r-u1", "owner"): ("cat",)}


def test_records_are_known_by_what_they_show_and_new_ones_are_added(
    store: Store, platform: MemoryConnector, tmp_path: Path, records: list[Record]
) -> None:
    rows = [(f'"{records[4].fields["text"]}"', "oak"), ("never seen before", "cat")]
    file = votes(tmp_path, rows, "text,label")
    only = planned(store, platform, file, known_only=True)
    assert [one.number for one in only.refused] == [3]
    plan = imported(store, platform, file)
    assert (plan.known, len(plan.new)) == ({"u4"}, 1)
    [added] = plan.new.values()
    assert added.uid == added.content_hash()
    assert on_platform(platform) == {("r-u4", "owner"): ("oak",), (f"r-{added.uid}", "owner"): ("cat",)}
    assert (store.size(), len(planned(store, platform, file).answers)) == (61, 0)


def test_nothing_is_in_the_audit_slice_unless_said(store: Store, platform: MemoryConnector, tmp_path: Path) -> None:
    audit = [item.record.uid for item in store.records() if item.audit]
    assert len(audit) > 3
    imported(store, platform, votes(tmp_path, [(audit[0], "cat")], "uid,label"))
    imported(store, platform, votes(tmp_path, [(audit[1], "cat")], "uid,label"), audit=True)
    sides = {item.record.uid: item.audit for item in store.records()}
    assert (sides[audit[0]], sides[audit[1]]) == (False, True)


def test_what_was_answered_blind_stays_as_it_is(store: Store, platform: MemoryConnector, tmp_path: Path) -> None:
    """A record of the audit slice that people answered there takes no answer from elsewhere, unless said."""
    uid = next(item.record.uid for item in store.records() if item.audit)
    store.set_remote(platform.push([item.record for item in store.records()]))
    store.append(Changes((platform.annotate(f"r-{uid}", "oak", "carl"),)))
    file = votes(tmp_path, [(uid, "anna", "cat"), (uid, "carl", "cat")])
    plan = planned(store, platform, file)
    assert [(one.number, "audit slice" in one.reason) for one in plan.refused] == [(2, True)]
    assert plan.otherwise == [3], "somebody's own answer there stays"
    assert len(planned(store, platform, file, audit=True).answers) == 1


def test_a_new_project_holds_out_some_where_all_is_labelled(platform: MemoryConnector, tmp_path: Path) -> None:
    """The slice is drawn after the answers are known: what has none can be shown blind."""
    texts = [Record(f"n{i}", {"text": f"text {i}"}) for i in range(300)]
    rows = [(one.uid, LABELS[i % 3]) for i, one in enumerate(texts)]
    with Store.open(tmp_path / "new.sqlite") as new:
        new.add_records(texts)
        imported(new, platform, votes(tmp_path, rows, "uid,label"))
        sides = [(item.audit, item.held_out) for item in new.records()]
    assert not any(audit for audit, _ in sides)
    assert 30 < sum(held for _, held in sides) < 100


def test_the_log_tells_them_from_answers_of_the_loop(store: Store, platform: MemoryConnector, tmp_path: Path) -> None:
    rows = [("u1", "anna", "cat", "2024-05-01T10:00:00"), ("u2", "anna", "oak", "")]
    imported(store, platform, votes(tmp_path, rows, "uid,annotator,label,time"))
    platform.annotate("r-u3", "pebble", "carl")
    first = next(one for one in platform.answers.values() if one.remote_id == "r-u2")
    platform.answers[first.id] = replace(first, value=("cat",), updated_at=datetime(2030, 1, 1, tzinfo=UTC))
    take_up(store, platform, PLAN)
    store.set_remote({"u3": "r-u3"})
    told = {row["uid"]: (row["imported"], row["answered_at"][:10]) for row in answer_rows(store)}
    assert told["u1"] == (True, "2024-05-01")
    assert told["u2"][0] is False, "it was changed on the platform since"
    assert told["u3"][0] is False


@pytest.mark.parametrize("window", [None, 10])
def test_a_running_service_gives_them_and_learns(
    make_service: ServiceFactory, store: Store, platform: MemoryConnector, tmp_path: Path, window: int | None
) -> None:
    """The command notes them; records that are new, or wait behind the window, are pushed."""
    service = started(make_service, platform, sizes=QueueSizes(5, 5, window))
    leadership = Leadership(store)
    rows = [*MANY, ("u50", "anna", "cat")]
    plan = planned(store, platform, votes(tmp_path, rows))
    carry_out(plan, store, platform, leadership, PLAN, no_progress)
    assert len(on_platform(platform)) == 61
    wait_for(lambda: service.status().imported.get("there") == 61 and settled(service, store))
    assert in_log(store) == on_platform(platform)
    status = service.status()
    assert (status.labelled, status.audit_labelled) == (31, 0)
    assert status.imported == {"answers": 61, "there": 61, "waiting": 0, "refused": 0}
    with leadership.kept() as leads:
        assert not leads, "the service led all the time"


def test_they_tell_nothing_about_the_clock_of_the_platform(
    store: Store, platform: MemoryConnector, tmp_path: Path
) -> None:
    """Label Studio dates an answer that came with its task later than the task: no backup was restored."""
    imported(store, platform, votes(tmp_path, MANY))
    assert store.newest_answers(50) == []
    live = platform.annotate("r-u1", "oak", "carl")
    store.append(Changes((live,)))
    assert [one.id for one in store.newest_answers(50)] == [live.id]


def test_what_the_platform_does_not_take_is_told_and_stops_nothing(
    store: Store, platform: MemoryConnector, tmp_path: Path
) -> None:
    platform.refuses["u2"] = "too long"
    imported_now = [("u1", "cat"), ("u2", "cat")]
    plan = planned(store, platform, votes(tmp_path, imported_now, "uid,label"))
    note_plan(plan, store, platform)
    AnswerImport(store, platform, lambda changes, as_of: store.append(changes)).run()
    assert set(on_platform(platform)) == {("r-u1", "owner")}
    platform.delete("r-u1")
    assert store.import_counts().waiting == 1, "the one whose record is refused"
    note_plan(planned(store, platform, votes(tmp_path, [("u1", "anna", "oak")])), store, platform)
    AnswerImport(store, platform, lambda changes, as_of: store.append(changes)).run()
    assert store.import_counts().refused == 1
    assert any("does not take an answer" in one.message for one in store.notices())
    assert store.retry_refused() == 1


def test_answers_to_what_was_deleted_are_refused(store: Store, platform: MemoryConnector, tmp_path: Path) -> None:
    store.set_remote({"u1": "r-u1"})
    store.mark_gone(["r-u1"])
    plan = planned(store, platform, votes(tmp_path, [("u1", "cat")], "uid,label"))
    assert [(one.number, one.reason) for one in plan.refused] == [(2, "its record was deleted on the platform")]


def test_a_platform_that_is_down_is_an_error_and_nothing_is_lost(
    store: Store, platform: MemoryConnector, tmp_path: Path
) -> None:
    plan = planned(store, platform, votes(tmp_path, MANY))
    note_plan(plan, store, platform)
    platform.down = True
    with pytest.raises(PlatformUnavailable):
        give_waiting(store, platform, Leadership(store), no_progress)
    platform.down = False
    give_waiting(store, platform, Leadership(store), no_progress)
    assert len(on_platform(platform)) == 60


def test_a_recipe_names_files_that_are_taken_in_once(store: Store, platform: MemoryConnector, tmp_path: Path) -> None:
    spec = {"file": votes(tmp_path, MANY), "make_accounts": True}
    chosen, leadership = recipe(existing_answers=[spec]), Leadership(store)
    for _ in range(2):
        take_existing(chosen, ImageRules(), store, platform, leadership, PLAN)
    give_waiting(store, platform, leadership, no_progress)
    assert len(on_platform(platform)) == 60
    reads = platform.records_read
    take_existing(chosen, ImageRules(), store, platform, leadership, PLAN)
    assert platform.records_read == reads, "a file that was taken in is not looked at again"


def test_skips_and_several_rows_of_one_person(store: Store, platform: MemoryConnector, tmp_path: Path) -> None:
    """The newest by its time counts, wherever it stands in the file."""
    rows = [
        ("u1", "anna", "cat", "2024-05-02"),
        ("u1", "anna", "oak", "2024-05-01"),
        ("u1", "anna", "cat", "2024-04-01"),
    ]
    plan = imported(store, platform, votes(tmp_path, rows, "uid,annotator,label,time"))
    assert on_platform(platform) == {("r-u1", "anna"): ("cat",)}
    assert sorted(plan.replaced) == [3, 4]
    exported = tmp_path / "each.csv"
    head = "uid,annotation,annotator,annotator_id,status,answer,updated_at,seen_version"
    exported.write_text(f"{head}\nu2,1,anna,anna,skipped,,2024-05-02,\n", encoding="utf-8")
    imported(store, platform, str(exported))
    assert [one.status for one in platform.answers.values() if one.remote_id == "r-u2"] == [AnnotationStatus.SKIPPED]


def test_spans_move_with_white_space_that_a_tool_has_changed(tmp_path: Path) -> None:
    marks = Labeling(LabelKind.SPAN, ("PER", "LOC"))
    platform = MemoryConnector(marks)
    asked = recipe(kind="span", labels=("PER", "LOC"), data="marks.csv")
    (tmp_path / "a.conll").write_text("Ada B-PER\nL. I-PER\nin O\nRome B-LOC\n. O\n", encoding="utf-8")
    spec = ExistingAnswers(file=str(tmp_path / "a.conll"))
    with Store.open(tmp_path / "marks.sqlite") as store:
        store.add_records([Record("u1", {"text": "Ada  L. in Rome."})])
        plan = plan_answers(asked, store, platform, spec, RULE)
    [(_, one)] = plan.answers
    assert (one.uid, one.value) == ("u1", (Span(0, 7, "PER"), Span(11, 15, "LOC")))


def test_labels_may_be_called_otherwise(store: Store, platform: MemoryConnector, tmp_path: Path) -> None:
    imported(store, platform, votes(tmp_path, [("u1", "gato")], "uid,label"), rename={"gato": "cat"})
    assert on_platform(platform) == {("r-u1", "owner"): ("cat",)}
