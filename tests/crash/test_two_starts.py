"""Several services started at once on one store that has no project yet: there is one project, and nothing is lost.

``NEXTLABEL_ROUNDS`` has each kind of store tried so many times.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.loop.leadership import LEASE, TERM
from nextlabel.backend.service.project import PROJECT
from nextlabel.backend.stack import Annotator, ArgillaAnnotator, ArgillaServer, LabelStudioServer, PlatformServer
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.stack.processes import start_group, stop_group, tail
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import PlatformUnavailable
from tests.crash.people import LABELS, check_log, exported, logged
from tests.live.argilla_calls import api as argilla_api
from tests.live.argilla_calls import forget_webhooks, hooks
from tests.live.label_studio_calls import api as label_studio_api
from tests.size import both_in_long, count

pytestmark = pytest.mark.timeout(300)

ROUNDS = count(1, long=10, name="NEXTLABEL_ROUNDS")
RECORDS = 40
CASES = [
    *(("label-studio", store, number) for store in both_in_long("sqlite", "postgresql") for number in range(ROUNDS)),
    *(("argilla", "postgresql", number) for number in range(max(1, ROUNDS // 5))),
]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[PlatformServer]:
    found: PlatformServer = request.getfixturevalue(request.param.replace("-", "_"))
    if isinstance(found, ArgillaServer):
        forget_webhooks(found)
    yield found
    if isinstance(found, ArgillaServer):
        forget_webhooks(found)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the services have their store: a file in their home, or an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "home" / "twins" / "store.sqlite")
    address: str = request.getfixturevalue("postgresql")()
    return address


@pytest.fixture
def recipe(server: PlatformServer, tmp_path: Path) -> Path:
    rows = [f"number {number}: {['a cat', 'an oak', 'a pebble'][number % 3]} by the river" for number in range(RECORDS)]
    (tmp_path / "texts.csv").write_text("\n".join(["text", *rows, ""]))
    path = tmp_path / "twins.yaml"
    path.write_text(
        f"title: twins {secrets.token_hex(4)}\nplatform: {server.platform}\ndata: texts.csv\nfields: text\n"
        f"labels: [{', '.join(LABELS)}]\nencoder: hashing\n"
    )
    return path


@pytest.fixture
def settings(server: PlatformServer, store: str, tmp_path: Path) -> dict[str, str]:
    home = {"NEXTLABEL_HOME": str(tmp_path / "home"), "NEXTLABEL_POLL_INTERVAL_S": "1"}
    return server.env() | home | ({"NEXTLABEL_STORE": store} if "://" in store else {})


@pytest.fixture
def twins(
    recipe: Path, server: PlatformServer, settings: dict[str, str], tmp_path: Path
) -> Iterator[list[BackendProcess]]:
    """Two services, not started yet; each logs in a folder of its own."""
    made = [BackendProcess(str(recipe), server, tmp_path / name, env=settings) for name in ("one", "other")]
    yield made
    for process in made:
        process.stop()


@pytest.mark.parametrize(("server", "store", "number"), CASES, indirect=["server", "store"])
def test_two_starts_make_one_project_and_lose_nothing(
    twins: list[BackendProcess], server: PlatformServer, store: str, number: int, recipe: Path
) -> None:
    began = time.monotonic()
    for process in twins:
        process.start()
    leader, standby = led(twins)
    project = leader.status()["project"]["id"]
    assert standby.status()["project"]["id"] == project
    assert titled(server, recipe) == [project]

    answer(server, project, 3)
    knows(leader, store, 3)
    leader.kill()
    killed = time.monotonic()
    answer(server, project, 3)
    if number:
        released(store)
    standby.wait(lambda status: status["leader"], "a leader", limit_s=TERM + 10, every_s=0.05)
    took_over = time.monotonic() - killed
    knows(standby, store, 6)
    standby.wait_settled()
    answer(server, project, 3)
    check(server, store, project, standby)

    standby.stop()
    answer(server, project, 3)
    leader.start()
    knows(leader, store, 12)
    check(server, store, project, leader)
    assert titled(server, recipe) == [project]
    print(
        f"{server.platform}, store on {'PostgreSQL' if '://' in store else 'SQLite'}, round {number + 1}: project "
        f"{project}, {len(exported(server, project))} answers, taken over after {took_over:.1f} s, all in "
        f"{time.monotonic() - began:.0f} s"
    )


def led(twins: list[BackendProcess]) -> tuple[BackendProcess, BackendProcess]:
    """The one that leads, with a queue published, and the other one, which is up and stands by."""
    owners = [process.wait(lambda status: status["lease"], "a leader")["lease"]["owner"] for process in twins]
    assert len(set(owners)) == 1
    [leader] = [process for process in twins if process.status()["leader"]]
    leader.wait_ready()
    return leader, next(process for process in twins if process is not leader)


def knows(process: BackendProcess, store: str, answers: int) -> None:
    """Wait until so many are known; if they don't become known, our log tells what became of them."""
    try:
        process.wait(lambda status: status["labelled"] == answers, f"{answers} answers")
    except PlatformUnavailable as error:
        with Store.open(store) as opened:
            rows = [(row.seq, row.kind, row.subject, row.source) for row in opened.log_rows(0, limit=100)]
        raise AssertionError(f"{error}\n{rows}") from None


