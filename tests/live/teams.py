"""A team at work in a project of its own, through its platform's own API; and a service beside it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.opening import open_service
from nextlabel.backend.service.ports import Status
from nextlabel.backend.service.service import Service
from nextlabel.backend.settings import Settings
from nextlabel.backend.stack import ArgillaServer, LabelStudioServer
from nextlabel.connectors.base import BackendAddress
from tests.live import argilla_calls, label_studio_calls

Given = Mapping[str, Sequence[str]]
"""Question -> the labels that somebody gives."""


@dataclass(frozen=True)
class Question:
    """What a team asks. ``hints`` describe labels, ``instruction`` is what people read above it."""

    name: str
    labels: tuple[str, ...]
    kind: str = "single"
    hints: Mapping[str, str] = field(default_factory=dict)
    instruction: str = ""


@dataclass(frozen=True)
class Item:
    """A record as a team puts it there. ``doc``: the team's id for it, empty where it keeps none."""

    fields: Mapping[str, str]
    given: Given = field(default_factory=dict)
    doc: str = ""


class Team(Protocol):
    """What a team does on one platform, and sees there."""

    platform: str

    def settings(self, home: Path, **more: Any) -> Settings:
        """Of a service that reaches the platform."""

    def env(self) -> dict[str, str]:
        """The same, for the command."""

    def make(self, title: str, fields: Sequence[str], *questions: Question) -> str:
        """A project that asks all ``questions``, the first of them of everybody. Label Studio has the first only."""

    def another(self, title: str, fields: Sequence[str], question: Question) -> AbstractContextManager[str]:
        """A project of the same name."""

    def ask(self, project: str, question: Question) -> None:
        """From now on ask this in place of the question of that name."""

    def put(self, project: str, items: Sequence[Item]) -> None: ...

    def answer(self, project: str, answers: Mapping[str, Given]) -> None:
        """Remote id -> what is said of it; questions that the project lacks are left out."""

    def rows(self, project: str) -> list[dict[str, str]]:
        """The fields of every record."""

    def suggested(self, project: str, question: Question) -> set[str]:
        """Every label that a suggestion of the model in force names."""

    def titles(self) -> list[str]: ...
    def page(self, project: str) -> str: ...


class Studio:
    """Fulfils Team on Label Studio."""

    platform = "label-studio"

    def __init__(self, server: LabelStudioServer) -> None:
        self._server = server
        self._fields: dict[str, Sequence[str]] = {}
        self._asked: dict[str, Question] = {}

    def _call(self, method: str, path: str, **options: Any) -> Any:
        return label_studio_calls.api(self._server, method, path, **options).json()

    def settings(self, home: Path, **more: Any) -> Settings:
        more |= {"label_studio_url": self._server.url, "label_studio_api_key": SecretStr(self._server.token)}
        return Settings(home=home, poll_interval_s=0.2, threads=1, **more)

    def env(self) -> dict[str, str]:
        return self._server.env()

    def make(self, title: str, fields: Sequence[str], *questions: Question) -> str:
        body = {"title": title, "label_config": self.config(fields, questions[0])}
        project = str(self._call("POST", "/api/projects/", json=body)["id"])
        self._fields[project], self._asked[project] = fields, questions[0]
        return project

    @staticmethod
    def config(fields: Sequence[str], question: Question) -> str:
        header = f'<Header value="{question.instruction}"/>' if question.instruction else ""
        texts = "".join(f'<Text name="the_{name}" value="${name}"/>' for name in fields)
        choices = "".join(f'<Choice value="{one}" hint="{question.hints.get(one, "")}"/>' for one in question.labels)
        how = "multiple" if question.kind == "multi" else "single"
        control = f'<Choices name="{question.name}" toName="the_{fields[-1]}" choice="{how}">{choices}</Choices>'
        return f"<View>{header}{texts}{control}</View>"

    def another(self, title: str, fields: Sequence[str], question: Question) -> AbstractContextManager[str]:
        return nullcontext(self.make(title, fields, question))

    def ask(self, project: str, question: Question) -> None:
        body = {"label_config": self.config(self._fields[project], question)}
        self._call("PATCH", f"/api/projects/{project}/", json=body)
        self._asked[project] = question

    def put(self, project: str, items: Sequence[Item]) -> None:
        tasks = []
        for one in items:
            data = dict(one.fields) | ({"doc": one.doc} if one.doc else {})
            annotations = [{"result": self._result(project, one.given)}] if one.given else []
            tasks.append({"data": data, "annotations": annotations})
        self._call("POST", f"/api/projects/{project}/import", json=tasks)

    def _result(self, project: str, given: Given) -> list[dict[str, Any]]:
        name, shown = self._asked[project].name, f"the_{self._fields[project][-1]}"
        value = {"choices": list(given[name])}
        return [{"from_name": name, "to_name": shown, "type": "choices", "value": value}]

    def answer(self, project: str, answers: Mapping[str, Given]) -> None:
        for task, given in answers.items():
            self._call("POST", f"/api/tasks/{task}/annotations", json={"result": self._result(project, given)})

    def rows(self, project: str) -> list[dict[str, str]]:
        listed = self._call("GET", "/api/tasks", params={"project": project, "page_size": 500})["tasks"]
        return [{name: task["data"][name] for name in self._fields[project]} for task in listed]

    def suggested(self, project: str, question: Question) -> set[str]:
        version = self._call("GET", f"/api/projects/{project}/")["model_version"]
        found = self._call("GET", "/api/predictions", params={"project": project})
        results = [one["result"] for one in found if one["model_version"] == version]
        return {label for result in results for region in result for label in region["value"]["choices"]}

    def titles(self) -> list[str]:
        return sorted(one["title"] for one in self._call("GET", "/api/projects/?page_size=500")["results"])

    def page(self, project: str) -> str:
        return f"{self._server.url}/projects/{project}/data?tab=1"


