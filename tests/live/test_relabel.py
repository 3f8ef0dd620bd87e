"""Another opinion, on a real Label Studio: from the command through the running service to a second annotator."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nextlabel.backend.stack import Annotator, LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.connectors.errors import RecordsRejected
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import QueueEntry, Record

RECIPE = """\
name: second-opinions
data: reviews.csv
fields: review
id: number
labels: [good, bad]
encoder: hashing
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    lines = ["number,review"] + [f"n{n},review {n} is {'good' if n % 2 else 'bad'} indeed" for n in range(30)]
    (tmp_path / "reviews.csv").write_text("\n".join(lines) + "\n")
    path = tmp_path / "opinions.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def product(recipe: Path, label_studio: LabelStudioServer, tmp_path: Path) -> Iterator[BackendProcess]:
    process = BackendProcess(str(recipe), label_studio, tmp_path / "home")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def relabel(
    product: BackendProcess, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``nextlabel relabel`` as a user beside the running service would."""
    monkeypatch.setenv("NEXTLABEL_HOME", str(product.home))
    monkeypatch.setenv("NEXTLABEL_PORT", str(product.port))
    monkeypatch.setenv("NEXTLABEL_API_TOKEN", product.token)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "nextlabel.backend.cli", "relabel", product.recipe, *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)

    return run


def test_a_second_annotator_is_asked_first_and_the_first_one_is_not(
    product: BackendProcess,
    relabel: Callable[..., subprocess.CompletedProcess[str]],
    annotators: list[str],
) -> None:
    project = product.wait_ready()["project"]["id"]
    first, second, third = (Annotator(product.server.url, token, project) for token in annotators[:3])
    answered = []
    for _ in range(4):
        task = first.next_task()
        assert task is not None
        answered.append(task)
        first.submit(task, "good")
    product.wait(lambda status: status["labelled"] == 4, "four labels")
    product.wait_settled()

    uid, number = answered[2]["data"]["nextlabel_uid"], answered[2]["id"]
    before = product.status()["generation"]
    done = relabel(uid, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"asked": 1}
    product.wait(lambda status: status["generation"] != before, "a queue with the record in it")

    other = first.next_task()
    assert other is not None
    assert other["id"] not in {task["id"] for task in answered}, "nobody is asked twice"
    asked = second.next_task()
    assert asked is not None
    assert asked["id"] == number
    assert [one["result"] for one in asked["predictions"]] == [[]], "a second opinion is given blind"
    second.submit(asked, "bad")
    status = product.wait(lambda status: status["log_head"] == 5, "the second answer")
    assert status["labelled"] == 4
    product.wait_settled()
    left = third.next_task()
    assert left is not None
    assert left["id"] != number, "two opinions were asked for, not three"


def test_what_cannot_be_asked_is_said(
    product: BackendProcess, relabel: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    product.wait_ready()
    done = relabel("n1", "nobody")
    assert done.returncode == 1
    assert "there is no record 'nobody'" in done.stderr
    product.stop()
    done = relabel("n1")
    assert done.returncode == 1
    assert "no service answers" in done.stderr


def test_opinions_are_counted_by_annotator_and_never_lowered(
    label_studio: LabelStudioServer, label_studio_project: Callable[..., LabelStudioConnector], annotators: list[str]
) -> None:
    connector = label_studio_project()
    ids = list(connector.push([Record(f"u{n}", {"text": f"text {n}"}) for n in range(4)]).values())
    connector.publish("nl-again-1", [QueueEntry(one, rank, None) for rank, one in enumerate(ids)])
    people = [Annotator(label_studio.url, token, connector.project.id) for token in annotators[:3]]
    for person in people[:2]:
        person.submit(int(ids[0]), "sport")
    people[0].submit(int(ids[1]), "sport")
    people[0].submit(int(ids[1]), "politics")  # the same person once more: Label Studio lets them

    def state(task: str) -> tuple[int, bool]:
        found = connector._client.request("GET", f"/api/tasks/{task}")
        return found["overlap"], found["is_labeled"]

    connector.ask_again(ids[:2], 2)
    assert state(ids[0]) == (2, True), "two have answered: nothing to ask"
    assert state(ids[1]) == (2, False)
    connector.ask_again(ids[:2], 3)
    connector.ask_again(ids[:2], 2)
    assert state(ids[0]) == (3, False)
    task = people[2].next_task()
    assert task is not None
    assert str(task["id"]) == ids[0]
    with pytest.raises(RecordsRejected, match="task 99999999"):
        connector.ask_again([ids[3], "99999999"], 2)
    assert state(ids[3]) == (1, False)


def test_the_newest_records_come_first_and_in_small_pages(
    label_studio_project: Callable[..., LabelStudioConnector],
) -> None:
    connector = label_studio_project()
    ids = list(connector.push([Record(f"u{n}", {"text": f"text {n}"}) for n in range(250)]).values())
    assert [item.remote_id for item in connector.records(newest_first=True)] == ids[::-1]
    assert [item.remote_id for item in connector.records()] == ids


def test_only_deliveries_with_the_secret_are_authentic(
    label_studio_project: Callable[..., LabelStudioConnector], service: object
) -> None:
    connector = label_studio_project()
    secret = {"x-nextlabel-secret": "s3cret"}
    assert not connector.authentic(secret, b"")
    assert not connector.authentic({"x-nextlabel-secret": ""}, b"")
    connector.connect(service.address("s3cret"))  # type: ignore[attr-defined]
    assert connector.authentic(secret, b"")
    assert not connector.authentic({"x-nextlabel-secret": "s3cre7"}, b"")
    assert not connector.authentic({"x-nextlabel-secret": "\udcff"}, b"")
    assert not connector.authentic({}, b"")
