"""The commands at work, on real stores; the platform is stood in for where one is asked."""

from __future__ import annotations

import csv
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.loop.leadership import Leadership
from nextlabel.backend.recipe import find_recipe
from nextlabel.backend.service.opening import load_records, open_store
from nextlabel.backend.service.project import PROJECT
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store
from nextlabel.connectors.base import Finding, ProjectRef, Severity
from nextlabel.connectors.errors import PlatformUnavailable
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes, RemoteRecord

Run = Callable[..., Any]


def test_recipes_are_listed_shown_and_copied(nextlabel: Run, folder: Path) -> None:
    assert "bbc-news" in nextlabel("recipes", "list").out
    listed = json.loads(nextlabel("recipes", "list", "--json").out)
    assert "bbc-news" in [one["name"] for one in listed]
    source = nextlabel("recipes", "show", "bbc-news").out
    assert "recipe = Recipe(" in source
    assert nextlabel("recipes", "copy", "bbc-news").code == 0
    assert (folder / "bbc_news.py").read_text() == source
    again = nextlabel("recipes", "copy", "bbc-news")
    assert again.code == 1
    assert "is there already" in again.err
    assert nextlabel("recipes", "copy", "bbc-news", "--force").code == 0
    assert nextlabel("recipes", "copy", "bbc-news", "no/such/folder/x.py").code == 1


# -- models and export -----------------------------------------------------------------------------------


def answer(number: int, remote: str, label: str, annotator: str = "1", skipped: bool = False) -> Annotation:
    return Annotation(
        id=str(number),
        remote_id=remote,
        annotator=annotator,
        value=() if skipped else (label,),
        status=AnnotationStatus.SKIPPED if skipped else AnnotationStatus.SUBMITTED,
        updated_at=datetime(2026, 11, 22, 4, number, tzinfo=UTC),
        seen_version="nl-1",
    )


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """The project's store after its first labels: record 1 labelled by three, 3 is a copy of it, 2 skipped."""
    recipe, settings = find_recipe("reviews.yaml"), Settings.load()
    with open_store(recipe, settings) as opened:
        load_records(recipe, opened, settings)
        opened.set_remote({"1": "101", "2": "102"})
        given = (
            answer(1, "101", "positive", "7"),
            answer(2, "101", "negative", "8"),
            answer(3, "101", "positive", "9"),
            answer(4, "102", "", "7", skipped=True),
        )
        opened.append(Changes(annotations=given), source="webhook")
        yield opened


@pytest.fixture
def new_store(folder: Path) -> Iterator[Store]:
    """The project's store before the first command."""
    with open_store(find_recipe("reviews.yaml"), Settings.load()) as opened:
        yield opened


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_export_gives_the_majority_and_copies_inherit_it(nextlabel: Run, folder: Path, store: Store) -> None:
    done = nextlabel("export", "reviews.yaml")
    assert done.code == 0
    found = rows(folder / "answers.csv")
    assert [(row["uid"], row["answer"], row["answers"], row["copy_of"]) for row in found] == [
        ("1", "positive", "3", ""),
        ("3", "positive", "3", "1"),
    ]
    assert found[0]["field.text"] == "good"
    assert "1 labelled records written to answers.csv, and 1 copies of them" in done.err


