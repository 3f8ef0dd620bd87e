"""Texts that a team corrects while the service runs, by hand and by uploading them again: on a real Argilla."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.pool.export import record_rows
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.service import Service
from nextlabel.backend.stack import ArgillaServer
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.records import Changes, Labeling, LabelKind, Record
from tests.live.argilla_calls import Api, Make
from tests.live.conftest import Service as Receiver
from tests.live.teams import Argilla, started
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("no_webhooks_left")

NAMES = Labeling(LabelKind.SPAN, ("PER", "ORG"))


class Team:
    """One dataset, what its owner does there, and the service on it."""

    def __init__(self, server: ArgillaServer, connector: ArgillaConnector, api: Api, home: Path) -> None:
        self._server, self._home, self.api = server, home, api
        self.connector, self.dataset = connector, connector.project.id
        self.me: str = api("GET", "/me")["id"]

    def add(self, *texts: str) -> list[str]:
        records = [Record(f"u{number}", {"text": text}) for number, text in enumerate(texts)]
        return list(self.connector.push(records).values())

    def correct(self, record: str, text: str) -> None:
        self.api("PATCH", f"/records/{record}", {"fields": {"text": text}})

    def upload(self, **texts: str) -> None:
        """As the SDK does it: by external id."""
        items = [{"external_id": uid, "fields": {"text": text}} for uid, text in texts.items()]
        self.api("PUT", f"/datasets/{self.dataset}/records/bulk", {"items": items})

    def answer(self, record: str, value: Any) -> None:
        body = {"values": {"label": {"value": value}}, "status": "submitted"}
        self.api("POST", f"/records/{record}/responses", body)

    def mark(self, record: str, start: int, words: str) -> None:
        self.answer(record, [{"start": start, "end": start + len(words), "label": "PER"}])

    @contextmanager
    def served(self, receiver: Receiver | None = None) -> Iterator[Service]:
        """A service that has made its first queue."""
        recipe = Recipe(name="followed", platform="argilla", project=self.dataset, encoder="hashing", audit_share=0)
        settings = Argilla(self._server).settings(self._home)
        with started(recipe, settings, receiver.address() if receiver else None) as service:
            wait_for(lambda: service.status().generation)
            yield service


@pytest.fixture
def team(argilla: ArgillaServer, argilla_dataset: Make, api: Api, tmp_path: Path) -> Team:
    return Team(argilla, argilla_dataset(), api, tmp_path)


def exported(service: Service) -> list[str]:
    return sorted(row["field.text"] for row in record_rows(service._store, service.labeling))


def settled(service: Service) -> str:
    """The generation that was made of all that is known."""
    wait_for(lambda: (status := service.status()).generation_log_head == status.log_head and status.state == "idle")
    return service.status().generation


def told(service: Service) -> set[str]:
    return {one["kind"] for one in service.status().notices}


def test_texts_that_are_corrected_are_exported_and_ranked_anew(team: Team, monkeypatch: pytest.MonkeyPatch):
    ids = team.add(*(f"text {number}" for number in range(6)))
    with team.served() as service:
        for record in ids[:2]:
            team.answer(record, "sport")
        wait_for(lambda: service.status().labelled == 2)
        before = settled(service)
        team.correct(ids[0], "corrected")
        team.upload(u1="uploaded again")
        wait_for(lambda: exported(service) == ["corrected", "uploaded again"])
        after, polls = settled(service), Counter[str | None]()
        assert after != before
        assert told(service) == {"records corrected"}
        assert service.status().labelled == 2
        changes = service._connector.changes

        def counted(cursor: str | None) -> Changes:
            polls[cursor] += 1
            return changes(cursor)

        monkeypatch.setattr(service._connector, "changes", counted)
        wait_for(lambda: polls.total() > 5)
        assert service.status().generation == after, "places and suggestions that we write are no correction"


def test_spans_point_into_the_text_that_was_marked(
    argilla: ArgillaServer, argilla_dataset: Make, api: Api, service: Receiver, tmp_path: Path
):
    """The event of an answer may come before anybody has told of the text that it is about."""
    team = Team(argilla, argilla_dataset(NAMES), api, tmp_path)
    kept, moved, seen = team.add("my friend anna", "no friend anna", "a text without a name")
    with team.served(service) as running:
        team.mark(kept, 10, "anna")
        team.mark(moved, 10, "anna")
        wait_for(lambda: running.status().labelled == 2)
        team.correct(kept, "MY friend anna")
        team.correct(moved, "no best friend anna")
        team.correct(seen, "it was anna")
        team.mark(seen, 7, "anna")
        wait_for(lambda: len(service.events()) == 3)
        assert running.notify(running.parse_event(service.events()[-1].body))
        wait_for(lambda: told(running) == {"records corrected", "answers set aside"})
        wait_for(lambda: running.status().labelled == 2)
        assert exported(running) == ["MY friend anna", "it was anna"]
        [notice] = [one for one in running.status().notices if one["kind"] == "answers set aside"]
        assert moved in notice["message"]
