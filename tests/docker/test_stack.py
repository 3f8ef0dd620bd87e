"""Both profiles end to end: people label, parts are killed, kept, restored and replaced, and no answer is lost."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.stack_file import ROOT

from .people import OnArgilla, OnLabelStudio, Person, answer_while, logged
from .stack import Stack, build, said_by

STORE = "postgresql://nextlabel:{NEXTLABEL_DB_PASSWORD}@nextlabel-db/nextlabel"
RESTART = os.environ.get("NEXTLABEL_DOCKER_RESTART", "")
STATEFUL = {"label-studio": ("label-studio-db",), "argilla": ("argilla-db", "argilla-redis", "nextlabel-db")}
BLOCKS = re.findall(r"^```\n(.*?)^```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.timeout(3600)
working = contextmanager(answer_while)


@pytest.fixture(scope="module", params=["label-studio", "argilla"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[Stack]:
    """A profile that was started from nothing; Argilla's with nextlabel's own store on PostgreSQL."""
    profiles, settings = [request.param], {}
    if request.param == "argilla":
        profiles.append("postgresql")
        settings["NEXTLABEL_STORE"] = STORE
    name = f"nextlabel-test-{secrets.token_hex(3)}"
    made = Stack(name, tmp_path_factory.mktemp(name), profiles, f"tickets-{request.param}.yaml", settings)
    try:
        made.up()
        yield made
    finally:
        made.down(volumes=True)


@pytest.fixture
def person(stack: Stack) -> Person:
    return OnLabelStudio(stack) if "label-studio" in stack.profiles else OnArgilla(stack)


def agree(stack: Stack, person: Person) -> None:
    """The log and the platform have the same answers, none twice."""
    kept = person.kept()
    assert len({number for number, _ in kept}) == len(kept), "nobody was offered what had an answer"
    stack.wait(lambda status: status["log_head"] >= len(kept), "every answer")
    assert logged(stack) == kept


# The tests follow one another: each goes on with the stack as the one before left it.


def test_healthy_means_that_people_can_label(stack: Stack, person: Person) -> None:
    status = stack.status()
    assert status["generation"]
    assert status["records"] == status["pushed"] == 60
    assert person.next()[1]


def test_what_people_label_is_learned_and_moves_the_queue(stack: Stack, person: Person) -> None:
    first, suggested = stack.status(), []
    for _ in range(14):
        suggested.append(person.next()[2])
        person.answer()
    learned = stack.wait(lambda status: status["model_version"] != first["model_version"], "a model that has learned")
    assert learned["generation"] != first["generation"], "another order"
    assert any(suggested), "all but records of the audit come with a suggestion"
    agree(stack, person)


def test_kills_lose_nothing(stack: Stack, person: Person) -> None:
    profile = stack.profiles[0]
    workers = ["argilla-worker"] if profile == "argilla" else []
    with working(person, 16):
        for services in (["nextlabel"], [profile], list(STATEFUL[profile]), ["nextlabel", *workers], [profile]):
            stack.kill(*services)
            stack.up()
    agree(stack, person)


def test_a_new_image_goes_on_with_the_volumes(stack: Stack, person: Person) -> None:
    before = stack.container("nextlabel")
    with working(person, 4):
        build(secrets.token_hex(4))
        stack.up()
    assert stack.container("nextlabel") != before, "the container was not replaced"
    agree(stack, person)


def test_a_backup_restores_all(stack: Stack, person: Person) -> None:
    platform = stack.profiles[0]
    agree(stack, person)
    kept = person.kept()
    backup, restore = (block for block in BLOCKS if f"{platform}.dump" in block)
    stack.shell(backup)
    stack.down(volumes=True)
    stack.shell(restore, limit_s=900)
    agree(stack, person)
    assert person.kept() == kept
    person.answer()
    agree(stack, person)


@pytest.mark.skipif(not RESTART, reason="no command that restarts the engine is set")
def test_a_reboot_brings_all_back(stack: Stack, person: Person) -> None:
    """NEXTLABEL_DOCKER_RESTART: how this machine restarts its Docker engine."""
    subprocess.run(shlex.split(RESTART), check=True, timeout=300)
    running = len(stack.compose("ps", "--services").split())
    stack.up()
    assert len(stack.compose("ps", "--services").split()) == running, "all but what was started now came by themselves"
    if "argilla" in stack.profiles:  # what stands in for Elasticsearch keeps its index in memory
        stack.run("python", "-m", "argilla_server", "search-engine", "reindex", service="argilla")
    person.answer()
    agree(stack, person)


def test_no_service_may_take_the_host(stack: Stack) -> None:
    for service in stack.compose("ps", "--services").split():
        form = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.LogConfig.Type}}"
        memory, processes, log = said_by(["docker", "inspect", "--format", form, stack.container(service)]).split()
        assert 0 < int(memory) <= 4 << 30, service
        assert 0 < int(processes) <= 1024, service
        assert log == "local", service


def test_no_secret_reaches_a_log_nor_one_service_anothers(stack: Stack) -> None:
    values = {name: stack.values[name] for name in stack.values if name.endswith(("PASSWORD", "TOKEN", "KEY"))}
    logs = stack.compose("logs", "--no-color")
    assert not [name for name, value in values.items() if value in logs]
    environment = stack.run("env")
    foreign = {"LABEL_STUDIO_PASSWORD", "LABEL_STUDIO_DB_PASSWORD", "ARGILLA_PASSWORD", "ARGILLA_REDIS_PASSWORD"}
    assert not [name for name in foreign if values[name] in environment]


def test_folder_of_the_docs(tmp_path: Path) -> None:
    """The docs' blocks for backups are there, two for each platform."""
    for platform in STATEFUL:
        assert sum(f"{platform}.dump" in block for block in BLOCKS) == 2
