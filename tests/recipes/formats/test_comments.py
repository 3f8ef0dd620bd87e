"""Comments: a table with texts, with or without answers, or made-up ones with a rare class."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.selection.seeds import keyword_scores
from nextlabel.connectors.errors import DataError
from nextlabel.recipes.formats.comments import BOOK, COUNT, EVERY, open_comments
from nextlabel.recipes.rare_class import recipe, spans


def test_without_data_one_comment_in_a_hundred_names_a_book() -> None:
    records, truth = list(recipe.read()), recipe.truth()
    assert len(records) == len(truth) == COUNT
    books = {uid for uid, label in truth.items() if label == BOOK}
    assert len(books) == COUNT // EVERY
    assert [record.uid for record in recipe.read()] == [record.uid for record in records], "the same at every start"
    assert not any("label" in record.metadata for record in records)


def test_the_seeds_find_some_of_the_books_and_not_all() -> None:
    rows = [row.values for row in open_comments().rows]
    assert recipe.seeds is not None
    found = keyword_scores([row["text"] for row in rows], recipe.seeds.keywords) > 0
    books = [row["label"] == BOOK for row in rows]
    hits = sum(one and two for one, two in zip(found, books, strict=True))
    assert 3 <= hits < sum(books)
    assert hits == found.sum(), "nothing else has such words"


@pytest.mark.parametrize("labelled", [True, False])
def test_a_table_may_have_answers(labelled: bool, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,label\nDune is great,book\nhello,\n" if labelled else "text\nDune is great\nhello\n")
    mine: Recipe = recipe.with_data(str(path))
    assert [record.fields["text"] for record in mine.read()] == ["Dune is great", "hello"]
    assert list(mine.truth().values()) == (["book"] if labelled else [])


def test_a_table_without_texts_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("comment\nhello\n")
    with pytest.raises(DataError, match="no column 'text'"):
        list(recipe.with_data(str(path)).read())


def test_the_spans_are_asked_about_by_the_least_certain_title() -> None:
    assert spans.labels == ("title",)
    assert spans.strategy_options["shares"]["least-sure-span"] > 0
    assert len(list(spans.read())) == COUNT
