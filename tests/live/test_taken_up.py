"""A project that the team has labelled already, and the file that it was made from: on both platforms."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from pydantic import SecretStr

from nextlabel.backend.loop.record_import import compared
from nextlabel.backend.pool.export import record_rows
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.opening import import_plan, open_service
from nextlabel.backend.service.ports import Status
from nextlabel.backend.settings import Settings
from nextlabel.backend.stack import ArgillaServer, LabelStudioServer
from nextlabel.backend.store import Store
from nextlabel.connectors.platforms import PLATFORMS
from tests.live import argilla_calls, label_studio_calls

LABELS = ("bug", "praise")
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text" choice="single"><Choice value="bug"/>'
    '<Choice value="praise"/></Choices></View>'
)
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
COPY = 39  # it has the text of ticket 0, and another answer


@dataclass(frozen=True)
class Ticket:
    """What the team put there: ``doc`` is the file's id for it, empty where the team kept none."""

    doc: str
    text: str
    answer: str = ""


def text(number: int) -> str:
    return f"ticket number {number} {'crashes' if number % 2 else 'is lovely'}"


def truth(number: int) -> str:
    return LABELS[1 - number % 2]


def tickets() -> list[Ticket]:
    """Half of them with the file's ids, half known by their text only."""
    found = [
        Ticket(f"d{n}" if n % 4 < 2 else "", text(n), truth(n) if n < ANSWERED else "") for n in range(RECORDS - 1)
    ]
    return [*found, Ticket("", text(0), "bug")]


class Team(Protocol):
    """What the team does on its platform."""

    name: str

    def settings(self) -> dict[str, Any]: ...
    def make(self) -> str: ...
    def put(self, project: str, tickets: Sequence[Ticket]) -> None: ...
    def texts(self, project: str) -> list[str]: ...


class Studio:
    """Fulfils Team."""

    name = "label-studio"

    def __init__(self, server: LabelStudioServer) -> None:
        self._server = server

    def settings(self) -> dict[str, Any]:
        return {"label_studio_url": self._server.url, "label_studio_api_key": SecretStr(self._server.token)}

    def _call(self, method: str, path: str, **options: Any) -> Any:
        return label_studio_calls.api(self._server, method, path, **options).json()

    def make(self) -> str:
        return str(self._call("POST", "/api/projects/", json={"title": "the team's", "label_config": CONFIG})["id"])

    def put(self, project: str, tickets: Sequence[Ticket]) -> None:
        self._call("POST", f"/api/projects/{project}/import", json=[self._task(one) for one in tickets])

    @staticmethod
    def _task(one: Ticket) -> dict[str, Any]:
        region = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [one.answer]}}
        data = {"text": one.text} | ({"doc": one.doc} if one.doc else {})
        return {"data": data} | ({"annotations": [{"result": [region]}]} if one.answer else {})

    def texts(self, project: str) -> list[str]:
        listed = self._call("GET", "/api/tasks", params={"project": project, "page_size": 500})
        return [task["data"]["text"] for task in listed["tasks"]]


class Argilla:
    """Fulfils Team."""

    name = "argilla"

    def __init__(self, server: ArgillaServer) -> None:
        self._server = server

    def settings(self) -> dict[str, Any]:
        return {"argilla_url": self._server.url, "argilla_api_key": SecretStr(self._server.token)}

    def _call(self, method: str, path: str, **options: Any) -> Any:
        return argilla_calls.api(self._server, method, path, **options)

    def make(self, *more: dict[str, Any]) -> str:
        [space] = [one for one in self._call("GET", "/me/workspaces")["items"] if one["name"] == self._server.workspace]
        body = {"name": f"the team's {secrets.token_hex(4)}", "workspace_id": space["id"]}
        path = f"/datasets/{(made := self._call('POST', '/datasets', json=body))['id']}"
        named = {"name": "text", "title": "text", "required": True}
        for field in (named | {"settings": {"type": "text"}}, *more):
            self._call("POST", f"{path}/fields", json=field)
        options = [{"value": label, "text": label} for label in LABELS]
        asked = {"name": "label", "title": "label", "required": True}
        self._call(
            "POST", f"{path}/questions", json=asked | {"settings": {"type": "label_selection", "options": options}}
        )
        self._call("PUT", f"{path}/publish")
        return str(made["id"])

    def put(self, project: str, tickets: Sequence[Ticket]) -> None:
        me = self._call("GET", "/me")["id"]
        items = [self._record(one, me) for one in tickets]
        self._call("POST", f"/datasets/{project}/records/bulk", json={"items": items})

    @staticmethod
    def _record(one: Ticket, me: str) -> dict[str, Any]:
        answer = {"user_id": me, "status": "submitted", "values": {"label": {"value": one.answer}}}
        return {
            "fields": {"text": one.text},
            "external_id": one.doc or None,
            "responses": [answer] if one.answer else [],
        }

    def texts(self, project: str) -> list[str]:
        listed = self._call("GET", f"/datasets/{project}/records", params={"limit": 500})
        return [record["fields"]["text"] for record in listed["items"]]


