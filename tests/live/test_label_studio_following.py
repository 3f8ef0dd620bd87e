"""What a team does to its records, and to the connection, while the service runs: on a real Label Studio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.pool.export import record_rows
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service import hookup
from nextlabel.backend.service.service import Service
from nextlabel.backend.stack import LabelStudioServer
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import Labeling, LabelKind
from tests.live.conftest import Service as Receiver
from tests.live.label_studio_calls import api
from tests.live.teams import Studio, started
from tests.waiting import wait_for

Make = Callable[..., LabelStudioConnector]
NAMES = Labeling(LabelKind.SPAN, ("PER", "ORG"))


class Team:
    """One project, what its owner does there, and the service on it."""

    def __init__(self, server: LabelStudioServer, connector: LabelStudioConnector, home: Path) -> None:
        self._server, self._connector, self._home = server, connector, home
        self.project = connector.project.id

    def api(self, method: str, path: str, **options: Any) -> Any:
        return api(self._server, method, path, **options)

    def add(self, *texts: str) -> list[int]:
        path = f"/api/projects/{self.project}/import?return_task_ids=true"
        ids: list[int] = self.api("POST", path, json=[{"text": text} for text in texts]).json()["task_ids"]
        return ids

    def answer(self, task: int, label: str, **more: Any) -> None:
        region = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
        self.api("POST", f"/api/tasks/{task}/annotations", json={"result": [region], **more})

    def mark(self, task: int, start: int, words: str) -> None:
        value = {"start": start, "end": start + len(words), "labels": ["PER"], "text": words}
        region = {"from_name": "label", "to_name": "text", "type": "labels", "value": value}
        self.api("POST", f"/api/tasks/{task}/annotations", json={"result": [region]})

    def ask(self, *labels: str, more: str = "") -> None:
        """Change the question to these labels; ``more`` stands beside it."""
        choices = "".join(f'<Choice value="{label}"/>' for label in labels)
        asked = f'<Choices name="label" toName="text" choice="single">{choices}</Choices>'
        config = f'<View><Text name="text" value="$text"/>{asked}{more}</View>'
        self.api("PATCH", f"/api/projects/{self.project}/", json={"label_config": config})

    def correct(self, task: int, text: str) -> None:
        self.api("PATCH", f"/api/tasks/{task}/", json={"data": {"text": text}})

    def delete(self, *tasks: int) -> None:
        body = {"selectedItems": {"all": False, "included": tasks}, "project": self.project}
        left = self.total() - len(tasks)
        self.api("POST", f"/api/dm/actions?id=delete_tasks&project={self.project}", json=body)
        wait_for(lambda: self.total() == left)

    def total(self) -> int:
        found: int = self.api("GET", f"/api/tasks?project={self.project}&include=id&page_size=1").json()["total"]
        return found

    @contextmanager
    def served(self, receiver: Receiver | None = None, **said: Any) -> Iterator[Service]:
        """A service that has made its first queue, with a recipe that says so. Its polls are all that it hears by."""
        recipe = Recipe(name="followed", project=self.project, encoder="hashing", audit_share=0, **said)
        settings = Studio(self._server).settings(self._home)
        with started(recipe, settings, receiver.address() if receiver else None) as service:
            wait_for(lambda: service.status().generation)
            yield service

    def exported(self, service: Service) -> list[str]:
        return [row["field.text"] for row in record_rows(service._store, service.labeling)]


@pytest.fixture
def team(label_studio: LabelStudioServer, label_studio_project: Make, tmp_path: Path) -> Team:
    return Team(label_studio, label_studio_project(), tmp_path)


def told(service: Service) -> set[str]:
    return {one["kind"] for one in service.status().notices}


def test_texts_that_are_corrected_are_exported_and_ranked_anew(team: Team):
    tasks = team.add(*(f"text {number}" for number in range(6)))
    with team.served() as service:
        team.answer(tasks[0], "sport")
        wait_for(lambda: service.status().labelled == 1)
        before = service.status().generation
        team.correct(tasks[0], "corrected")
        wait_for(lambda: team.exported(service) == ["corrected"])
        wait_for(lambda: service.status().generation != before)
        assert told(service) == {"records corrected"}
        assert service.status().labelled == 1


def test_spans_point_into_the_text_that_was_marked(
    label_studio: LabelStudioServer, label_studio_project: Make, tmp_path: Path
):
    team = Team(label_studio, label_studio_project(NAMES), tmp_path)
    kept, moved, seen = team.add("my friend anna", "no friend anna", "a text without a name")
    with team.served() as service:
        team.mark(kept, 10, "anna")
        team.mark(moved, 10, "anna")
        wait_for(lambda: service.status().labelled == 2)
        team.correct(kept, "MY friend anna")
        team.correct(moved, "no best friend anna")
        team.correct(seen, "it was anna")
        team.mark(seen, 7, "anna")  # on the text that nobody told us of
        wait_for(lambda: told(service) == {"records corrected", "answers set aside"})
        wait_for(lambda: service.status().labelled == 2)
        assert sorted(team.exported(service)) == ["MY friend anna", "it was anna"]
        [notice] = [one for one in service.status().notices if one["kind"] == "answers set aside"]
        assert str(moved) in notice["message"]
        assert "submit" in notice["fix"]
        team.mark(moved, 15, "anna")
        wait_for(lambda: service.status().labelled == 3)


def test_tasks_that_are_deleted_and_imported_again_are_others(team: Team):
    """On SQLite they get the same ids. All go, and come at once."""
    first = team.add(*(f"first {number}" for number in range(12)))
    with team.served() as service:
        for task in first[:2]:
            team.answer(task, "sport")
        wait_for(lambda: service.status().labelled == 2)
        team.delete(*first)
        second = team.add(*(f"second {number}" for number in range(12)))
        assert second == first
        wait_for(lambda: "records replaced" in told(service))
        wait_for(lambda: service.status().labelled == 0)
        assert service.status().records == 12
        assert any("2 answers" in one["message"] for one in service.status().notices)
        team.answer(second[0], "politics")
        wait_for(lambda: team.exported(service) == ["second 0"])
        assert service.status().last_error == ""


def test_tasks_come_and_go_without_a_webhook(team: Team):
    tasks = team.add(*(f"text {number}" for number in range(5)))
    with team.served() as service:
        team.add("silent")
        wait_for(lambda: service.status().records == 6)
        team.delete(tasks[1])
        wait_for(lambda: service.status().records == 5)
        assert told(service) == {"records deleted"}


def test_a_webhook_or_backend_that_somebody_removes_comes_back(
    team: Team, service: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hookup, "REPAIR_EVERY", 0.5)
    team.add(*(f"text {number}" for number in range(5)))
    with team.served(service) as running:
        hooks = team.api("GET", f"/api/webhooks/?project={team.project}").json()
        for hook in hooks:
            team.api("DELETE", f"/api/webhooks/{hook['id']}/")
        wait_for(lambda: told(running) == {"repaired"})
        assert len(team.api("GET", f"/api/webhooks/?project={team.project}").json()) == len(hooks)
        [backend] = team.api("GET", f"/api/ml?project={team.project}").json()
        before = running.status().generation
        team.api("DELETE", f"/api/ml/{backend['id']}")
        wait_for(lambda: "the ML backend" in running.status().notices[0]["message"])
        wait_for(lambda: running.status().generation != before)
        version = running.status().generation
        wait_for(lambda: team.api("GET", f"/api/projects/{team.project}/").json()["model_version"] == version)
        assert len(team.api("GET", f"/api/ml?project={team.project}").json()) == 1


def test_labels_of_the_project_are_followed_where_the_recipe_names_none(team: Team):
    tasks = team.add(*(f"text {number}" for number in range(5)))
    with team.served() as service:
        team.answer(tasks[0], "sport")
        # A project is saved whole: what is changed while the queue is put in force may be saved over.
        wait_for(lambda: service.status().generation_log_head == service.status().log_head == 1)
        team.ask("sport", "politics", "economy")
        wait_for(lambda: service.outdated)
        assert told(service) == {"labels followed"}
    with team.served() as service:
        assert service.labeling.labels == ("sport", "politics", "economy")
        team.answer(tasks[1], "economy")
        wait_for(lambda: service.status().label_counts == {"sport": 1, "politics": 0, "economy": 1})


def test_where_the_recipe_names_labels_the_difference_is_told_and_the_loop_goes_on(team: Team):
    tasks = team.add(*(f"text {number}" for number in range(5)))
    with team.served(labels=("sport", "politics")) as service:
        team.ask("sport", "economy", more='<Choices name="other" toName="text"><Choice value="x"/></Choices>')
        wait_for(lambda: told(service) == {"labels differ"})
        [notice] = service.status().notices
        assert "it lacks the labels politics" in notice["message"]
        assert "economy" in notice["message"]
        team.answer(tasks[0], "sport")
        wait_for(lambda: service.status().labelled == 1)
        assert not service.outdated


def test_answers_of_a_deleted_account_stay_those_of_their_annotator(team: Team):
    tasks = team.add(*(f"text {number}" for number in range(3)))
    name = f"leaver-{team.project}"
    person = {"email": f"{name}@example.com", "username": name, "password": "a long password"}
    leaver = team.api("POST", "/api/users/", json=person).json()["id"]
    with team.served() as service:
        team.answer(tasks[0], "sport", completed_by=leaver)
        wait_for(lambda: service.status().labelled == 1)
        team.api("DELETE", f"/api/users/{leaver}/")
        number = service.compare()
        wait_for(lambda: service.status().comparison["ended"] >= number)
        assert service.status().comparison["agree"]
        assert [one.annotator for one in service._store.answers()] == [str(leaver)]
