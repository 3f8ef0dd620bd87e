"""Who adjudicates settles a record for good, on both platforms: it is learned so, and nobody else is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.cli import main
from nextlabel.backend.stack import ArgillaServer, LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess
from tests.live.argilla_calls import forget_webhooks
from tests.live.label_studio_calls import api
from tests.live.test_second_opinions import LABELS, Argilla, Person, Shown, Studio

RECIPE = """\
title: settled
platform: {platform}
data: reviews.csv
fields: review
labels: [good, bad]
encoder: hashing
overlap: 2
consensus: dawid-skene
audit_share: 0
adjudicators: {lead}
"""


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., BackendProcess]]:
    """A service on a server whose records ``lead`` settles, with its first queue."""
    made: list[BackendProcess] = []

    def start(server: LabelStudioServer | ArgillaServer, lead: str) -> BackendProcess:
        rows = [f"review {n} is {LABELS[n % 2]} indeed" for n in range(20)]
        (tmp_path / "reviews.csv").write_text("\n".join(["review", *rows]) + "\n")
        path = tmp_path / "settled.yaml"
        path.write_text(RECIPE.format(platform=server.platform, lead=lead))
        made.append(BackendProcess(str(path), server, tmp_path / "home"))
        made[-1].start()
        made[-1].wait_ready()
        return made[-1]

    yield start
    for process in made:
        process.stop()


def say(process: BackendProcess, person: Person, shown: Shown, label: str) -> None:
    head = process.status()["log_head"]
    person.say(shown, label)
    process.wait(lambda status: status["log_head"] > head, "the answer")
    process.wait_settled()


def settles(process: BackendProcess, ann: Person, lead: Person, is_closed: Callable[[str], object]) -> Shown:
    """Ann answers a record, the lead says otherwise; then the lead answers another one alone, which is returned.

    ``is_closed``: whether the platform knows that nobody else is wanted for a record, which it is told after the queue.
    """
    assert process.status()["last_error"] == ""
    first = ann.next()
    assert first is not None
    say(process, ann, first, "good")
    assert process.status()["settled"] == 0
    say(process, lead, first, "bad")
    process.wait(lambda status: status["settled"] == 1, "what is settled")
    assert process.status()["label_counts"] == {"good": 0, "bad": 1}
    alone = lead.next()
    assert alone is not None
    say(process, lead, alone, "good")
    process.wait(lambda status: status["settled"] == 2, "what is settled")
    process.wait_settled()
    process.wait(lambda _: is_closed(alone.id), "the platform to be told")
    following = ann.next()
    assert following is not None
    assert following.id != alone.id, "records that one has answered come first, unless they are settled"
    return alone


def exported(process: BackendProcess, server: LabelStudioServer | ArgillaServer, name: str) -> list[dict[str, Any]]:
    """What ``nextlabel export`` writes for the platform, with everybody's answers."""
    path = process.home / name
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEXTLABEL_HOME", str(process.home))
        for variable, value in server.env().items():
            patch.setenv(variable, value)
        assert main(["export", process.recipe, "-o", str(path), "--annotators"]) == 0
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


def test_label_studio(
    begin: Callable[..., BackendProcess], label_studio: LabelStudioServer, annotators: list[str]
) -> None:
    process = begin(label_studio, "annotator1@example.com")

    def task(number: str) -> dict[str, Any]:
        found: dict[str, Any] = api(label_studio, "GET", f"/api/tasks/{number}").json()
        return found

    ann, lead = (Studio(label_studio, token, process) for token in annotators[:2])
    alone = settles(process, ann, lead, lambda number: task(number)["is_labeled"])
    assert task(alone.id)["overlap"] == 1

    tasks = exported(process, label_studio, "tasks.json")
    project = process.status()["project"]["id"]
    config = api(label_studio, "GET", f"/api/projects/{project}/").json()["label_config"]
    made = api(label_studio, "POST", "/api/projects/", json={"title": "a copy", "label_config": config}).json()["id"]
    api(label_studio, "POST", f"/api/projects/{made}/import", json=tasks)
    found = api(label_studio, "GET", "/api/tasks", params={"project": made, "fields": "all"}).json()["tasks"]
    members = {one["id"]: one["email"] for one in api(label_studio, "GET", "/api/users/").json()}
    given = [
        (members[one["completed_by"]], one["result"][0]["value"]["choices"][0], one["ground_truth"])
        for task in found
        for one in task["annotations"]
    ]
    assert sorted(given) == [
        ("annotator0@example.com", "good", False),
        ("annotator1@example.com", "bad", True),
        ("annotator1@example.com", "good", True),
    ]


def test_argilla(begin: Callable[..., BackendProcess], argilla: ArgillaServer, argilla_users: list[str]) -> None:
    forget_webhooks(argilla)
    process = begin(argilla, "annotator1")
    process.wait(lambda status: "annotator1" in status["links"], "everybody's link")
    try:
        ann, lead = (Argilla(argilla, key, process, f"annotator{at}") for at, key in enumerate(argilla_users[:2]))
        settles(process, ann, lead, lambda _: True)
        records = exported(process, argilla, "records.json")
        values = [[one["value"] for one in record["responses"]["label"]] for record in records]
        assert sorted(values) == [["good"], ["good", "bad"]]
    finally:
        process.stop()
        forget_webhooks(argilla)
