"""Records that are corrected on the platform, and ids that others get: what the store makes of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from nextlabel.backend.store import Rule, Store
from nextlabel.connectors.records import FORGOTTEN, Annotation, Changes, Record, RemoteRecord, Span
from tests.backend.store.conftest import START

Answer = Callable[..., Annotation]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def listed(remote_id: str, text: str, made: float | None = 0, uid: str = "") -> RemoteRecord:
    record = Record(uid or f"of {remote_id}", {"text": text})
    return RemoteRecord(remote_id, record, made_at=None if made is None else at(made))


def keep(store: Store, *items: RemoteRecord, shown: tuple[Annotation, ...] = ()) -> set[str]:
    """As the loop does; returns the uids of the records that were followed."""
    followed = store.follow(items, Rule(), "text", shown)
    store.add_listed(items)
    return followed


def texts(store: Store) -> dict[str, str]:
    return {item.record.uid: item.record.fields["text"] for item in store.records() if not item.gone}


def test_a_corrected_record_keeps_its_place_and_its_answers(store: Store, answer: Answer):
    keep(store, listed("1", "helo"), listed("2", "bye"))
    store.append(Changes((answer("a", "1", at=5),)))
    before = store.head()
    assert keep(store, listed("1", "hello"), listed("2", "bye")) == {"of 1"}
    assert texts(store) == {"of 1": "hello", "of 2": "bye"}
    assert [one.id for one in store.answers()] == ["a"]
    assert list(store.touched(before)) == ["1"], "it is learned anew"
    assert keep(store, listed("1", "hello")) == set()


def test_a_copy_that_the_platform_lacks_is_corrected_with_its_original(store: Store):
    store.add_records([Record("first", {"text": "helo"}), Record("copy", {"text": "helo"}), Record("x", {"text": "x"})])
    store.set_remote({"first": "1"})
    keep(store, listed("1", "hello", uid="first"))
    assert texts(store) == {"first": "hello", "copy": "hello", "x": "x"}
    assert [record.uid for record in store.unpushed(9)] == ["x"]


def test_of_copies_that_the_platform_has_one_may_come_to_say_something_else(store: Store):
    keep(store, *(listed(number, "same") for number in "1234"))
    keep(store, listed("1", "other"), listed("3", "others"))
    assert texts(store) == {"of 1": "other", "of 2": "same", "of 3": "others", "of 4": "same"}
    lots = [item.lot for item in store.records()]
    assert lots[1] == lots[3]
    assert len(set(lots)) == 3
    assert [item.duplicate_of for item in store.records()] == [None, None, None, "of 2"]


def test_what_the_platform_does_not_show_of_a_record_stays(store: Store):
    store.add_records([Record("u", {"text": "a", "ours": "b"})])
    store.set_remote({"u": "1"})
    assert keep(store, listed("1", "a", uid="u")) == set()
    keep(store, listed("1", "c", uid="u"))
    assert store.get(["u"])[0].record.fields == {"text": "c", "ours": "b"}


def mark(answer: Answer, words: str = "", *, at: float = 5) -> Annotation:
    return answer("a", "1", at=at, value=(Span(3, 7, "PER", words),))


def test_an_answer_that_no_longer_fits_its_text_is_set_aside_until_it_does(store: Store, answer: Answer):
    keep(store, listed("1", "my anna"))
    store.append(Changes((mark(answer),)))
    keep(store, listed("1", "oh anna"))
    assert store.misfits() == {}, "the same words are there"
    keep(store, listed("1", "hello anna"))
    assert store.misfits() == {"a": "1"}
    assert list(store.answers()) == []
    assert store.log_counts()["labelled"] == 0
    assert [one.id for one in store.answers(drafts=True)] == ["a"], "it is on the platform"
    assert store.doubts(Changes((), {"1": frozenset()})) == {"a": "1"}
    keep(store, listed("1", "so anna"))
    assert store.misfits() == {}, "the words are back"
    assert [one.id for one in store.answers()] == ["a"]
    keep(store, listed("1", "now hello anna"))
    store.append(Changes((mark(answer, at=6),)))
    assert store.misfits() == {}, "it was given again"
    assert store.log_counts()["labelled"] == 1


def test_an_answer_beyond_the_end_of_a_shorter_text_is_set_aside(store: Store, answer: Answer):
    keep(store, listed("1", "my anna"))
    store.append(Changes((mark(answer),)))
    keep(store, listed("1", "anna"))
    assert store.misfits() == {"a": "1"}


def test_what_an_answer_says_of_the_words_it_marks_is_believed(store: Store, answer: Answer):
    """It was given to the new text, before we knew that."""
    keep(store, listed("1", "my text"))
    given = mark(answer, "anna")
    store.append(Changes((given,)))
    keep(store, listed("1", "so anna"), shown=(given,))
    assert store.misfits() == {}


@pytest.mark.parametrize("uid", ["of 1", "somebody's"])
def test_another_record_under_the_id_of_a_deleted_one_has_none_of_its_answers(store: Store, answer: Answer, uid: str):
    keep(store, listed("1", "old"), listed("2", "old too"))
    store.append(Changes((answer("a", "1", at=5), answer("b", "2", at=5))))
    assert keep(store, listed("1", "new", made=9, uid=uid)) == {"of 1~0" if uid == "of 1" else "of 1"}
    assert texts(store) == {uid: "new", "of 2": "old too"}
    assert [one.id for one in store.answers()] == ["b"]
    new = store.get_remote(["1"])["1"]
    assert (new.position, new.gone) == (2, False)
    assert store.unpushed(9) == [], "what was deleted is not put back"
    store.append(Changes((answer("c", "1", at=10),)))
    assert [one.id for one in store.answers()] == ["b", "c"]
    assert store.lost_by_reuse(at(0)) == 1
    assert keep(store, listed("1", "new", made=9, uid=uid)) == set()


def test_an_answer_that_came_before_its_new_record_counts(store: Store, answer: Answer):
    keep(store, listed("1", "old"))
    store.append(Changes((answer("c", "1", at=10),)))
    keep(store, listed("1", "new", made=9))
    assert [one.id for one in store.answers()] == ["c"]


def test_a_record_that_was_imported_again_stays_the_same_without_its_old_answers(store: Store, answer: Answer):
    keep(store, listed("1", "same"))
    store.append(Changes((answer("a", "1", at=5),)))
    store.mark_gone(["1"])
    assert keep(store, listed("1", "same", made=9)) == {"of 1"}
    assert store.size() == 1
    assert texts(store) == {"of 1": "same"}
    assert list(store.answers()) == []
    store.append(Changes((answer("c", "1", at=10),)))
    assert [one.id for one in store.answers()] == ["c"]


def test_an_answer_keeps_its_annotator_when_the_platform_forgets_who_that_was(store: Store, answer: Answer):
    store.append(Changes((answer("a", "1", annotator="7"),)))
    nameless = Changes((answer("a", "1", annotator=FORGOTTEN),))
    assert store.append(nameless) == 0
    assert store.doubts(nameless) == {}
    assert [one.annotator for one in store.answers()] == ["7"]


def test_where_ids_are_never_given_away_again_other_words_are_a_correction(store: Store, answer: Answer):
    keep(store, listed("1", "old", made=None))
    store.append(Changes((answer("a", "1", at=5),)))
    keep(store, listed("1", "new", made=None))
    assert texts(store) == {"of 1": "new"}
    assert [one.id for one in store.answers()] == ["a"]
