"""A project that the team has labelled already, and the file that it was made from: on both platforms."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextlabel.backend.loop.record_import import compared
from nextlabel.backend.pool.export import record_rows
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.opening import import_plan
from nextlabel.backend.service.ports import Status
from nextlabel.backend.stack import ArgillaServer
from nextlabel.backend.store import Store
from nextlabel.connectors.platforms import PLATFORMS
from tests.live import argilla_calls
from tests.live.teams import Argilla, Item, Question, Team, settled, started

LABELS = ("bug", "praise")
ASKED = Question("label", LABELS)
RECIPE = """\
platform: {platform}
project: {project}
data: tickets.csv
id: doc
fields: text
labels: [bug, praise]
encoder: hashing
"""
RECORDS, ANSWERED, NEW = 40, 24, 5


def text(number: int) -> str:
    return f"ticket number {number} {'crashes' if number % 2 else 'is lovely'}"


def truth(number: int) -> str:
    return LABELS[1 - number % 2]


def ticket(doc: str, text: str, answer: str = "") -> Item:
    """``doc`` is the file's id for it, empty where the team kept none."""
    return Item({"text": text}, {"label": [answer]} if answer else {}, doc)


def tickets() -> list[Item]:
    """Half of them with the file's ids, half known by their text only."""
    found = [
        ticket(f"d{n}" if n % 4 < 2 else "", text(n), truth(n) if n < ANSWERED else "") for n in range(RECORDS - 1)
    ]
    return [*found, ticket("", text(0), "bug")]


def texts(team: Team, project: str) -> list[str]:
    return sorted(row["text"] for row in team.rows(project))


@dataclass
class Attached:
    """nextlabel beside the team's project."""

    team: Team
    project: str
    folder: Path

    def __post_init__(self) -> None:
        written = RECIPE.format(platform=self.team.platform, project=self.project)
        (self.folder / "tickets.yaml").write_text(written)
        self.settings = self.team.settings(self.folder / "home", audit_share=0.5)

    def recipe(self, rows: int) -> Recipe:
        """With so many rows in its file."""
        lines = ["doc,text", *(f"d{number},{text(number)}" for number in range(rows))]
        (self.folder / "tickets.csv").write_text("\n".join(lines) + "\n")
        return Recipe.from_yaml(self.folder / "tickets.yaml")

    def counted(self, rows: int) -> tuple[int, int]:
        recipe = self.recipe(rows)
        connector = PLATFORMS[self.team.platform].attach(self.settings, self.project)
        try:
            with Store.open(self.folder / "empty.sqlite") as store:
                return compared(recipe.read(), store, connector, import_plan(recipe, self.settings))
        finally:
            connector.close()

    def run(self, rows: int) -> Status:
        with started(self.recipe(rows), self.settings) as service:
            return settled(service)

    def exported(self) -> dict[str, Mapping[str, Any]]:
        with Store.open(self.folder / "home" / "tickets" / "store.sqlite") as store:
            return {row["uid"]: row for row in record_rows(store, self.recipe(0).labeling())}

    def audit(self) -> set[str]:
        with Store.open(self.folder / "home" / "tickets" / "store.sqlite") as store:
            return {item.record.fields["text"] for item in store.records() if item.audit}


def test_a_labelled_project_and_its_own_file(team: Team, tmp_path: Path) -> None:
    """Nothing is doubled, every answer counts, each copy has its own, the audit slice is blind and stays as it is."""
    project = team.make(f"the team's {secrets.token_hex(4)}", ["text"], ASKED)
    team.put(project, tickets())
    attached = Attached(team, project, tmp_path)
    total = RECORDS - 1 + NEW
    assert attached.counted(total) == (total, NEW)
    there = sorted(one.fields["text"] for one in tickets())
    assert texts(team, project) == there, "nothing is changed by counting"

    now = attached.run(total)
    assert (now.records, now.pushed, now.labelled) == (RECORDS + NEW, RECORDS + NEW, ANSWERED + 1)
    assert now.audit_labelled == 0
    assert texts(team, project) == sorted([*(text(number) for number in range(total)), text(0)])
    rows = attached.exported()
    copy = next(row for uid, row in rows.items() if not uid.startswith("d"))
    assert (copy["answer"], copy["copy_of"]) == (["bug"], "d0")
    assert {uid: row["answer"] for uid, row in rows.items() if uid.startswith("d")} == {
        f"d{number}": [truth(number)] for number in range(ANSWERED)
    }
    audit = attached.audit()
    assert audit
    assert audit.isdisjoint(one.fields["text"] for one in tickets() if one.given)

    by_hand = [ticket("", text(total)), ticket("", text(total + 1), truth(total + 1))]
    team.put(project, by_hand)  # the next rows of the file, before it is read again
    again = attached.run(total + 3)
    assert (again.records, again.labelled) == (RECORDS + NEW + 3, ANSWERED + 2)
    assert len(team.rows(project)) == RECORDS + NEW + 3
    assert attached.audit() - {text(total + number) for number in range(3)} == audit
    assert by_hand[1].fields["text"] not in attached.audit()


def test_chats_tell_records_of_one_text_apart(argilla: ArgillaServer, tmp_path: Path) -> None:
    """Argilla's chat and custom fields are not read, and count for what is the same record."""
    team = Argilla(argilla)
    project = team.make(f"the team's {secrets.token_hex(4)}", ["text"], ASKED, chat="talk")
    talks = ["hello", "good bye", "hello", ""]
    items = [
        {"fields": {"text": "same"} | ({"talk": [{"role": "user", "content": talk}]} if talk else {})} for talk in talks
    ]
    argilla_calls.api(argilla, "POST", f"/datasets/{project}/records/bulk", json={"items": items})
    connector = PLATFORMS[team.platform].attach(team.settings(tmp_path), project)
    with closing(connector), Store.open(tmp_path / "store.sqlite") as store:
        store.add_listed(connector.records())
        listed = list(store.records())
    assert [item.duplicate_of for item in listed] == [None, None, listed[0].record.uid, None]
