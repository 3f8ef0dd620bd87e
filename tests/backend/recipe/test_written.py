"""The recipe that `init` writes is read back as what the project asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.backend.recipe.attached import completed
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.recipe.written import recipe_name, written
from nextlabel.connectors.base import ProjectRef
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind

PROJECT = ProjectRef("label-studio", "http://x", "7", "Support\n# tickets", "http://x/projects/7/data")
ASKED = {
    "single": Labeling(LabelKind.SINGLE, ("yes", "1", "null", "a: b"), (Field("text"),), "label"),
    "described": Labeling(
        LabelKind.MULTI,
        ("ثقافة", "🎬 film", "# no comment", " blanks "),
        (Field("my text"), Field("screen", FieldKind.IMAGE)),
        "Was ist das?",
        "Several lines:\n- choose\n\n  - all that fit",
        {"🎬 film": "'quoted': {and} [more]", "ثقافة": "x" * 300},
    ),
    "many": Labeling(LabelKind.SPAN, tuple(f"label number {n}" for n in range(40)), (Field("body"), Field("title"))),
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_it_says_what_the_project_asks(tmp_path: Path, asked: Labeling) -> None:
    text = written("tickets", PROJECT, asked, workspace="the team")
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    recipe = Recipe.from_yaml(tmp_path / "r.yaml")
    assert recipe.labeling() == asked
    assert completed(recipe, asked).labeling() == asked
    assert (recipe.name, recipe.platform, recipe.project) == ("tickets", "label-studio", "7")
    assert (recipe.workspace, recipe.data) == ("the team", "")
    assert text.startswith("# Support # tickets\n# http://x/projects/7/data\n")
    assert max(map(len, text.splitlines())) <= 320


@pytest.mark.parametrize(
    ("title", "name"),
    [("Support Tickets (2)", "support-tickets-2"), ("Größe", "grosse"), ("標籤", "project"), ("x" * 99, "x" * 40)],
)
def test_a_title_names_the_file(title: str, name: str) -> None:
    assert recipe_name(title) == name
