"""What a start says that it is about to do, and when it asks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.cli.run import _agree
from nextlabel.backend.service.start_plan import StartPlan
from nextlabel.backend.store import Added, Store
from nextlabel.connectors.base import Survey
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Record


def plan(**more: Any) -> StartPlan:
    given: dict[str, Any] = {"attached": True, "survey": Survey(5000, 40, ("a webhook is added",)), "first": True}
    return StartPlan("Label Studio", "tickets", **(given | {"rows": 0, "new": 0} | more))


def test_a_new_project_is_told_and_not_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    made = plan(attached=False, survey=None, rows=40, new=40)
    assert made.lines() == ["'tickets' is made on Label Studio, and gets 40 records"]
    _agree(made, yes=False)


def test_what_there_is_and_what_changes_is_told_the_first_time() -> None:
    told = plan(rows=5001, new=1).lines()
    assert told == [
        "'tickets' holds 5,000 records, 40 answered",
        "of the data's 5,001 records it has 5,000, and lacks 1, to be added",
        "changed in the project: a webhook is added",
    ]
    assert plan().lines() == [told[0], told[2]]
    assert plan(rows=5000).lines() == [told[0], "it has all 5,000 records of the data", told[2]]
    assert plan(first=False, rows=5001, new=1).lines() == told[1:2]
    assert plan(first=False, rows=5000).lines() == []


@pytest.mark.parametrize(
    ("more", "grows"),
    [
        ({"rows": 3, "new": 1}, True),
        ({"rows": 3, "new": 0}, False),
        ({"rows": 3, "new": 1, "attached": False}, False),  # we made it ourselves
        ({"rows": 3, "new": 3, "survey": Survey(0, 0)}, False),  # an empty one waits for them
    ],
)
def test_growth_of_what_others_have_is_asked_about(
    more: dict[str, Any], grows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter("ny")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda text, err: next(answers) == "y")
    found = plan(**more)
    assert found.grows == grows
    _agree(found, yes=True)
    if not grows:
        _agree(found, yes=False)
        assert next(answers) == "n", "nobody was asked"
        return
    with pytest.raises(ConfigError, match="nothing was changed: without the data"):
        _agree(found, yes=False)
    _agree(found, yes=False)


def test_where_nobody_can_be_asked_growth_is_refused_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(ConfigError, match="to add 1 record to 'tickets', which was there before us, say --yes"):
        _agree(plan(rows=3, new=1), yes=False)


def test_what_would_be_added_is_told_and_not_stored(tmp_path: Path) -> None:
    more = [Record("a", {"text": "x"}), Record("b", {"text": "x"}), Record("c", {"text": "y"})]
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add_records(more[:1])
        assert store.would_add(more) == Added(new=2, duplicates=1, known=1)
        assert store.size() == 1
        assert store.add_records(more) == Added(new=2, duplicates=1, known=1)
