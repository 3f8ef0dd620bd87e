"""What a recipe leaves out is the project's; what it says stays."""

from __future__ import annotations

import pytest

from nextlabel.backend.recipe import find_recipe
from nextlabel.backend.recipe.attached import bare_recipe, completed
from nextlabel.backend.recipe.recipe import FieldSource, Recipe
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind

ASKED = Labeling(
    LabelKind.MULTI,
    ("bug", "praise"),
    (Field("title"), Field("body"), Field("screen shot", FieldKind.IMAGE)),
    "what is it?",
    "Choose all that fit.",
    {"bug": "it is broken"},
)


def test_a_bare_recipe_is_found_by_its_name_and_asks_what_its_project_asks() -> None:
    bare = find_recipe("label-studio-7")
    assert bare == bare_recipe("label-studio", "7")
    assert (bare.platform, bare.project) == ("label-studio", "7")
    assert completed(bare, ASKED).labeling() == ASKED
    assert list(completed(bare, ASKED).read()) == []


def test_a_data_file_without_fields_has_columns_called_as_the_fields() -> None:
    found = completed(Recipe(name="r", project="7", data="r.csv"), ASKED)
    assert found.fields["screen shot"] == FieldSource(column="screen shot", kind=FieldKind.IMAGE)


def test_what_the_recipe_says_stays() -> None:
    said = Recipe(
        name="r",
        kind=LabelKind.SINGLE,
        labels=("praise", "bug"),
        descriptions={"praise": "thanks"},
        fields={"body": FieldSource(column="text")},
        question="q",
        instruction="Choose.",
    )
    asked = completed(said, ASKED).labeling()
    assert (asked.kind, asked.labels, asked.fields) == (LabelKind.SINGLE, ("praise", "bug"), (Field("body"),))
    assert (asked.name, asked.instruction) == ("q", "Choose.")
    assert asked.descriptions == {"praise": "thanks", "bug": "it is broken"}


@pytest.mark.parametrize(
    ("column", "shown", "field"),
    [
        ("review", ("review",), "review"),  # called as the column
        ("Review Text", ("review",), "review"),  # the only one it can be
        ("body", ("title", "body"), "body"),
        ("body", ("title", "text"), "text"),
        ("other", ("title", "body"), "text"),  # which the project does not show: refused where all is compared
    ],
)
def test_a_column_alone_is_the_field_that_it_must_be(column: str, shown: tuple[str, ...], field: str) -> None:
    asked = Labeling(LabelKind.SINGLE, ("a", "b"), tuple(Field(name) for name in shown))
    found = completed(Recipe(name="r", data="r.csv", fields=column), asked)  # type: ignore[arg-type]
    assert found.fields == {field: FieldSource(column=column)}
