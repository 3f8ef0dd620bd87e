"""The annotation log: exactly once, in any order, for ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

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
    assert [store.append(Changes(annotations=(one,))) for one in versions] == [1, 1, 0]
    assert current(store) == {"1": ("v5",)}
    assert [row.annotation for row in store.log_rows()] == versions[:2]


def test_microseconds_decide(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1", at=1.000002, value=("late",)), answer("1", at=1.000001))))
    assert current(store) == {"1": ("late",)}


def test_what_the_platform_has_not_is_hidden_once_it_was_asked_for(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1", "t1"), answer("2", "t2"))))
    head = store.head()
    assert store.settle({"2": None}) == 1
    assert store.settle({"2": None}) == 0
    assert set(current(store)) == {"1"}
    assert store.touched(head) == {"t2": []}
    assert store.touched(store.head()) == {}
    assert store.settle({"never seen": None}) == 0


def test_a_listing_that_lacks_an_answer_makes_a_doubt_and_hides_nothing(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"), answer("2"), answer("3", "t2"))))
    listed = Changes(annotations=(answer("2"),), complete={"t1": frozenset({"2"})})
    assert store.append(listed) == 0
    assert store.doubts(listed) == {"1": "t1"}
    assert set(current(store)) == {"1", "2", "3"}
    store.settle({"1": None})
    assert store.doubts(listed) == {}


def test_deleted_records_take_their_answers_along(store: Store, answer: Answer) -> None:
    store.add_records([Record("u", {"text": "x"})])
    store.set_remote({"u": "t1"})
    store.append(Changes(annotations=(answer("1", "t1"), answer("2", "t2"))))
    head = store.head()
    assert store.mark_gone(["t1"]) == 1
    assert store.mark_gone(["t1"]) == 0
    assert store.append(Changes(annotations=(answer("3", "t1"),))) == 1  # read before, written down late
    assert set(current(store)) == {"2"}
    assert store.touched(head) == {"t1": []}
    assert store.get(["u"])[0].gone
    assert store.gone_ids() == ["t1"]
    store.mark_back(["t1"])
    assert set(current(store)) == {"1", "2", "3"}


def test_what_was_hidden_comes_back_when_it_is_seen(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"),)))
    store.settle({"1": None})
    listed = Changes(annotations=(answer("1"),), complete={"t1": frozenset({"1"})})
    assert store.append(listed) == 1
    assert set(current(store)) == {"1"}
    assert store.append(listed) == 0
    assert store.settle({"1": None}) == 1
    assert current(store) == {}


def test_a_reading_says_nothing_about_what_came_in_after_it_began(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"),)))
    before = store.head()
    store.append(Changes(annotations=(answer("2"), answer("1", at=5, value=("new",)))))
    old = Changes(annotations=(answer("1"),), complete={"t1": frozenset({"1"})})
    assert store.doubts(old, as_of=before) == {}
    assert store.settle({"2": None, "1": answer("1")}, as_of=before) == 0
    assert current(store) == {"1": ("new",), "2": ("yes",)}


def test_a_reading_from_before_a_deletion_does_not_undo_it(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"),)))
    before = store.head()
    store.settle({"1": None})
    assert store.append(Changes(annotations=(answer("1"),)), as_of=before) == 0
    assert current(store) == {}


def test_a_late_update_of_a_known_answer_does_not_save_it(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1"),)))
    before = store.head()  # it was updated, then deleted, then the platform was asked
    store.append(Changes(annotations=(answer("1", at=1),)))
    store.settle({"1": None}, as_of=before)
    assert current(store) == {}


@pytest.mark.parametrize(
    "there",
    [{"at": 1, "value": ("true",)}, {"at": 9, "value": ("true",)}, {"at": 9, "annotator": "2"}],
    ids=["older", "of the same moment", "by somebody else"],
)
def test_the_platform_is_right_where_the_log_has_something_else(
    store: Store, answer: Answer, there: dict[str, Any]
) -> None:
    """A time of the future was believed once, or the platform was restored from a backup."""
    store.append(Changes(annotations=(answer("1", at=9, value=("false",)),)))
    true = answer("1", **there)
    assert store.append(Changes(annotations=(true,))) == 0
    assert store.doubts(Changes(annotations=(true,))) == {"1": "t1"}
    assert store.settle({"1": true}) == 1
    assert list(store.answers()) == [true]
    assert store.settle({"1": true}) == 0
    assert store.doubts(Changes(annotations=(true,))) == {}
    assert store.append(Changes(annotations=(answer("1", at=9.5, value=("later",)),))) == 1
    assert current(store) == {"1": ("later",)}
    assert len(store.log_rows()) == 3, "nothing is taken back, it is said anew"


def test_an_id_that_was_given_away_again_leaves_the_record_it_was_on(store: Store, answer: Answer) -> None:
    store.append(Changes(annotations=(answer("1", "t1", at=9),)))
    head = store.head()
    store.settle({"1": answer("1", "t2", at=3)})
    assert {record: len(here) for record, here in store.touched(head).items()} == {"t1": 0, "t2": 1}


def test_what_an_earlier_version_took_for_deleted_comes_back(store: Store, path: Path, answer: Answer) -> None:
    """A webhook's word was final once: such rows are in old logs, of answers that the platform may have."""
    store.append(Changes(annotations=(answer("1"), answer("2"))))
    engine = sa.create_engine(f"sqlite:///{path}")
    row = "INSERT INTO annotation_log (kind, subject, stamp, remote_id, source, logged_at)"
    with engine.begin() as connection:
        connection.execute(sa.text(f"{row} VALUES ('deleted', '1', 0, 't1', 'webhook', 0)"))
    engine.dispose()
    assert set(current(store)) == {"2"}
    assert store.append(Changes(annotations=(answer("1"),))) == 1
    assert set(current(store)) == {"1", "2"}


