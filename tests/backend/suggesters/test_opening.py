"""From a recipe's keys to suggesters, and what is refused on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.suggesters import Suggester, SuggesterSpec, Surroundings, open_suggesters
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Labeling, LabelKind, Record

LABELING = Labeling(LabelKind.SINGLE, ("good", "bad"))


def opened(
    labeling: Labeling = LABELING, predicted: dict[str, tuple[str, str]] | None = None, **keys: Any
) -> Suggester:
    around = Surroundings(EncoderSpec(""), lambda spec: predicted or {})
    return open_suggesters([SuggesterSpec(**keys)], labeling, around)[0]


def said(one: Suggester, *texts: str) -> list[dict[str, float] | None]:
    found = one.propose([Record(str(at), {"text": text}) for at, text in enumerate(texts)])
    return [None if proposal is None else dict(proposal.probabilities) for proposal in found]


def test_labels_are_mapped_and_what_is_left_out_says_nothing() -> None:
    def stars(text: str) -> dict[str, float]:
        return {"5": 0.5, "4": 0.2, "1": 0.3} if text == "fine" else {"3": 0.9, "1": 0.1}

    one = opened(function=stars, labels={"5": "good", "4": "good", "1": "bad", "3": ""})
    assert said(one, "fine", "so so", " ") == [{"good": 0.7, "bad": 0.3}, None, None]
    assert not one.foreign
    assert said(opened(function=stars, labels={"1": "bad"}), "fine") == [None]  # the likeliest is none of ours


def test_foreign_labels_of_a_source_that_does_not_name_them_are_gathered() -> None:
    one = opened(function=lambda text: text, labels={"+": "good"})
    assert said(one, "+", "?") == [{"good": 0.7}, None]
    assert one.foreign == {"?"}


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"keywords": {"nice": ["fine"]}}, r"none of its labels is one of ours; it has 'nice', ours are 'good', 'bad'"),
        ({"keywords": {"nice": ["fine"]}, "labels": {"nice": "great"}}, "'great' is none of ours; ours are"),
        ({"keywords": {"nice": ["fine"]}, "labels": {"nicest": "good"}}, "it has no label 'nicest'; it has 'nice'"),
        ({"keywords": {"good": ["fine"]}, "only": ["bad"]}, "only: it has no label 'bad'; it has 'good'"),
        ({"url": "ftp://host/x"}, "is no http"),
        ({"url": "http://host/x", "token": "NOT_SET_HERE"}, "NOT_SET_HERE to hold its token"),
        ({"spacy": "no_such_pipeline"}, "spaCy can't load no_such_pipeline"),
        ({"skops": "nowhere.skops"}, "there is no file nowhere.skops"),
    ],
)
def test_what_can_not_be_is_refused_at_the_start(keys: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        opened(**keys)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({}, "exactly one of .*this one has none"),
        ({"model": "a", "url": "http://b"}, "has model and url"),
        ({"model": "a", "trusted": ["b"]}, "trusted: goes with skops"),
        ({"column": "a", "at_least": 2}, "less than or equal to 1"),
    ],
)
def test_keys_that_do_not_go_together(keys: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SuggesterSpec(**keys)


def test_predictions_in_a_column() -> None:
    one = opened(column="guess", probability="sure", predicted={"0": ("good", "0.9"), "1": ("bad", ""), "2": ("", "")})
    assert said(one, "a", "b", "c", "d") == [{"good": 0.9}, {"bad": 0.7}, None, None]
    beside = one.propose([Record("9", {"text": "x"}, {"guess": "bad", "sure": 0.6})])[0]
    assert beside is not None
    assert dict(beside.probabilities) == {"bad": 0.6}
    with pytest.raises(ConfigError, match="holds '90%' for the record '0'"):
        opened(column="guess", probability="sure", predicted={"0": ("good", "90%")})


def test_only_texts_with_a_work_of_art_and_a_threshold() -> None:
    def art(text: str) -> list[Any]:
        return [(0, 3, "WORK_OF_ART", 0.9 if "Ode" in text else 0.3)] if "O" in text else []

    one = opened(function=art, only=["WORK_OF_ART"], at_least=0.5)
    kept, proposals = one.keeps([Record(text, {"text": text}) for text in ("Ode", "Off", "no")])
    assert kept == [True, False, False]
    assert proposals == [None, None, None]
    spans = opened(Labeling(LabelKind.SPAN, ("title",)), function=art, labels={"WORK_OF_ART": "title"}, only=True)
    kept, proposals = spans.keeps([Record(text, {"text": text}) for text in ("Ode", "no")])
    assert kept == [True, False]
    assert proposals[0] is not None
    assert [mark.label for mark in proposals[0].marks] == ["title"]


def test_two_of_a_kind_have_names_of_their_own() -> None:
    around = Surroundings(EncoderSpec(""), lambda spec: {})
    words = SuggesterSpec(keywords={"good": ("fine",)})
    assert [one.name for one in open_suggesters([words, words], LABELING, around)] == ["keywords 1", "keywords 2"]
    named = SuggesterSpec(name="rules", keywords={"good": ("fine",)})
    with pytest.raises(ConfigError, match="two are called 'rules'"):
        open_suggesters([named, named], LABELING, around)


def test_a_recipe_in_a_file_says_it_in_short_or_in_full(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,guess,sure\nfine,good,0.8\nawful,bad,\n")
    (tmp_path / "model").mkdir()
    path = tmp_path / "reviews.yaml"
    path.write_text(
        "data: data.csv\nlabels: [good, bad]\nsuggest_from:\n  - model\n  - http://127.0.0.1:9/\n"
        "  - column: guess\n    probability: sure\n  - keywords: {good: fine, bad: [awful, bad]}\n    only: true\n"
    )
    recipe = Recipe.from_yaml(path)
    first, second, third, fourth = recipe.suggest_from
    assert first.model == str(tmp_path / "model")
    assert second.url == "http://127.0.0.1:9/"
    assert list(recipe.predictions(third).values()) == [("good", "0.8"), ("bad", "")]
    assert fourth.keywords == {"good": ("fine",), "bad": ("awful", "bad")}
    assert fourth.only is True
    path.write_text("data: data.csv\nlabels: [good, bad]\nsuggest_from: {modle: x}\n")
    with pytest.raises(ConfigError, match=r"reviews.yaml:3: suggest_from.0.modle: is not known here"):
        Recipe.from_yaml(path)
