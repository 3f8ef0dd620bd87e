"""The recipes of the published formats, on made-up data of the same form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nextlabel.backend.cli import app
from nextlabel.backend.data.records import ReadReport
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.connectors.errors import ConfigError, DataError
from nextlabel.connectors.records import FieldKind
from nextlabel.recipes import bbc_news, hate_speech, memes, misogyny_es, politeness, rare_class
from tests.recipes import made_up

CASES = [
    pytest.param(hate_speech.recipe, made_up.vicomtech, {"user_id", "split"}, id="hate-speech"),
    pytest.param(misogyny_es.recipe, made_up.ami, set(), id="misogyny-es"),
    pytest.param(misogyny_es.hatecheck, made_up.hatecheck, {"templ_id"}, id="misogyny-es-hatecheck"),
    pytest.param(memes.recipe, made_up.mami, set(), id="memes"),
    pytest.param(politeness.recipe, made_up.politeness, set(), id="politeness"),
    pytest.param(rare_class.recipe, made_up.comments, set(), id="rare-class"),
]


@pytest.mark.parametrize(("recipe", "make", "metadata"), CASES)
def test_records_and_answers(
    recipe: Recipe, make: Callable[[Path, int], Path], metadata: set[str], tmp_path: Path
) -> None:
    recipe = recipe.with_data(str(make(tmp_path / "data", 6)))
    report = ReadReport()
    records, truth = list(recipe.read(report)), recipe.truth()
    assert report.records == len(records) == 6
    assert {record.uid for record in records} == set(truth)
    assert {record.fields["text"][-1] for record in records} == {"0", "1"}
    for record in records:
        assert "ñ" in record.fields["text"]
        assert set(record.metadata) == metadata
        assert not set(recipe.labels) & set(map(str, record.metadata.values())), "nothing may tell the answer"
    assert len({(record.fields["text"][-1], truth[record.uid]) for record in records}) == 2
    assert set(truth.values()) <= set(recipe.labels)


@pytest.mark.parametrize(("recipe", "make", "metadata"), CASES)
def test_labels_are_described_and_both_platforms_can_ask(
    recipe: Recipe, make: Callable[[Path, int], Path], metadata: set[str]
) -> None:
    assert set(recipe.descriptions) == set(recipe.labels)
    for platform in ("label-studio", "argilla"):
        assert Recipe(**dict(recipe.on(platform))).labeling().labels == recipe.labels


def test_labels_are_those_of_the_documents() -> None:
    assert hate_speech.recipe.labels == ("hate", "noHate")
    assert misogyny_es.recipe.labels == (
        "non-misogynous",
        "stereotype & objectification",
        "dominance",
        "derailing",
        "sexual harassment & threats of violence",
        "discredit",
    )
    assert misogyny_es.hatecheck.labels == ("hateful", "non-hateful")
    assert memes.recipe.labels == ("misogynous", "not misogynous")
    assert [field.kind for field in memes.recipe.labeling().fields] == [FieldKind.IMAGE, FieldKind.TEXT]


def test_what_is_left_out_is_reported(tmp_path: Path) -> None:
    report = ReadReport()
    list(hate_speech.recipe.with_data(str(made_up.vicomtech(tmp_path, 2))).read(report))
    assert report.lines()[-1].endswith("left out: 1 relation, 1 idk/skip")


def test_data_that_are_not_there_are_told() -> None:
    for recipe in (hate_speech.recipe, misogyny_es.recipe, misogyny_es.hatecheck, memes.recipe, politeness.recipe):
        with pytest.raises(DataError, match="there is no"):
            list(recipe.with_data("nowhere.csv").read())


def test_the_way_to_other_data_is_for_recipes_that_read_some(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bbc-news brings its data with it"):
        bbc_news.recipe.with_data("x.csv")
    (tmp_path / "other.csv").write_text("text\nhello\n")
    plain = Recipe(name="plain", data="first.csv", labels=("a",))
    (record,) = plain.with_data(str(tmp_path / "other.csv")).read()
    assert record.fields == {"text": "hello"}


@pytest.mark.parametrize("command", ["run", "push"])
def test_the_commands_pass_the_data_on(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTLABEL_HOME", str(tmp_path))
    done = CliRunner().invoke(app, [command, "bbc-news", "--data", "x.csv"])
    assert isinstance(done.exception, ConfigError)
    assert "bbc-news brings its data with it" in str(done.exception)
