"""The catalogue knows the recipes: listed, shown, and copied into files that load."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nextlabel.backend.cli import app
from nextlabel.backend.recipe import find_recipe

NAMES = ("hate-speech", "misogyny-es", "misogyny-es-hatecheck", "memes", "politeness", "rare-class")


def test_they_are_listed() -> None:
    done = CliRunner().invoke(app, ["recipes", "list"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    for name in NAMES:
        assert name in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_they_are_shown_and_copied(name: str, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["recipes", "show", name])
    assert "Figures: docs/models.md" in shown.stdout
    target = tmp_path / "mine.py"
    assert CliRunner().invoke(app, ["recipes", "copy", name, str(target)]).exit_code == 0
    copied = find_recipe(str(target))
    # The stand-in is written in the file of the recipe that it stands in for.
    assert copied.name == name.removesuffix("-hatecheck")
    assert copied.with_data("x.csv").data == "x.csv"