def test_an_export_names_the_pictures_of_the_data_and_has_their_copies_on_demand(nextlabel: Run, folder: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save(folder / "red.png")
    (folder / "p.yaml").write_text(
        "name: p\ndata: p.csv\nid: n\nlabels: [a, b]\nencoder: hashing\n"
        "fields: {text: words, image: {column: picture, kind: image}}\n"
    )
    (folder / "p.csv").write_text("n,words,picture\n1,x,red.png\n2,y,https://example.org/1.png\n3,z,\n")
    recipe, settings = find_recipe("p.yaml"), Settings.load()
    with open_store(recipe, settings) as store:
        load_records(recipe, store, settings)
        store.set_remote({str(number): f"r{number}" for number in (1, 2, 3)})
        store.append(Changes(tuple(answer(number, f"r{number}", "a") for number in (1, 2, 3))))
    assert nextlabel("export", "p.yaml").code == 0
    named = ["red.png", "https://example.org/1.png", ""]
    assert [row["field.image"] for row in rows(folder / "answers.csv")] == named
    assert nextlabel("export", "p.yaml", "--pictures").code == 0
    assert rows(folder / "answers.csv")[0]["field.image"].startswith("data:image/jpeg;base64,")
    (folder / "p.csv").rename(folder / "elsewhere.csv")
    done = nextlabel("export", "p.yaml")
    assert done.code == 0
    assert "the copies of the pictures are written, as the data can't be read" in done.err
    assert rows(folder / "answers.csv")[0]["field.image"].startswith("data:image/jpeg;base64,")


def test_every_form_is_found_by_its_ending(nextlabel: Run, folder: Path, store: Store) -> None:
    import datasets
    import pandas

    assert nextlabel("export", "reviews.yaml", "-o", "a.parquet", "--annotators").code == 0
    frame = pandas.read_parquet(folder / "a.parquet")
    assert frame["answer"].tolist() == ["positive"] * 2
    assert frame["annotator.8"].tolist() == ["negative"] * 2
    assert nextlabel("export", "reviews.yaml", "-o", "labels").code == 0
    loaded = datasets.load_from_disk(folder / "labels")
    assert loaded.features["answer"].names == ["positive", "negative"]
    assert loaded["answer"][:] == [0, 0]
    for form, answers in (("label-studio", "annotations"), ("argilla", "suggestions")):
        done = nextlabel("export", "reviews.yaml", "-o", "a.json", "--format", form)
        assert "1 records written to a.json, to be imported in" in done.err
        [one] = json.loads((folder / "a.json").read_text())
        assert len(one[answers]) == 1
    assert nextlabel("export", "reviews.yaml", "-o", "all.jsonl", "--all", "--quick").code == 0
    whole = [json.loads(line) for line in (folder / "all.jsonl").read_text().splitlines()]
    assert [(row["uid"], row["answer"]) for row in whole] == [("1", ["positive"]), ("2", None), ("3", ["positive"])]


def test_export_of_each_answer_as_json_lines(nextlabel: Run, folder: Path, store: Store) -> None:
    assert nextlabel("export", "reviews.yaml", "-o", "votes.jsonl", "--each").code == 0
    votes = [json.loads(line) for line in (folder / "votes.jsonl").read_text().splitlines()]
    assert [(vote["uid"], vote["annotator"], vote["status"], vote["answer"]) for vote in votes] == [
        ("1", "7", "submitted", ["positive"]),
        ("1", "8", "submitted", ["negative"]),
        ("1", "9", "submitted", ["positive"]),
        ("2", "7", "skipped", []),
    ]


def test_export_refuses_what_it_can_not_write(nextlabel: Run, folder: Path, store: Store) -> None:
    assert "End the name in .json, .csv, .jsonl" in nextlabel("export", "reviews.yaml", "-o", "a.xlsx").err
    assert "--format datasets, not csv" in nextlabel("export", "reviews.yaml", "--push-to-hub", "me/x").err
    assert "asks for labels of whole texts" in nextlabel("export", "reviews.yaml", "-o", "a.conll").err
    assert "can't be written" in nextlabel("export", "reviews.yaml", "-o", "none/a.csv").err
    assert not list(folder.glob("*.partial"))


def test_models_are_listed_newest_first_in_a_line_each(
    nextlabel: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(nextlabel("models", "list", "reviews.yaml", "--json").out) == []
    for number in (1, 2):
        store.add_model(f"m-{number}", "probe", number, {"audit_accuracy": 0.9123, "labels": 3}, "x")
    store.set_current("m-1")
    listed = json.loads(nextlabel("models", "list", "reviews.yaml", "--json").out)
    assert [(one["version"], one["current"]) for one in listed] == [("m-2", False), ("m-1", True)]
    monkeypatch.delenv("COLUMNS")  # a program reads it
    table = nextlabel("models", "list", "reviews.yaml").out
    assert [line.split()[1] for line in table.splitlines() if "m-" in line] == ["m-2", "m-1"]
    assert all("audit_accuracy 0.912" in line for line in table.splitlines() if "m-" in line)
    monkeypatch.setenv("COLUMNS", "50")
    assert len([line for line in nextlabel("models", "list", "reviews.yaml").out.splitlines() if "│" in line]) == 2


# -- the platform ----------------------------------------------------------------------------------------


class Platform:
    """A connector as far as ``push`` and ``doctor`` need one."""

    project = ProjectRef("label-studio", "http://127.0.0.1:8080", "9", "reviews", "http://127.0.0.1:8080/projects/9")

    def __init__(self) -> None:
        self.tasks: dict[str, str] = {}
        self.findings: list[Finding] = []
        self.failure: Exception | None = None
        self.closed = 0

    def annotated(self) -> Iterator[Changes]:
        yield from ()

    def records(self, newest_first: bool = False) -> Iterator[RemoteRecord]:
        yield from ()

    def unread(self) -> dict[str, str]:
        return {}

    def push(self, records: Any, progress: Any = None, answers: Any = None) -> dict[str, str]:
        if self.failure:
            raise self.failure
        return {record.uid: self.tasks.setdefault(record.uid, str(100 + len(self.tasks))) for record in records}

    def image_addresses(self, most: int) -> tuple[str, ...]:
        return ()

    def links(self) -> dict[str, str]:
        return {"ann": "http://127.0.0.1:8080/for-ann"}

    def diagnose(self, address: Any) -> Iterator[Finding]:
        self.address = address
        yield from self.findings
        if self.failure:
            raise self.failure

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Platform:
    """Stands in for Label Studio; tests/live has the real one."""
    found = Platform()

    def settled(recipe: Any, settings: Any, store: Store, leadership: Any, connector: Any) -> Platform:
        store.set_meta(PROJECT, found.project.id)
        return found

    monkeypatch.setattr("nextlabel.backend.service.project.find_project", lambda recipe, *_: (recipe, None))
    monkeypatch.setattr("nextlabel.backend.service.project.settle_project", settled)
    monkeypatch.setattr("nextlabel.backend.cli.doctor._connector", lambda *arguments: found)
    return found


def test_push_sends_each_record_once_and_no_copies(nextlabel: Run, platform: Platform) -> None:
    done = nextlabel("push", "reviews.yaml")
    assert done.code == 0, done.err
    assert set(platform.tasks) == {"1", "2"}
    assert "3 new records (1 of them copies)" in done.err
    assert "without text, left out" in done.err
    assert "http://127.0.0.1:8080/projects/9" in done.err
    assert "ann: http://127.0.0.1:8080/for-ann" in done.err
    again = nextlabel("push", "reviews.yaml")
    assert "0 new records (0 of them copies), 3 known before" in again.err
    assert len(platform.tasks) == 2
    assert platform.closed == 2


def test_push_stops_clean_when_the_platform_is_down_and_goes_on_later(nextlabel: Run, platform: Platform) -> None:
    platform.failure = PlatformUnavailable("Label Studio does not answer")
    assert nextlabel("push", "reviews.yaml").code == 1
    platform.failure = None
    assert nextlabel("push", "reviews.yaml").code == 0, "the lease must have been given up"
    assert len(platform.tasks) == 2


def test_push_leaves_a_store_alone_that_another_process_works_on(
    nextlabel: Run, platform: Platform, store: Store
) -> None:
    other, done = Leadership(store), threading.Event()
    other.renew()
    alive = threading.Thread(target=lambda: [other.renew() for _ in iter(lambda: done.wait(0.1), True)])
    alive.start()
    try:
        pushed = nextlabel("push", "reviews.yaml")
    finally:
        done.set()
        alive.join()
    assert pushed.code == 1
    assert f"another nextlabel runs on this store ({other.owner})" in pushed.err
    assert platform.tasks == {}


def test_push_waits_for_one_that_died_and_goes_on(nextlabel: Run, platform: Platform, new_store: Store) -> None:
    new_store.acquire("loop", "one that was killed", 1.0)
    assert nextlabel("push", "reviews.yaml").code == 0
    assert len(platform.tasks) == 2
    assert new_store.lease("loop") is None


def test_push_stops_when_another_process_took_the_store_over(
    nextlabel: Run, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = platform.tasks
    monkeypatch.setattr("nextlabel.backend.cli.run._BATCH", 1)
    monkeypatch.setattr(Leadership, "held", property(lambda self: not pushed))
    done = nextlabel("push", "reviews.yaml")
    assert done.code == 1
    assert "another nextlabel took this store over, and pushes the rest by itself" in done.err
    assert len(pushed) == 1


def test_ended_by_a_signal_push_leaves_no_lease_behind(
    nextlabel: Run, platform: Platform, new_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []

    def push(records: Any, progress: Any, answers: Any) -> dict[str, str]:
        held.append(new_store.lease("loop"))
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    monkeypatch.setattr(platform, "push", push)
    nextlabel("push", "reviews.yaml")
    assert held[0] is not None
    assert new_store.lease("loop") is None


def test_doctor_exits_with_1_if_the_loop_cannot_work(nextlabel: Run, platform: Platform) -> None:
    platform.findings = [Finding("sampling", Severity.OK, "uncertainty sampling is on")]
    done = nextlabel("doctor", "--project", "9", "--json")
    findings = {one["code"]: one for one in json.loads(done.out)}
    assert findings["sampling"]["severity"] == "ok"
    assert findings["credentials"]["severity"] == "error"
    assert done.code == 1, "nobody has started a service here yet"

    nextlabel("push", "reviews.yaml")  # makes the secrets
    assert nextlabel("doctor", "--project", "9").code == 0
    assert platform.address.url == "http://127.0.0.1:9090"
    platform.findings.append(Finding("overlap", Severity.WARNING, "overlap is [2]", "set it to 1"))
    done = nextlabel("doctor", "--project", "9")
    assert done.code == 0, "the loop works, and could be better"
    assert "overlap is [2]" in done.out
    assert "fix: set it to 1" in done.out
    assert "0 wrong, 1 could be better" in done.out
    platform.findings.append(Finding("webhook", Severity.ERROR, "no webhook", "run it"))
    assert nextlabel("doctor", "--project", "9").code == 1


def test_doctor_reports_a_platform_that_does_not_answer(nextlabel: Run, platform: Platform) -> None:
    platform.failure = PlatformUnavailable("Label Studio does not answer")
    done = nextlabel("doctor", "--project", "9")
    assert done.code == 1
    assert "PlatformUnavailable: Label Studio does not answer" in done.out


def test_doctor_warns_of_an_open_port_and_of_a_misspelled_setting(
    nextlabel: Run, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTLABEL_HOST", "0.0.0.0")
    monkeypatch.setenv("NEXTLABEL_PROT", "1")
    wrong = {
        one["code"]
        for one in json.loads(nextlabel("doctor", "--project", "9", "--json").out)
        if one["severity"] != "ok"
    }
    assert {"network", "settings"} <= wrong
