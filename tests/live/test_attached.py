"""A project that a team has already: recipe written, attached without a file, compared, and what is refused; on both.

What a team has is made through the platform's own API: two fields, a question whose labels are described, records, and
answers to some of them.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.cli import main
from nextlabel.backend.loop.leadership import LEASE
from nextlabel.backend.recipe.attached import bare_recipe
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.opening import open_service, open_store
from nextlabel.backend.service.project import PROJECT
from nextlabel.connectors.errors import LabelingMismatch, NextlabelError
from nextlabel.connectors.records import Field, Labeling, LabelKind
from tests.live.teams import Item, Question, Team, started, wait

RECORDS, ANSWERED = 30, 20
LABELS = {"bug": "something is broken", "praise": ""}
ASKED = Labeling(
    LabelKind.SINGLE,
    tuple(LABELS),
    (Field("title"), Field("body")),
    "topic",
    "What is it about?",
    {"bug": LABELS["bug"]},
)


QUESTION = Question("topic", tuple(LABELS), hints=LABELS, instruction="What is it about?")


def truth(number: int) -> str:
    return "bug" if number % 2 else "praise"


def fields(number: int) -> dict[str, str]:
    return {"title": f"ticket {number}", "body": f"{number}: it {'crashes' if number % 2 else 'is lovely'}"}


def made(team: Team, title: str, answered: int = 0, records: int = RECORDS) -> str:
    project = team.make(title, list(fields(0)), QUESTION)
    given = [{"topic": [truth(number)]} if number < answered else {} for number in range(records)]
    if given:
        team.put(project, [Item(fields(number), one) for number, one in enumerate(given)])
    return project


@pytest.fixture
def title() -> str:
    return f"tickets {secrets.token_hex(4)}"


@pytest.fixture
def nextlabel(team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"NEXTLABEL_HOME": str(tmp_path / "home"), **team.env()}.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: main(list(arguments))


def test_the_recipe_of_a_project_is_written(
    team: Team, title: str, nextlabel: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    project = made(team, title, records=0)
    for named in (project, title, team.page(project)):
        assert nextlabel("init", "--project", named, "--force", "tickets.yaml") == 0
        recipe = Recipe.from_yaml(tmp_path / "tickets.yaml")
        assert recipe.labeling() == ASKED
        assert (recipe.name, recipe.platform, recipe.project) == ("tickets", team.platform, project)
    assert nextlabel("init", "--project", project, "tickets.yaml") == 1
    assert "tickets.yaml is there already" in capfd.readouterr().err
    assert nextlabel("init", "--project", f"no {title}") == 1
    assert f"'no {title}' that this" in capfd.readouterr().err


def test_a_name_that_two_have_is_refused_with_their_ids(
    team: Team,
    title: str,
    nextlabel: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NEXTLABEL_ARGILLA_WORKSPACE", raising=False)  # it would tell which one is meant
    with team.another(title, list(fields(0)), QUESTION) as other:
        found = [made(team, title, records=0), other]
        assert nextlabel("init", "--project", title) == 1
        said = capfd.readouterr().err
        assert all(one in said for one in found)


def test_a_project_alone_is_learned_from(team: Team, title: str, nextlabel: Callable[..., int], tmp_path: Path) -> None:
    """Nothing but the project is named: every answer that was there counts, and nothing is doubled."""
    project = made(team, title, ANSWERED)
    settings = team.settings(tmp_path / "home")
    bare = bare_recipe(team.platform, project)
    with started(bare.model_copy(update={"encoder": "hashing"}), settings) as service:
        status = wait(service, lambda now: now.generation and now.labelled == ANSWERED)
        assert (status.records, status.pushed) == (RECORDS, RECORDS)
        assert service.labeling == ASKED
    assert len(team.rows(project)) == RECORDS
    assert nextlabel("export", bare.name, "-o", "out.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(row["field.title"] for row in rows) == sorted(fields(number)["title"] for number in range(ANSWERED))
    assert all(row["answer"] == [truth(int(row["field.title"].split()[1]))] for row in rows)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"labels": ("bug", "wish")}, ["it lacks the labels wish", "it has other labels: praise"]),
        ({"kind": LabelKind.MULTI}, ["it asks for a single answer, not a multi one"]),
        ({"fields": "text"}, ["it does not show the fields text, it shows title, body"]),
        ({"fields": {"body": {"column": "body", "kind": "image"}}}, ["the field body is text there, not image"]),
        ({"question": "mood"}, ["'mood'", "'topic'"]),
    ],
    ids=lambda value: next(iter(value)),
)
def test_what_the_recipe_says_otherwise_is_told_with_both_sides(
    team: Team, title: str, tmp_path: Path, said: dict[str, Any], told: list[str]
) -> None:
    recipe = Recipe(
        name="mine", platform=team.platform, project=made(team, title, records=0), encoder="hashing", **said
    )
    settings = team.settings(tmp_path)
    with pytest.raises(LabelingMismatch) as raised:
        open_service(recipe, settings)
    assert all(part in str(raised.value) for part in told)
    with open_store(recipe, settings) as store:
        assert (store.get_meta(PROJECT), store.size(), store.lease(LEASE)) == (None, 0, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"encoder": "no-such-encoder"},
        {"data": "none.csv"},
        {"fields": {"text": {"column": "other"}}},
        {"strategy_options": {"x": 1}},
        {"labels": ("a\x00", "b")},
        {"data": "empty.csv"},
    ],
    ids=lambda wrong: " ".join(wrong),
)
def test_what_can_be_checked_is_checked_before_a_project_is_made(
    team: Team, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("text\none\ntwo\n")
    (tmp_path / "empty.csv").write_text("text\n")
    right = {"data": "rows.csv", "labels": ("a", "b"), "encoder": "hashing"}
    recipe = Recipe(name="mine", title=title, platform=team.platform, **(right | wrong))
    settings = team.settings(tmp_path / "home")
    with pytest.raises(NextlabelError):
        open_service(recipe, settings)
    assert title not in team.titles()
    with open_store(recipe, settings) as store:
        assert (store.get_meta(PROJECT), store.size(), store.lease(LEASE)) == (None, 0, None)


def test_a_file_is_held_against_what_is_there_and_growth_is_asked_about(
    team: Team, title: str, nextlabel: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    project = made(team, title, ANSWERED)

    def push(rows: int, *more: str, project: str = project) -> tuple[int, str]:
        lines = ["title,body", *(f"{fields(number)['title']},{fields(number)['body']}" for number in range(rows))]
        (tmp_path / "tickets.csv").write_text("\n".join(lines) + "\n")
        return nextlabel("push", "mine.yaml", "--project", project, *more), capfd.readouterr().err

    (tmp_path / "mine.yaml").write_text(f"platform: {team.platform}\ndata: tickets.csv\n")
    refused, said = push(RECORDS + 3)
    assert refused == 1
    assert f"{title!r} holds {RECORDS} records, {ANSWERED} answered" in said
    assert f"of the data's {RECORDS + 3} records it has {RECORDS}, and lacks 3, to be added" in said
    assert "changed in the project: " in said
    assert f"nothing was changed: to add 3 records to {title!r}, which was there before us, say --yes" in said
    code, said = push(RECORDS)
    assert (code, "it has all 30 records" in said, len(team.rows(project))) == (0, True, RECORDS)
    refused, said = push(RECORDS + 2)
    assert (refused, "lacks 2" in said, "answered" in said) == (1, True, False)
    code, said = push(RECORDS + 2, "--yes")
    assert (code, len(team.rows(project))) == (0, RECORDS + 2)
    code, said = push(RECORDS + 2)
    assert (code, "lacks" in said) == (0, False)
