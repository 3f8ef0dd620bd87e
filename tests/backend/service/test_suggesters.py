"""The suggesters of a recipe: which records they let in, and what is asked anew."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from nextlabel.backend.pool.voices import known_suggesters, proposals_of
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.opening import load_records
from nextlabel.backend.service.suggesters import note, open_for
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store

DATA = "text,guess,sure\nfine by me,good,0.9\nawful,bad,\nno idea,,\n"
RULES = """\
asked = []

def first(text):
    asked.append(text)
    return "good" if "fine" in text else None
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "empty.sqlite")


def recipe(folder: Path, suggest_from: str, data: str = DATA) -> Recipe:
    (folder / "data.csv").write_text(data)
    (folder / "reviews.yaml").write_text(f"data: data.csv\nlabels: [good, bad]\nsuggest_from: {suggest_from}\n")
    return Recipe.from_yaml(folder / "reviews.yaml")


def texts(store: Store) -> list[str]:
    return [item.record.fields["text"] for item in store.records()]


def test_only_records_with_a_suggestion_are_taken_in_and_nobody_is_asked_twice(
    tmp_path: Path, settings: Settings, empty: Store
) -> None:
    (tmp_path / "our_rules.py").write_text(RULES)
    chosen = recipe(tmp_path, "{function: our_rules:first, only: true}")
    load_records(chosen, empty, settings)
    assert texts(empty) == ["fine by me"]
    our_rules = import_module("our_rules")
    assert our_rules.asked == ["fine by me", "awful", "no idea"]
    again = recipe(tmp_path, "{function: our_rules:first, only: true}", DATA + "fine day,,\n")
    load_records(again, empty, settings)
    assert texts(empty) == ["fine by me", "fine day"]
    assert our_rules.asked[3:] == ["fine day"]


def test_only_labels_that_are_named(tmp_path: Path, settings: Settings, empty: Store) -> None:
    chosen = recipe(tmp_path, "{keywords: {good: fine, bad: awful}, only: [bad]}")
    load_records(chosen, empty, settings)
    assert texts(empty) == ["awful"]


def test_predictions_that_were_corrected_in_the_data_are_read_anew(
    tmp_path: Path, settings: Settings, empty: Store
) -> None:
    (first,) = open_for(recipe(tmp_path, "{column: guess, probability: sure}"), settings, empty)
    assert first.known == ("bad", "good")
    note(empty, [first])
    empty.note_proposals(first.key, {"content": None})
    (same,) = open_for(recipe(tmp_path, "{column: guess, probability: sure}"), settings, empty)
    assert same.key == first.key
    assert proposals_of(empty, first.key, ["content"]) == {"content": None}
    corrected = DATA.replace("awful,bad", "awful,good")
    open_for(recipe(tmp_path, "{column: guess, probability: sure}", corrected), settings, empty)
    assert proposals_of(empty, first.key, ["content"]) == {}


def test_what_is_no_suggester_any_more_is_forgotten(tmp_path: Path, settings: Settings, empty: Store) -> None:
    chosen = recipe(tmp_path, "{keywords: {good: fine, bad: awful}, only: true}")
    load_records(chosen, empty, settings)
    opened = open_for(chosen, settings, empty)
    note(empty, opened)
    assert known_suggesters(empty) == {"keywords": opened[0].key}
    assert empty.suggesters() == {opened[0].key, f"{opened[0].key} only"}
    (other,) = open_for(recipe(tmp_path, "{keywords: {good: [fine, great], bad: awful}}"), settings, empty)
    assert other.key != opened[0].key
    note(empty, [other])
    assert not empty.suggesters()
