"""How ``nextlabel status`` and the report tell of models and rules that suggest."""

from __future__ import annotations

from nextlabel.backend.cli.status_words import suggester
from nextlabel.backend.reports import project_page

KNOWN = {"accuracy": 0.9, "low": 0.8, "high": 0.95, "n": 40, "said": 40, "answered": 50}
NOTHING = {"said": 0, "answered": 0, "n": 0}
FOUND = {"name": "words", "records": 100, "asked": 100, "coverage": 0.8, "agreeing": KNOWN, "blind": NOTHING}


def test_a_status_says_how_right_it_is_and_whether_it_is_heard() -> None:
    assert suggester({**FOUND, "weight": 0.85, "trouble": "", "foreign": []}) == (
        "suggests something for 80% of 100 records; right by 0.900 of people's answers (95%: 0.800 to 0.950, "
        "40 suggestions); weight 0.85"
    )
    silent = suggester({**FOUND, "asked": 50, "weight": 0.0, "trouble": "it is away", "foreign": ["X", "Y"]})
    assert silent.startswith("fails: it is away; suggests something for 80% of 100 records of 50 asked so far")
    assert "not heard: what is learned does better without it" in silent
    assert silent.endswith("says labels that stand for none of ours (X, Y): map them with `labels:`")
    assert suggester({"name": "words", "weight": None, "trouble": "", "foreign": []}) == "has said nothing yet"


def test_a_report_gives_the_figures_with_their_interval() -> None:
    told = project_page.suggester({"agreeing": KNOWN, "blind": NOTHING})
    assert told.startswith("people say the same 0.900 (95%: 0.800 to 0.950, 40 suggestions); it suggests something")
    assert "0 of 0 answered records on the audit slice" not in told
