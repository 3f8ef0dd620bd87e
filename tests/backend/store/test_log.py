"""The annotation log: exactly once, in any order, for ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from nextlabel.backend.store import Store
from nextlabel.connectors.errors import StoreError
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes, Record, Span

Answer = Callable[..., Annotation]


def current(store: Store) -> dict[str, tuple[object, ...]]:
    return {one.id: one.value for one in store.answers()}


def test_an_answer_comes_back_as_it_went_in(store: Store, answer: Answer) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    given = (
        answer("1", "t1", value=("a",), seen_version="nl-x-1"),
        answer("2", "t1", value=(), status=AnnotationStatus.SKIPPED, annotator="ann@example.com"),
        answer("3", "t2", value=("b", "ü", "👍")),
        answer("4", "t3", value=(Span(0, 3, "PER"), Span(5, 9, "LOC"))),
        Annotation(
            "5", "t4", "1", ("a",), AnnotationStatus.SUBMITTED, datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=east)
        ),
    )
    assert store.append(Changes(annotations=given), source="poll") == 5
    assert tuple(store.answers()) == given
    assert store.touched(0) == {"t1": [*given[:2]], "t2": [given[2]], "t3": [given[3]], "t4": [given[4]]}


def test_a_repeat_changes_nothing_whoever_delivers_it(store: Store, answer: Answer) -> None:
    changes = Changes(annotations=(answer("1"), answer("1")))
    assert store.append(changes) == 1
    head = store.head()
    assert store.append(changes) == 0
    assert store.append(changes, source="poll") == 0
    assert store.head() == head == 1


def test_the_newest_answer_wins_in_any_order(store: Store, answer: Answer) -> None:
    versions = [answer("1", at=second, value=(f"v{second}",)) for second in (2, 5, 3)]
    for one in versions:
        assert store.append(Changes(annotations=(one,))) == 1
    assert current(store) == {"1": ("v5",)}
    assert len(store.log_rows()) == 3


def test_microseconds_decide(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1", at=1.000002, value=("late",)), answer("1", at=1.000001))))
    assert current(store) == {"1": ("late",)}


def test_a_deletion_wins_even_when_it_comes_first(store: Store, answer: Answer) -> None:
    assert store.append(Changes(deleted_annotations=("1",))) == 1
    assert store.append(Changes(deleted_annotations=("1",))) == 0
    assert store.append(Changes(annotations=(answer("1", at=9),))) == 1
    assert store.append(Changes(annotations=(answer("1", at=10),)), source="poll") == 1
    assert current(store) == {}
    assert store.touched(0) == {"t1": []}


def test_an_answer_with_the_status_deleted_is_a_deletion(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"), answer("2"))))
    store.append(Changes(annotations=(answer("1", at=1, status=AnnotationStatus.DELETED),)))
    assert set(current(store)) == {"2"}


def test_deleting_touches_the_record(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1", "t1"), answer("2", "t2"))))
    head = store.head()
    store.append(Changes(deleted_annotations=("2",)))
    assert store.touched(head) == {"t2": []}
    assert store.touched(store.head()) == {}


def test_an_answer_and_its_deletion_in_one_delivery(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"),), deleted_annotations=("1",)))
    assert current(store) == {}
    assert store.touched(1) == {"t1": []}


def test_deleted_records_take_their_answers_along(store: Store, answer: Answer) -> None:
    store.add_records([Record("u", {"text": "x"})])
    store.set_remote({"u": "t1"})
    store.append(Changes(annotations=(answer("1", "t1"), answer("2", "t2"))))
    head = store.head()
    assert store.append(Changes(deleted_records=("t1",))) == 1
    assert store.append(Changes(deleted_records=("t1",))) == 0
    assert store.append(Changes(annotations=(answer("3", "t1"),))) == 1  # a late webhook
    assert set(current(store)) == {"2"}
    assert store.touched(head) == {"t1": []}
    assert store.get(["u"])[0].gone
    store.mark_back(["t1"])
    assert set(current(store)) == {"1", "2", "3"}


def test_a_poll_hides_what_it_no_longer_lists(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"), answer("2"), answer("3", "t2"))))
    head = store.head()
    assert store.append(Changes(complete={"t1": frozenset({"2"})}), source="poll") == 1
    assert store.append(Changes(complete={"t1": frozenset({"2"})}), source="poll") == 0
    assert set(current(store)) == {"2", "3"}
    assert set(store.touched(head)) == {"t1"}


def test_a_webhook_does_not_bring_back_what_a_poll_has_hidden_but_a_poll_does(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"),)))
    store.append(Changes(complete={"t1": frozenset()}), source="poll")
    store.append(Changes(annotations=(answer("1", at=5),)))  # sent before the deletion, late
    assert current(store) == {}
    listed = Changes(annotations=(answer("1", at=5),), complete={"t1": frozenset({"1"})})
    assert store.append(listed, source="poll") == 1
    assert set(current(store)) == {"1"}
    assert store.append(listed, source="poll") == 0
    assert store.append(Changes(complete={"t1": frozenset()}), source="poll") == 1
    assert current(store) == {}


def test_a_poll_does_not_hide_what_came_in_while_it_ran(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"),)))
    before = store.head()
    snapshot = Changes(complete={"t1": frozenset()})
    store.append(Changes(annotations=(answer("2"),)))
    store.append(snapshot, source="poll", as_of=before)
    assert set(current(store)) == {"2"}


def test_a_late_update_of_a_known_answer_does_not_save_it_from_the_poll(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"),)))
    before = store.head()
    snapshot = Changes(complete={"t1": frozenset()})  # it was updated, then deleted, then the poll looked
    store.append(Changes(annotations=(answer("1", at=1),)))
    store.append(snapshot, source="poll", as_of=before)
    assert current(store) == {}


def test_complete_counts_only_from_a_poll(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"),)))
    assert store.append(Changes(complete={"t1": frozenset()}), source="webhook") == 0
    assert set(current(store)) == {"1"}


def test_nothing_happened_costs_nothing(store: Store) -> None:
    assert store.append(Changes(records_added=True, cursor="x")) == 0
    assert store.head() == 0
    assert store.touched(0) == {}


def test_large_deliveries(store: Store, answer: Answer) -> None:
    many = tuple(answer(str(i), f"t{i % 700}", at=i) for i in range(3500))
    assert store.append(Changes(annotations=many), source="poll") == 3500
    assert store.append(Changes(annotations=many), source="poll") == 0
    assert tuple(store.answers()) == many
    assert sum(len(answers) for answers in store.touched(0).values()) == 3500
    keep = {f"t{i}": frozenset({str(i)}) for i in range(700)}
    assert store.append(Changes(complete=keep), source="poll") == 2800
    assert store.append(Changes(deleted_annotations=tuple(str(i) for i in range(3500)))) == 3500
    counts = store.counts()
    assert (counts.answers, counts.labelled, counts.log_rows) == (0, 0, 9800)


def test_counts_tell_skipped_from_labelled(store: Store, answer: Answer) -> None:
    skipped = AnnotationStatus.SKIPPED
    store.append(Changes(annotations=(answer("1"), answer("2"), answer("3", "t2", status=skipped, value=()))))
    counts = store.counts()
    assert (counts.answers, counts.labelled) == (3, 1)


def test_the_log_refuses_to_be_changed(store: Store, path: Path, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"),)))
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        for statement in ("UPDATE annotation_log SET value = '[]'", "DELETE FROM annotation_log"):
            with pytest.raises(sa.exc.IntegrityError, match="append-only"), engine.begin() as connection:
                connection.execute(sa.text(statement))
    finally:
        engine.dispose()
    assert current(store) == {"1": ("yes",)}


def test_log_rows_say_what_came_whence(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"),)))
    store.append(Changes(deleted_annotations=("1", "x")), source="poll")
    rows = store.log_rows()
    assert [(row.seq, row.kind, row.subject, row.remote_id, row.source) for row in rows] == [
        (1, "answer", "1", "t1", "webhook"),
        (2, "deleted", "1", "t1", "poll"),
        (3, "deleted", "x", None, "poll"),
    ]
    assert rows[0].annotation == answer("1")
    assert rows[1].annotation is None
    assert abs(datetime.now(UTC) - rows[0].logged_at) < timedelta(minutes=5)
    assert store.log_rows(since=1, limit=1) == rows[1:2]


def test_a_failed_delivery_leaves_no_trace(store: Store, answer: Answer) -> None:
    bad = answer("2", remote_id="lone \ud800")
    with pytest.raises(StoreError):
        store.append(Changes(annotations=(answer("1"), bad)))
    assert store.head() == 0


def test_reading_goes_by_the_order_of_the_log(store: Store, answer: Answer) -> None:
    """A page, or what is new, must not cost a look at everything: SQLite says how it would read."""
    statements: list[tuple[str, object]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_rest: object) -> None:
        if statement.startswith("SELECT"):
            statements.append((statement, parameters))

    store.append(Changes(annotations=(answer("1"), answer("2", "t2"))))
    sa.event.listen(store._engine, "before_cursor_execute", note)
    list(store.answers())
    store.touched(1)
    store.head()
    store.log_rows(since=1)
    sa.event.remove(store._engine, "before_cursor_execute", note)
    assert len(statements) == 5
    with store._read() as connection:
        for statement, parameters in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            first = plan[0].detail
            assert first.startswith("SEARCH"), (statement, plan)
            assert "INTEGER PRIMARY KEY" in first or "remote_id=?" in first or "max" in statement, (statement, plan)


def test_a_draft_is_no_answer_and_the_newest_state_counts(store: Store, answer: Answer) -> None:
    draft = AnnotationStatus.DRAFT
    store.append(Changes(annotations=(answer("1", at=1),)))
    store.append(Changes(annotations=(answer("1", at=2, status=draft),)))  # taken up again
    assert list(store.answers()) == []
    assert [one.status for one in store.touched(0)["t1"]] == [draft]  # somebody has the record in hand
    assert (store.counts().answers, store.counts().labelled) == (0, 0)
    store.append(Changes(annotations=(answer("1", at=1),)), "poll")  # a late repeat
    assert list(store.answers()) == []
    store.append(Changes(annotations=(answer("1", at=3, value=("no",)),)))
    assert [one.value for one in store.answers()] == [("no",)]
    assert (store.counts().answers, store.counts().labelled) == (1, 1)


def test_a_poll_that_lists_a_draft_leaves_it(store: Store, answer: Answer) -> None:
    draft = answer("1", status=AnnotationStatus.DRAFT)
    store.append(Changes(annotations=(draft,)))
    store.append(Changes(complete={"t1": frozenset({"1"})}), "poll")
    assert store.touched(0) == {"t1": [draft]}
    store.append(Changes(complete={"t1": frozenset()}), "poll")
    assert store.touched(0) == {"t1": []}
