"""What the README shows has to work as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from nextlabel.backend.cli import app
from nextlabel.backend.recipe.recipe import Recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_recipe_in_the_readme_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "tickets.yaml").write_text(block)
    (tmp_path / "tickets.csv").write_text("body\nit crashes\nhow do I print?\nlovely\n")
    recipe = Recipe.from_yaml(tmp_path / "tickets.yaml")
    assert [record.fields["text"] for record in recipe.read()] == ["it crashes", "how do I print?", "lovely"]
    assert recipe.labeling().labels == ("bug", "question", "praise")


@pytest.mark.parametrize("command", sorted(set(re.findall(r"(?:^|`)nextlabel (\w+)", README, re.MULTILINE))))
def test_commands_in_the_readme_exist(command: str) -> None:
    assert command in get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make (\w+)", README, re.MULTILINE))))
def test_targets_in_the_readme_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target
