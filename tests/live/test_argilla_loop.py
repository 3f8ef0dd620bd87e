"""``nextlabel run`` on a real Argilla: what people do there, and what the running service makes of it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.stack import ArgillaAnnotator, ArgillaServer
from nextlabel.backend.stack.backend import BackendProcess, at, past
from nextlabel.backend.stack.processes import free_port
from nextlabel.backend.store import Store
from nextlabel.connectors.argilla.webhooks import EVENTS
from nextlabel.connectors.records import AnnotationStatus
from tests.live.argilla_calls import api, forget_webhooks, in_store
from tests.waiting import wait_for

LABELS = ("cat", "oak", "pebble")
SUBJECTS = ("a cat asleep", "an oak in leaf", "a pebble, smooth")
WINDOW = 40
Make = Callable[..., BackendProcess]


def write_recipe(folder: Path, name: str, extra: str = "", records: int = 90) -> Path:
    """A recipe whose records can be told apart by their words; Argilla takes a title once."""
    texts = [f"{SUBJECTS[i % 3]} near house number {i}." for i in range(records)]
    (folder / f"{name}.csv").write_text("\n".join(["text", *(f'"{text}"' for text in texts)]) + "\n")
    path = folder / f"{name}.yaml"
    path.write_text(
        f"title: {name} {secrets.token_hex(4)}\nplatform: argilla\ndata: {name}.csv\nfields: text\n"
        f"labels: [{', '.join(LABELS)}]\nencoder: hashing\n{extra}"
    )
    return path


@pytest.fixture(scope="module")
def product(
    argilla: ArgillaServer, argilla_users: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendProcess]:
    forget_webhooks(argilla)
    folder = tmp_path_factory.mktemp("loop")
    process = BackendProcess(str(write_recipe(folder, "loop")), argilla, folder / "home")
    process.start()
    process.wait(lambda status: status["generation"] and status["links"], "the first queue, and links")
    yield process
    process.stop()
    forget_webhooks(argilla)


@pytest.fixture
def another(argilla: ArgillaServer, argilla_users: list[str], tmp_path: Path) -> Iterator[Make]:
    """A service of the test's own, with lines added to its recipe, not started."""
    made: list[BackendProcess] = []

    def make(extra: str = "", **options: Any) -> BackendProcess:
        recipe = write_recipe(tmp_path, f"own{len(made)}", extra)
        made.append(BackendProcess(str(recipe), argilla, tmp_path / f"home{len(made)}", **options))
        return made[-1]

    yield make
    for process in made:
        process.stop()


@pytest.fixture
def worker(product: BackendProcess, argilla: ArgillaServer, argilla_users: list[str]) -> Iterator[ArgillaAnnotator]:
    """annotator0, in the dataset of the shared service."""
    with ArgillaAnnotator(argilla.url, argilla_users[0], product.status()["project"]["id"]) as person:
        yield person


def truth(text: str) -> str:
    return next(label for label in LABELS if label in text)


def texts(person: ArgillaAnnotator, link: str = "") -> list[str]:
    """Everything that waits for a person, in the order of the link."""
    records, total = person.pending(link, limit=200)
    assert len(records) == total
    return [record["fields"]["text"] for record in records]


def label_next(person: ArgillaAnnotator, link: str = "") -> dict[str, Any]:
    record = person.next(link)
    assert record is not None
    person.submit(record, truth(record["fields"]["text"]))
    return record


def store_of(process: BackendProcess) -> Path:
    return process.home / Path(process.recipe).stem / "store.sqlite"


def answers_since(process: BackendProcess, seen: int) -> dict[str, list[tuple[AnnotationStatus, Any]]]:
    """Record -> the answers to it that count now, of those about which the log has news."""
    with Store.open(store_of(process)) as store:
        return {record: [(one.status, one.value) for one in given] for record, given in store.touched(seen).items()}