@pytest.fixture(params=["label_studio", "argilla"])
def team(request: pytest.FixtureRequest) -> Team:
    server = request.getfixturevalue(request.param)
    return Studio(server) if request.param == "label_studio" else Argilla(server)


@dataclass
class Attached:
    """nextlabel beside the team's project."""

    team: Team
    project: str
    folder: Path

    def __post_init__(self) -> None:
        written = RECIPE.format(platform=self.team.name, project=self.project)
        (self.folder / "tickets.yaml").write_text(written)
        self.settings = Settings(
            home=self.folder / "home", poll_interval_s=0.2, audit_share=0.5, threads=1, **self.team.settings()
        )

    def recipe(self, rows: int) -> Recipe:
        """With so many rows in its file."""
        lines = ["doc,text", *(f"d{number},{text(number)}" for number in range(rows))]
        (self.folder / "tickets.csv").write_text("\n".join(lines) + "\n")
        return Recipe.from_yaml(self.folder / "tickets.yaml")

    def counted(self, rows: int) -> tuple[int, int]:
        recipe = self.recipe(rows)
        connector = PLATFORMS[self.team.name].attach(self.settings, self.project)
        try:
            with Store.open(self.folder / "empty.sqlite") as store:
                return compared(recipe.read(), store, connector, import_plan(recipe, self.settings))
        finally:
            connector.close()

    @contextmanager
    def run(self, rows: int) -> Iterator[Callable[[], Status]]:
        service = open_service(self.recipe(rows), self.settings)
        try:
            service.start()
            yield lambda: settled(service.status)
        finally:
            service.stop()

    def exported(self) -> dict[str, Mapping[str, Any]]:
        with Store.open(self.folder / "home" / "tickets" / "store.sqlite") as store:
            return {row["uid"]: row for row in record_rows(store, self.recipe(0).labeling())}

    def audit(self) -> set[str]:
        with Store.open(self.folder / "home" / "tickets" / "store.sqlite") as store:
            return {item.record.fields["text"] for item in store.records() if item.audit}


def settled(status: Callable[[], Status]) -> Status:
    deadline = time.monotonic() + 60
    while not ((now := status()).generation and now.generation_log_head == now.log_head and now.state == "idle"):
        assert time.monotonic() < deadline, f"it never came: {now}"
        time.sleep(0.02)
    return now


def test_a_labelled_project_and_its_own_file(team: Team, tmp_path: Path) -> None:
    """Nothing is doubled, every answer counts, each copy has its own, the audit slice is blind and stays as it is."""
    project = team.make()
    team.put(project, tickets())
    attached = Attached(team, project, tmp_path)
    total = RECORDS - 1 + NEW
    assert attached.counted(total) == (total, NEW)
    assert sorted(team.texts(project)) == sorted(one.text for one in tickets()), "nothing is changed by counting"

    with attached.run(total) as status:
        now = status()
    assert (now.records, now.pushed, now.labelled) == (RECORDS + NEW, RECORDS + NEW, ANSWERED + 1)
    assert now.audit_labelled == 0
    assert sorted(team.texts(project)) == sorted([*(text(number) for number in range(total)), text(0)])
    rows = attached.exported()
    copy = next(row for uid, row in rows.items() if not uid.startswith("d"))
    assert (copy["answer"], copy["copy_of"]) == (["bug"], "d0")
    assert {uid: row["answer"] for uid, row in rows.items() if uid.startswith("d")} == {
        f"d{number}": [truth(number)] for number in range(ANSWERED)
    }
    audit = attached.audit()
    assert audit
    assert audit.isdisjoint(one.text for one in tickets() if one.answer)

    by_hand = [Ticket("", text(total)), Ticket("", text(total + 1), truth(total + 1))]
    team.put(project, by_hand)  # the next rows of the file, before it is read again
    with attached.run(total + 3) as status:
        again = status()
    assert (again.records, again.labelled) == (RECORDS + NEW + 3, ANSWERED + 2)
    assert len(team.texts(project)) == RECORDS + NEW + 3
    assert attached.audit() - {text(total + number) for number in range(3)} == audit
    assert by_hand[1].text not in attached.audit()


def test_chats_tell_records_of_one_text_apart(argilla: ArgillaServer, tmp_path: Path) -> None:
    """Argilla's chat and custom fields are not read, and count for what is the same record."""
    team = Argilla(argilla)
    project = team.make({"name": "talk", "title": "talk", "required": False, "settings": {"type": "chat"}})
    talks = ["hello", "good bye", "hello", ""]
    items = [
        {"fields": {"text": "same"} | ({"talk": [{"role": "user", "content": talk}]} if talk else {})} for talk in talks
    ]
    argilla_calls.api(argilla, "POST", f"/datasets/{project}/records/bulk", json={"items": items})
    connector = PLATFORMS[team.name].attach(Settings(home=tmp_path, **team.settings()), project)
    with closing(connector), Store.open(tmp_path / "store.sqlite") as store:
        store.add_listed(connector.records())
        listed = list(store.records())
    assert [item.duplicate_of for item in listed] == [None, None, listed[0].record.uid, None]
