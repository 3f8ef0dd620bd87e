"""Annotators by name: asked for once, kept, and told apart."""

from __future__ import annotations

from datetime import UTC, datetime

from nextlabel.backend.annotators.names import annotator_names, note_names
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes


def test_names_are_kept_when_people_leave(store: Store) -> None:
    note_names(store, {"1": "ann", "2": "ben"})
    note_names(store, {"1": "anna"})
    assert annotator_names(store) == {"1": "anna", "2": "ben"}


def test_two_of_one_name_are_told_apart(store: Store) -> None:
    note_names(store, {"1": "ann", "2": "ann", "3": "ben"})
    assert annotator_names(store) == {"1": "ann (1)", "2": "ann (2)", "3": "ben"}


def test_an_adjudicator_is_known_by_name_or_id(store: Store) -> None:
    def given(who: str, status: AnnotationStatus = AnnotationStatus.SUBMITTED) -> Annotation:
        return Annotation(f"a{who}", "r1", who, ("x",), status, datetime(2026, 1, 1, tzinfo=UTC))

    note_names(store, {"1": "ann", "2": "ben", "3": "cleo", "4": "cleo"})
    store.append(Changes((given("1"), given("2"), given("3"), given("5"), given("6", AnnotationStatus.SKIPPED))))

    def settling() -> set[str]:
        listed = {one.annotator for one in store.answers() if one.is_truth}
        assert listed == {one.annotator for one in store.answers_on(["r1"])["r1"] if one.is_truth}
        assert listed == {one.annotator for one in store.touched(0)["r1"] if one.is_truth}
        return listed

    assert settling() == set()
    store.name_adjudicators(["ben", "5", "6", "cleo", "nobody"])
    assert settling() == {"2", "5"}, "of two with one name neither is meant, and a skip settles nothing"
    assert store.unknown_adjudicators() == ["5", "6", "cleo", "nobody"]
    note_names(store, {"7": "nobody"})
    assert store.adjudicators() >= {"7"}
    store.name_adjudicators([])
    assert settling() == set(), "the log has every answer as it was given"