def suggestions(server: ArgillaServer, record: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api(server, "GET", f"/records/{record}/suggestions")["items"]
    return found


def test_a_label_reorders_the_queue_of_others(
    product: BackendProcess, argilla: ArgillaServer, argilla_users: list[str], worker: ArgillaAnnotator
) -> None:
    status = product.status()
    links = status["links"]
    with ArgillaAnnotator(argilla.url, argilla_users[1], status["project"]["id"]) as other:
        before = texts(other, links["annotator1"])
        for _ in range(6):
            head = product.status()["log_head"]
            started = time.monotonic()
            label_next(worker, links["annotator0"])
            status = product.wait(past("generation_log_head", head), "a new queue", 30)
            print(f"{time.monotonic() - started:.1f} s from label to queue")
        held = set(texts(worker, links["annotator0"])[:16])
        after = texts(other, links["annotator1"])
    kept = set(after) - held
    assert [text for text in before if text in kept] != [text for text in after if text in kept]
    with Store.open(store_of(product)) as store:
        delivered = [row.source for row in store.log_rows()]
    assert delivered.count("webhook") > len(delivered) / 2, "the worker's deliveries did not come first"
    assert status["label_to_queue_p95"] is not None


def test_whatever_an_annotator_does_arrives(product: BackendProcess, worker: ArgillaAnnotator) -> None:
    product.wait_settled()
    link = product.status()["links"]["annotator0"]
    seen = product.status()["log_head"]
    labelled = product.status()["labelled"]
    records = worker.pending(link)[0][:4]
    skipped, drafted, edited, taken_back = records
    worker.discard(skipped)
    worker.draft(drafted, "cat")
    response = worker.submit(edited, "cat")
    gone = worker.submit(taken_back, "oak")
    product.wait(lambda status: status["log_head"] >= seen + 4 and status["labelled"] == labelled + 2, "four answers")
    worker.update(response, "pebble")
    worker.delete(gone)
    expected = {
        skipped["id"]: [(AnnotationStatus.SKIPPED, ())],
        drafted["id"]: [(AnnotationStatus.DRAFT, ("cat",))],
        edited["id"]: [(AnnotationStatus.SUBMITTED, ("pebble",))],
        taken_back["id"]: [],
    }
    wait_for(lambda: answers_since(product, seen) == expected)
    product.wait(lambda status: status["labelled"] == labelled + 1, "the loop to know")
    open_now = set(texts(worker, link))
    assert taken_back["fields"]["text"] in open_now, "nobody has answered it any more"
    assert not {one["fields"]["text"] for one in (skipped, drafted, edited)} & open_now


def test_added_records_and_people_are_found_without_events(
    product: BackendProcess, argilla: ArgillaServer, visit: Callable[..., str]
) -> None:
    """The default settings, and no webhook for records or users: a look at the platform finds them."""
    for hook in api(argilla, "GET", "/webhooks")["items"]:
        assert set(hook["events"]) == set(EVENTS)
    dataset = product.status()["project"]["id"]
    name = f"newcomer-{secrets.token_hex(4)}"
    key = visit(name)
    items = [{"fields": {"text": f"{SUBJECTS[n % 3]} that the owner added {secrets.token_hex(2)}"}} for n in range(6)]
    made = api(argilla, "POST", f"/datasets/{dataset}/records/bulk", json={"items": items})["items"]
    started = time.monotonic()
    ours = wait_for(lambda: in_store(store_of(product), [one["id"] for one in made]))
    wait_for(lambda: all(suggestions(argilla, number) for number, item in ours.items() if not item.audit))
    assert not any(suggestions(argilla, number) for number, item in ours.items() if item.audit), "not blind"
    print(f"{time.monotonic() - started:.1f} s until added records had suggestions")
    status = product.wait(lambda status: name in status["links"], "a link for the newcomer", 60)
    link = status["links"][name]
    wait_for(lambda: link in api(argilla, "GET", f"/datasets/{dataset}")["guidelines"])
    print(f"{time.monotonic() - started:.1f} s until the newcomer had a link")
    product.wait(lambda status: status["state"] == "idle", "a queue for the newcomer")
    with ArgillaAnnotator(argilla.url, key, dataset) as person:
        assert {one["fields"]["text"] for one in items} <= set(texts(person, link))
        label_next(person, link)
    product.wait_settled()


def test_feed_mode_keeps_the_window_and_needs_no_link(
    another: Make, argilla: ArgillaServer, argilla_users: list[str]
) -> None:
    process = another(f"window: {WINDOW}\naudit_share: 0\n")
    process.start()
    dataset = process.wait_ready()["project"]["id"]
    with ArgillaAnnotator(argilla.url, argilla_users[2], dataset) as person:
        process.wait(lambda status: status["state"] == "idle", "suggestions for the window")
        for done in range(1, 8):
            records, total = person.pending(limit=100)  # in Argilla's own order, as without a link
            assert total <= WINDOW
            assert all(record["suggestions"] for record in records)
            label_next(person)
            process.wait(at("labelled", done), "the label")
            status = process.wait_settled()
            assert status["pushed"] <= WINDOW + done
            process.wait(lambda status: status["state"] == "idle", "suggestions for what was added")
        assert person.pending()[1] == WINDOW, "the window was not topped up"
    assert status["pushed"] == WINDOW + 7


def run_once(process: BackendProcess, **settings: str) -> subprocess.CompletedProcess[str]:
    """``nextlabel run`` where it can't start."""
    own = {"NEXTLABEL_HOME": str(process.home), "NEXTLABEL_PORT": str(free_port())}
    line = [sys.executable, "-m", "nextlabel.backend.cli", "run", process.recipe]
    environment = {**os.environ, **process.server.env(), **own, **settings}
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, env=environment)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_what_is_wrong_at_the_start_is_one_line(another: Make) -> None:
    process = another()
    assert "API key" in last_line(run_once(process, NEXTLABEL_ARGILLA_API_KEY="0" * 40))
    nobody = f"http://127.0.0.1:{free_port()}"
    assert nobody in last_line(run_once(process, NEXTLABEL_ARGILLA_URL=nobody))
    assert "ARGILLA_API_KEY" in last_line(run_once(process, NEXTLABEL_ARGILLA_API_KEY=""))
    assert "no workspace 'elsewhere'" in last_line(run_once(process, NEXTLABEL_ARGILLA_WORKSPACE="elsewhere"))


def test_a_dataset_deleted_under_the_service_is_said_so(another: Make, argilla: ArgillaServer) -> None:
    process = another(env={"NEXTLABEL_POLL_INTERVAL_S": "1"})
    process.start()
    dataset = process.wait_ready()["project"]["id"]
    process.wait(lambda status: status["state"] == "idle", "the whole queue")  # nothing is on its way
    api(argilla, "DELETE", f"/datasets/{dataset}")
    status = process.wait(lambda status: status["last_error"], "an error", 60)
    assert status["last_error"].startswith("ProjectNotFound")
    assert dataset in status["last_error"]
    process.stop()
    assert "Traceback" not in process.log.read_text()
    assert dataset in last_line(run_once(process))
