"""Rules that label: words, expressions, functions of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.backend.questions import ASSUMED
from nextlabel.backend.suggesters.heuristics import of_expressions, of_function, of_keywords
from nextlabel.connectors.errors import ConfigError, LearningError


def labels(say: object, *texts: str) -> list[list[str]]:
    return [list(one.probabilities) for one in say(texts)]  # type: ignore[operator]


def test_keywords_are_whole_words_in_any_case() -> None:
    say, known = of_keywords({"money": ["cash", "bank transfer"], "card": ["straße"]})
    assert known == ("money", "card")
    assert labels(say, "CASH please", "cashew nuts", "a bank\ntransfer", "STRASSE 5", "") == [
        ["money"],
        [],
        ["money"],
        ["card"],
        [],
    ]
    (one,) = say(["my cash and a Bank Transfer"])
    assert [(mark.start, mark.end, mark.label) for mark in one.marks] == [(3, 7, "money"), (14, 27, "money")]
    assert one.probabilities == {"money": ASSUMED}


def test_expressions_mark_what_they_match_and_wrong_ones_are_refused() -> None:
    say, _ = of_expressions({"amount": [r"\d+ ?€"], "date": [r"\d{4}-\d\d"]})
    assert labels(say, "30 € on 2024-05", "none") == [["amount", "date"], []]
    with pytest.raises(ConfigError, match=r"suggest_from: \( is no regular expression"):
        of_expressions({"amount": ["("]})
    with pytest.raises(ConfigError, match="there is nothing for the label 'amount'"):
        of_expressions({"amount": [" "]})


def test_an_expression_that_takes_too_long_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextlabel.backend.suggesters.heuristics.SLOWEST_S", 0.05)
    say, _ = of_expressions({"slow": [r"(a|a)*b"]})
    assert labels(say, "a" * 40 + "c") == [[]]


def test_a_function_beside_the_recipe_says_labels(tmp_path: Path) -> None:
    (tmp_path / "rules_of_ours.py").write_text(
        "def spam(text):\n    return {'spam': 0.9} if 'win' in text else None\n\n"
        "def broken(text):\n    return 1 / 0\n\nodd = 5\n"
    )
    say, known = of_function("rules_of_ours:spam", tmp_path)
    assert known is None
    assert [dict(one.probabilities) for one in say(["you win", "hello"])] == [{"spam": 0.9}, {}]
    broken, _ = of_function("rules_of_ours:broken", tmp_path)
    with pytest.raises(LearningError, match="rules_of_ours:broken failed on 'you win': ZeroDivisionError"):
        broken(["you win"])
    for wrong, why in (("rules_of_ours", "write MODULE:FUNCTION"), ("rules_of_ours:odd", "is a int, and no function")):
        with pytest.raises(ConfigError, match=why):
            of_function(wrong, tmp_path)
    with pytest.raises(ConfigError, match="can't be imported: ModuleNotFoundError"):
        of_function("nowhere_to_be_found:spam", tmp_path)


def test_a_function_that_fails_on_one_text_says_nothing_of_it() -> None:
    say, _ = of_function(lambda text: 1 / 0 if text == "odd" else ["a", "b"], None)
    assert labels(say, "odd", "even") == [[], ["a", "b"]]