def test_nothing_happened_costs_nothing(store: Store) -> None:
    assert store.append(Changes(total=3, cursor="x")) == 0
    assert store.head() == 0
    assert store.touched(0) == {}


def test_large_deliveries(store: Store, answer: Answer) -> None:
    many = tuple(answer(str(i), f"t{i % 700}", at=i) for i in range(3500))
    assert store.append(Changes(annotations=many), source="poll") == 3500
    assert store.append(Changes(annotations=many), source="poll") == 0
    assert tuple(store.answers()) == many
    assert sum(len(answers) for answers in store.touched(0).values()) == 3500
    keep = {f"t{i}": frozenset({str(i)}) for i in range(700)}
    doubted = store.doubts(Changes(complete=keep))
    assert len(doubted) == 2800
    assert store.settle(dict.fromkeys(doubted)) == 2800
    assert store.settle({str(i): None for i in range(3500)}) == 700
    counts = store.counts()
    assert (counts.answers, counts.labelled, counts.log_rows) == (0, 0, 7000)


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
    store.append(Changes(annotations=(answer("1"),)), source="webhook")
    store.settle({"1": None})
    store.mark_gone(["t9"])
    rows = store.log_rows()
    assert [(row.seq, row.kind, row.subject, row.remote_id, row.source) for row in rows] == [
        (1, "answer", "1", "t1", "webhook"),
        (2, "absent", "1", "t1", "poll"),
        (3, "gone", "t9", "t9", "poll"),
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
    statements: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_rest: object) -> None:
        if statement.startswith("SELECT"):
            statements.append((statement, parameters))

    store.append(Changes(annotations=(answer("1"), answer("2", "t2"))))
    sa.event.listen(store._engine, "before_cursor_execute", note)
    list(store.answers())
    store.touched(1)
    store.head()
    store.log_rows(since=1)
    store.visible(["1"])
    sa.event.remove(store._engine, "before_cursor_execute", note)
    assert len(statements) == 6
    with store._read() as connection:
        for statement, parameters in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            first = plan[0].detail
            assert first.startswith("SEARCH"), (statement, plan)
            by = ("INTEGER PRIMARY KEY", "remote_id=?", "subject=?")
            assert any(key in first for key in by) or "max" in statement, (statement, plan)


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


def test_drafts_are_doubted_and_hidden_as_answers_are(store: Store, answer: Answer) -> None:
    draft = answer("1", status=AnnotationStatus.DRAFT)
    store.append(Changes(annotations=(draft,)))
    assert store.doubts(Changes(complete={"t1": frozenset({"1"})})) == {}
    assert store.doubts(Changes(complete={"t1": frozenset()})) == {"1": "t1"}
    assert store.visible(["1", "2"]) == {"1": "t1"}
    assert store.touched(0) == {"t1": [draft]}
    store.settle({"1": None})
    assert store.touched(0) == {"t1": []}
    assert store.visible(["1"]) == {}


# -- truths and empty answers ----------------------------------------------------------------------------------------


def test_what_is_marked_as_the_truth_is_logged_and_a_mark_that_came_later_is_a_doubt(
    store: Store, answer: Callable[..., Annotation]
) -> None:
    store.append(Changes((answer("1"), answer("2", is_truth=True))))
    assert [one.is_truth for one in store.answers()] == [False, True]
    marked = answer("1", is_truth=True)
    assert store.doubts(Changes((marked,))) == {"1": "t1"}
    store.settle({"1": marked})
    assert all(one.is_truth for one in store.answers())


def test_an_empty_answer_is_a_skip_where_it_is_none(store: Store, answer: Callable[..., Annotation]) -> None:
    given = (answer("1", "t1", value=()), answer("2", "t2"))
    store.append(Changes(given))
    assert [one.status for one in store.answers()] == [AnnotationStatus.SUBMITTED] * 2
    store.skip_empty_answers(True)
    kept = {one.id: one.status for one in store.answers()}
    assert kept == {"1": AnnotationStatus.SKIPPED, "2": AnnotationStatus.SUBMITTED}
    assert store.touched(0)["t1"][0].status is AnnotationStatus.SKIPPED
    assert store.log_counts()["labelled"] == 1
    assert store.doubts(Changes(given)) == {}, "the log has it as the platform has it"
    store.skip_empty_answers(False)
    assert store.log_counts()["labelled"] == 2
