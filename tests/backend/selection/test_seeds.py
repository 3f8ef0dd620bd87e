"""Positives to start from: by keyword, by example, by similarity to a phrase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.selection import Seeds, find_seeds, seed_scores
from nextlabel.backend.selection.seeds import keyword_scores
from nextlabel.connectors.errors import ConfigError

TEXTS = ["I loved Dune by Herbert", "nice weather", "a NOVEL\n idea", "novelty items", "#book talk", "C++ is fine"]
WORDS = ("dune", "weather", "book")


def encode(texts: Sequence[str]) -> np.ndarray:
    """A dimension a word."""
    return np.array([[word in text.lower() for word in WORDS] for text in texts], np.float32)


@pytest.mark.parametrize(
    ("keywords", "found"),
    [
        (["novel"], [2]),
        (["novel idea"], [2]),
        (["DUNE", "weather"], [0, 1]),
        (["#book"], [4]),
        (["book"], [4]),
        (["c++"], [5]),
        (["/nov(el|ice)/"], [2, 3]),
        (["/(?:by|is) \\w+/"], [0, 5]),
        (["a.b", ""], []),
        ([], []),
    ],
)
def test_keywords_are_whole_words_or_expressions(keywords: list[str], found: list[int]) -> None:
    assert np.flatnonzero(keyword_scores(TEXTS, keywords)).tolist() == found


def test_examples_and_phrases_are_compared_as_vectors() -> None:
    vectors = encode(TEXTS)
    assert find_seeds(Seeds(examples=("another Dune",)), TEXTS, vectors, encode).tolist() == [0]
    assert find_seeds(Seeds(phrase="a book"), TEXTS, vectors, encode).tolist() == [4]
    both = seed_scores(Seeds(examples=("dune and weather",), phrase="book"), TEXTS, vectors, encode)
    assert both == pytest.approx([0.5**0.5, 0.5**0.5, 0, 0, 1, 0])


def test_a_keyword_comes_before_what_is_only_similar() -> None:
    seeds = Seeds(keywords=("weather",), phrase="dune")
    assert find_seeds(seeds, TEXTS[1::-1] * 3, encode(TEXTS[1::-1] * 3), encode, most=4).tolist() == [0, 2, 4, 1]


def test_the_encoder_is_left_alone_when_keywords_are_all() -> None:
    def refuse(texts: Sequence[str]) -> np.ndarray:
        raise AssertionError(texts)

    assert seed_scores(Seeds(keywords=("dune",)), TEXTS, encode(TEXTS), refuse).tolist() == [2, 0, 0, 0, 0, 0]


def test_seeds_that_say_nothing_or_are_wrong_are_refused() -> None:
    with pytest.raises(ConfigError, match="give keywords"):
        Seeds(keywords=(" ",))
    with pytest.raises(ConfigError, match=r"/\(/ is no regular expression"):
        Seeds(keywords=("dune", "/(/"))


def test_a_recipe_names_them() -> None:
    fields: dict[str, Any] = {"name": "books", "data": "x.csv", "labels": ("book", "other")}
    recipe = Recipe(**fields | {"strategy": "rare", "seeds": {"keywords": ["dune"], "phrase": "a book"}})
    assert recipe.seeds == Seeds(keywords=("dune",), phrase="a book")
    with pytest.raises(ValueError, match="keyword"):
        Recipe(**fields | {"strategy": "rare", "seeds": {"keyword": ["dune"]}})
    with pytest.raises(ValueError, match="write `strategy: rare`"):
        Recipe(**fields | {"seeds": {"phrase": "a book"}})


def test_an_expression_that_would_take_hours_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextlabel.backend.selection.seeds.SLOWEST_S", 0.05)
    texts = ["a bad crash", "a" * 5_000 + "!", "a crash again"]
    assert keyword_scores(texts, ["/(a|aa)+$/", "crash"]).tolist() == [2.0, 0.0, 2.0]