def check(server: PlatformServer, store: str, project: str, leader: BackendProcess) -> None:
    """Log and platform have the same answers, and the platform calls the leader and nobody else."""
    leader.wait(lambda _: dict(logged(store)) == exported(server, project), "a log that equals the platform's list")
    check_log(store, exported(server, project))
    assert leader.status()["project"]["id"] == project
    assert leader.status()["records"] == RECORDS
    if isinstance(server, ArgillaServer):
        assert [one["url"] for one in hooks(server)] == [f"{leader.url}/webhook/argilla"]
    else:
        assert isinstance(server, LabelStudioServer)
        backends = label_studio_api(server, "GET", f"/api/ml?project={project}").json()
        assert [one["url"] for one in backends] == [leader.url]
        told = label_studio_api(server, "GET", f"/api/webhooks/?project={project}").json()
        assert [one["url"] for one in told] == [f"{leader.url}/webhook"] * 2


def titled(server: PlatformServer, recipe: Path) -> list[str]:
    """Ids of the platform's projects with the recipe's title."""
    title = recipe.read_text().splitlines()[0].removeprefix("title: ")
    if isinstance(server, ArgillaServer):
        found = argilla_api(server, "GET", "/me/datasets")["items"]
        return [one["id"] for one in found if one["name"] == title]
    assert isinstance(server, LabelStudioServer)
    found = label_studio_api(server, "GET", f"/api/projects/?title={title}").json()["results"]
    return [str(one["id"]) for one in found]


def answer(server: PlatformServer, project: str, count: int) -> None:
    """The owner of the key labels what comes first."""
    if isinstance(server, ArgillaServer):
        with ArgillaAnnotator(server.url, server.token, project) as person:
            for _ in range(count):
                record = person.next()
                assert record is not None
                person.submit(record, LABELS[0])
        return
    with Annotator(server.url, server.token, project) as person:
        for _ in range(count):
            task = person.next_task()
            assert task is not None
            person.submit(task, LABELS[0])


def released(store: str) -> None:
    """Let the dead one's lease be over at once: its term was waited for in another round."""
    with Store.open(store) as opened:
        lease = opened.lease(LEASE)
        assert lease is not None
        opened.release(LEASE, lease.owner)


# -- beside other commands, and half-way -----------------------------------------------------------------------------

DYING = """
import os, signal, sys
from nextlabel.backend.cli import main
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import PlatformUnavailable
Store.claim_meta = lambda self, values: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


@pytest.fixture
def command(recipe: Path, settings: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a command beside what runs; its output is in ``<name>.log`` beside the recipe."""
    running: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **settings, "COLUMNS": "300"}
        line = [sys.executable, *arguments]
        running.append(start_group(line, environment, recipe.parent, recipe.parent / f"{name}.log"))
        return running[-1]

    yield start
    for process in running:
        stop_group(process.pid, process)


CLI = ("-m", "nextlabel.backend.cli", "push")


@pytest.mark.parametrize(("server", "store"), [("label-studio", "sqlite")], indirect=True)
def test_push_twice_and_run_at_once_make_one_project_with_each_record_once(
    twins: list[BackendProcess], command: Callable[..., Any], server: LabelStudioServer, recipe: Path
) -> None:
    pushes = [command(name, *CLI, str(recipe)) for name in ("first", "second")]
    twins[0].start()
    codes = [push.wait(120) for push in pushes]
    status = twins[0].wait_ready()
    [project] = titled(server, recipe)
    assert status["project"]["id"] == project
    assert (status["records"], status["pushed"]) == (RECORDS, RECORDS)
    tasks = label_studio_api(server, "GET", f"/api/projects/{project}").json()["task_number"]
    assert tasks == RECORDS
    for name, code in zip(("first", "second"), codes, strict=True):
        said = (recipe.parent / f"{name}.log").read_text()
        assert code == 0 or (code == 1 and "another nextlabel runs on this store" in said), said


@pytest.mark.parametrize(("server", "store"), [("label-studio", "sqlite"), ("argilla", "sqlite")], indirect=True)
def test_what_a_start_made_that_was_killed_before_it_noted_it_is_taken_up(
    command: Callable[..., Any], server: PlatformServer, store: str, recipe: Path
) -> None:
    """Within the term of its lease: the next one waits for that, as it may be at it still."""
    assert command("dying", "-c", DYING, "push", str(recipe)).wait(120) == -9
    [made] = titled(server, recipe)
    with Store.open(store) as opened:
        assert opened.get_meta(PROJECT) is None
        assert opened.lease(LEASE) is not None
    if server.platform == "argilla":
        released(store)
    began = time.monotonic()
    assert command("next", *CLI, str(recipe)).wait(120) == 0, tail(recipe.parent / "next.log")
    assert time.monotonic() - began < TERM + 20
    assert titled(server, recipe) == [made]
    with Store.open(store) as opened:
        assert opened.get_meta(PROJECT) == made
        assert opened.record_counts()["pushed"] == RECORDS
        assert opened.lease(LEASE) is None


@pytest.mark.parametrize(("server", "store"), [("label-studio", "sqlite")], indirect=True)
def test_a_service_whose_store_names_another_project_ends_and_says_so(
    twins: list[BackendProcess], store: str, server: PlatformServer
) -> None:
    service = twins[0]
    service.start()
    project = service.wait_ready()["project"]["id"]
    with closing(sqlite3.connect(store)) as database, database:
        database.execute("UPDATE meta SET value = '987654' WHERE key = 'project'")
    process = service._process
    assert process is not None
    assert process.wait(30) == 1
    said = f"the store's project is 987654 now, and this service works for {project}: it ends"
    assert f"error: {said}" in service.log.read_text()
    with Store.open(store) as opened:
        assert opened.lease(LEASE) is None
