"""Annotators by name: asked for once, kept, and told apart."""

from __future__ import annotations

from nextlabel.backend.annotators.names import annotator_names, note_names
from nextlabel.backend.store import Store


def test_names_are_kept_when_people_leave(store: Store) -> None:
    note_names(store, {"1": "ann", "2": "ben"})
    note_names(store, {"1": "anna"})
    assert annotator_names(store) == {"1": "anna", "2": "ben"}


def test_two_of_one_name_are_told_apart(store: Store) -> None:
    note_names(store, {"1": "ann", "2": "ann", "3": "ben"})
    assert annotator_names(store) == {"1": "ann (1)", "2": "ann (2)", "3": "ben"}
