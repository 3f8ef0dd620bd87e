"""A backup of the platform is restored: what was answered since is told with its number, and somebody decides.

The backup is made of what a restore leaves: rows that are gone, and times that are as they were.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import pytest
from pydantic import SecretStr

from nextlabel.backend.loop.withheld import NOTICE
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.opening import open_service
from nextlabel.backend.service.service import Service
from nextlabel.backend.settings import Settings
from nextlabel.connectors.base import Connector
from nextlabel.connectors.records import Record
from tests.live import argilla_calls, label_studio_calls
from tests.waiting import wait_for


class Platform(Protocol):
    connector: Connector
    settings: dict[str, Any]

    def answer(self, record: str) -> str: ...

    def restore(self, answers: list[str]) -> None:
        """To before these were given."""


class OnLabelStudio:
    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._server = request.getfixturevalue("label_studio")
        self.connector = request.getfixturevalue("label_studio_project")()
        self.settings = {"label_studio_url": self._server.url, "label_studio_api_key": SecretStr(self._server.token)}

    def answer(self, record: str) -> str:
        region = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["sport"]}}
        path = f"/api/tasks/{record}/annotations"
        return str(label_studio_calls.api(self._server, "POST", path, json={"result": [region]}).json()["id"])

    def restore(self, answers: list[str]) -> None:
        path = self._server.data_dir / "label_studio.sqlite3"
        with closing(sqlite3.connect(path, timeout=30)) as database, database:
            for one in answers:
                (task,) = database.execute("SELECT task_id FROM task_completion WHERE id = ?", (one,)).fetchone()
                database.execute("UPDATE task SET updated_at = created_at WHERE id = ?", (task,))
            database.executemany("DELETE FROM task_completion WHERE id = ?", [(one,) for one in answers])


class OnArgilla:
    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._server = request.getfixturevalue("argilla")
        self.connector = request.getfixturevalue("argilla_dataset")()
        self.settings = {"argilla_url": self._server.url, "argilla_api_key": SecretStr(self._server.token)}
        self._before: list[str] = []  # the dataset's last activity before each answer

    def answer(self, record: str) -> str:
        self._before.append(argilla_calls.dataset(self._server, self.connector)["last_activity_at"])
        body = {"values": {"label": {"value": "sport"}}, "status": "submitted"}
        return str(argilla_calls.api(self._server, "POST", f"/records/{record}/responses", json=body)["id"])

    def restore(self, answers: list[str]) -> None:
        with closing(sqlite3.connect(self._server.data_dir / "argilla.db", timeout=30)) as database, database:
            at = self._before[-len(answers)].replace("T", " ")
            key = UUID(self.connector.project.id).hex
            database.executemany("DELETE FROM responses WHERE id = ?", [(UUID(one).hex,) for one in answers])
            assert database.execute("UPDATE datasets SET last_activity_at = ? WHERE id = ?", (at, key)).rowcount == 1


@pytest.fixture(params=[OnLabelStudio, OnArgilla])
def platform(request: pytest.FixtureRequest) -> Platform:
    found: Platform = request.param(request)
    return found


@contextmanager
def served(platform: Platform, home: Path) -> Iterator[Service]:
    name = platform.connector.project.platform
    recipe = Recipe(name="restored", platform=name, project=platform.connector.project.id, encoder="hashing")
    service = open_service(recipe, Settings(home=home, poll_interval_s=0.3, audit_share=0, **platform.settings))
    try:
        service.start()
        wait_for(lambda: service.status().generation and service.status().comparison["ended"])
        yield service
    finally:
        service.stop()


def decided(service: Service, **how: bool) -> dict[str, Any]:
    number = service.compare(**how)
    wait_for(lambda: service.status().comparison["ended"] >= number)
    return service.status().comparison


@pytest.mark.parametrize("how", ["believe", "keep"])
def test_what_was_answered_since_is_told_and_decided(platform: Platform, tmp_path: Path, how: str) -> None:
    items = [Record(f"u{number}", {"text": f"text {number}"}) for number in range(12)]
    tasks = list(platform.connector.push(items).values())
    with served(platform, tmp_path) as service:
        old = [platform.answer(one) for one in tasks[:4]]
        wait_for(lambda: service.status().labelled == 4)
        new = [platform.answer(one) for one in tasks[4:7]]
        wait_for(lambda: service.status().labelled == 7 and service._store.get_cursor("annotations"))
        wait_for(seen_by_poll(service, len(old + new)))
        platform.restore(new)
        service._sync._away = True  # it was away for that
        wait_for(lambda: NOTICE in {one["kind"] for one in service.status().notices})
        wait_for(lambda: not service.status().comparison["agree"])
        status = service.status()
        assert "restored" in status.last_error
        assert "3 answers" in status.last_error
        assert (status.labelled, status.comparison["withheld"]) == (7, 3)
        later = platform.answer(tasks[8])  # the queue goes on
        wait_for(lambda: service.status().labelled == 8)
        wait_for(lambda: service.status().generation_log_head == service.status().log_head)
    with served(platform, tmp_path) as service:
        assert service.status().comparison["withheld"] == 3, "a restart decides nothing"
        found = decided(service, **{how: True})
        assert found["agree"]
        assert found["kept"] == (3 if how == "keep" else 0)
        wait_for(lambda: service.status().labelled == (8 if how == "keep" else 5))
        assert (service.status().last_error, service.status().notices) == ("", [])
        kept = {one.id for one in service._store.answers()}
        assert kept == {*old, later, *(new if how == "keep" else [])}
        assert decided(service)["agree"], "and it is not told again"


def seen_by_poll(service: Service, answers: int) -> Callable[[], bool]:
    """Whether a poll that began after the last answer has ended: what it saw last is what the next goes by."""
    first = time.monotonic()
    return lambda: service._last_pull > first and service.status().log_head >= answers