class Argilla:
    """Fulfils Team on Argilla."""

    platform = "argilla"

    def __init__(self, server: ArgillaServer) -> None:
        self._server = server

    def _call(self, method: str, path: str, **options: Any) -> Any:
        return argilla_calls.api(self._server, method, path, **options)

    def settings(self, home: Path, **more: Any) -> Settings:
        more |= {"argilla_url": self._server.url, "argilla_api_key": SecretStr(self._server.token)}
        return Settings(home=home, poll_interval_s=0.2, threads=1, **more)

    def env(self) -> dict[str, str]:
        return self._server.env()

    def make(self, title: str, fields: Sequence[str], *questions: Question, chat: str = "", space: str = "") -> str:
        """``chat``: a field that we can't read, which a record need not have; ``space``: in that workspace."""
        spaces = {one["name"]: one["id"] for one in self._call("GET", "/me/workspaces")["items"]}
        body = {"name": title, "workspace_id": spaces[space or self._server.workspace]}
        project = str(self._call("POST", "/datasets", json=body)["id"])
        for name in [*fields, *filter(None, [chat])]:
            shown = {"name": name, "title": name, "required": name != chat}
            kind = {"type": "chat" if name == chat else "text"}
            self._call("POST", f"/datasets/{project}/fields", json=shown | {"settings": kind})
        for number, one in enumerate(questions):
            asked = {"name": one.name, "title": one.name, "required": number == 0, "settings": self._options(one)}
            self._call("POST", f"/datasets/{project}/questions", json=asked | {"description": one.instruction or None})
        self._call("PUT", f"/datasets/{project}/publish")
        return project

    @staticmethod
    def _options(question: Question) -> dict[str, Any]:
        kind = "multi_label_selection" if question.kind == "multi" else "label_selection"
        options = [
            {"value": one, "text": one, "description": question.hints.get(one) or None} for one in question.labels
        ]
        return {"type": kind, "options": options}

    @contextmanager
    def another(self, title: str, fields: Sequence[str], question: Question) -> Iterator[str]:
        """In another workspace: a name is there once."""
        space = self._call("POST", "/workspaces", json={"name": f"another {secrets.token_hex(4)}"})
        made = self.make(title, fields, question, space=space["name"])
        yield made
        self._call("DELETE", f"/datasets/{made}")
        self._call("DELETE", f"/workspaces/{space['id']}")

    def _questions(self, project: str) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self._call("GET", f"/datasets/{project}/questions")["items"]}

    def ask(self, project: str, question: Question) -> None:
        asked = self._questions(project)[question.name]
        self._call("PATCH", f"/questions/{asked['id']}", json={"settings": self._options(question)})

    def put(self, project: str, items: Sequence[Item]) -> None:
        me, asked = self._call("GET", "/me")["id"], self._questions(project)
        records = []
        for one in items:
            said = {"user_id": me, "status": "submitted", "values": self._values(asked, one.given)}
            record = {"fields": one.fields, "external_id": one.doc or None, "responses": [said] if one.given else []}
            records.append(record)
        self._call("POST", f"/datasets/{project}/records/bulk", json={"items": records})

    @staticmethod
    def _values(asked: Mapping[str, dict[str, Any]], given: Given) -> dict[str, Any]:
        several = {name: one["settings"]["type"].startswith("multi") for name, one in asked.items()}
        return {name: {"value": [*given[name]] if several[name] else given[name][0]} for name in given if name in asked}

    def answer(self, project: str, answers: Mapping[str, Given]) -> None:
        asked = self._questions(project)
        items = [
            {"record_id": record, "status": "submitted", "values": self._values(asked, given)}
            for record, given in answers.items()
        ]
        answered = self._call("POST", "/me/responses/bulk", json={"items": items})["items"]
        assert [one["error"] for one in answered] == [None] * len(items)

    def _records(self, project: str, **more: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", f"/datasets/{project}/records", params={"limit": 500, **more})[
            "items"
        ]
        return found

    def rows(self, project: str) -> list[dict[str, str]]:
        return [record["fields"] for record in self._records(project)]

    def suggested(self, project: str, question: Question) -> set[str]:
        asked = self._questions(project)[question.name]["id"]
        found = [one for record in self._records(project, include="suggestions") for one in record["suggestions"]]
        values = [one["value"] for one in found if one["question_id"] == asked]
        return {label for value in values for label in ([value] if isinstance(value, str) else value)}

    def titles(self) -> list[str]:
        return sorted(one["name"] for one in self._call("GET", "/me/datasets")["items"])

    def page(self, project: str) -> str:
        return f"{self._server.url}/dataset/{project}/annotation-mode?page=2"


@contextmanager
def started(recipe: Recipe, settings: Settings, address: BackendAddress | None = None) -> Iterator[Service]:
    """The service of a recipe, started, and hooked up at ``address`` where one is given; it ends with the block."""
    service = open_service(recipe, settings)
    try:
        service.start(address)
        yield service
    finally:
        service.stop()


def wait(service: Service, until: Callable[[Status], object], limit_s: float = 120) -> Status:
    """The first status of which ``until`` is true."""
    deadline = time.monotonic() + limit_s
    while not until(status := service.status()):
        assert time.monotonic() < deadline, f"it never came: {status}"
        time.sleep(0.02)
    return status


def settled(service: Service) -> Status:
    """The status once the queue knows every answer, and there is nothing left to do."""
    return wait(service, lambda now: now.generation and now.generation_log_head == now.log_head and now.state == "idle")
