"""``nextlabel tune`` on a rung that trains the encoder in every trial."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.recipe.recipe import Recipe
from tests.backend.cli.train.conftest import written
from tests.backend.tiny_bert import tiny_bert

pytestmark = pytest.mark.usefixtures("cache")


def test_trainings_are_tuned_and_what_is_found_is_a_recipe(nextlabel: Callable[..., Any], folder: Path) -> None:
    tiny_bert(folder / "tiny", spread=0.02)
    made = [{"text": f"word{at % 2} word{at + 2}", "label": f"s{at % 2}"} for at in range(24)]
    few = ["--trials", "2", "--outer", "2", "--inner", "2", "--epochs", "1:2", "--encoder", "tiny", "--engine", "torch"]
    columns = ["--text", "text", "--label", "label"]
    done = nextlabel("tune", written(folder / "words.csv", made), *columns, "--rung", "fine-tune", *few, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out.splitlines()[-1])
    assert found["trials"][0]["settings"]["learning_rate"] == 1e-4, "the defaults come first"
    assert found["trials"][1]["settings"]["epochs"] in (1, 2)
    recipe = Recipe(name="x", labels=("s0", "s1"), **found["recipe"])
    assert recipe.training.rung == "fine-tune"
    assert 0 <= found["tuned"]["macro_f1"]["mean"] <= 1
