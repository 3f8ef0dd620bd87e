"""Fixtures that every test may use, and the tiers: a folder's name says what its tests need.

``live``: a real server, started once a session on a free port of 127.0.0.1. ``crash``: processes that are killed, or a
platform that lags behind. ``train``: training or exporting an encoder. All else is the unit tier.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import structlog
from _pytest.logging import LogCaptureHandler

from tests.size import SIZE

if TYPE_CHECKING:
    from nextlabel.backend.stack import ArgillaServer, LabelStudioServer
    from nextlabel.connectors.argilla.connector import ArgillaConnector
    from nextlabel.connectors.label_studio.connector import LabelStudioConnector

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything imports a library that would ask the hub
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # torch's threads spin while they wait: two processes, one at work
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as do numpy's, and products are small here

pytest.register_assert_rewrite("tests.contract.connector_contract")
hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one takes its time, which is no defect
hypothesis.settings.load_profile("any machine")

SCRUBBED = ("NEXTLABEL_", "LABEL_STUDIO_", "HEARTEX_", "ARGILLA_", "http_proxy", "https_proxy", "all_proxy")
KEPT = ("NEXTLABEL_LABEL_STUDIO_BIN", "NEXTLABEL_ARGILLA_VENV", "NEXTLABEL_CACHE", "NEXTLABEL_CHROMIUM")

ROOT = Path(__file__).parent
TIERS = ("crash", "live", "train")
SERVERS = {"argilla", "label_studio", "plain_label_studio", "postgresql"}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """The fast tests don't even import the others; those of the compose stack need a Docker engine."""
    left_out = TIERS if SIZE == "fast" else ()
    return True if collection_path.name in left_out or (collection_path.name == "docker" and SIZE != "docker") else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test with its tier."""
    for tier in tiers(item):
        item.add_marker(tier)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where there are several processes, one waits for a server while another computes; long files come early."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items.sort(key=lambda item: min((TIERS.index(tier) for tier in tiers(item)), default=len(TIERS)))
        files = {item.path: tiers(item) for item in items}
        waiting = {path: 1 for path, of in files.items() if {"crash", "live"} & set(of)}
        computing = {path: 5 if of else 1 for path, of in files.items() if path not in waiting}
        order = _spread(waiting) | _spread(computing)
        items.sort(key=lambda item: order[item.path])


def _spread(files: Mapping[Path, int]) -> dict[Path, float]:
    """Where each comes in a run of length 1, if they take as long as is said."""
    ends = itertools.accumulate(files.values())
    return {path: end / sum(files.values()) for path, end in zip(files, ends, strict=True)}


def pytest_collection_finish() -> None:
    """What is imported stays: the collector need not look at it again in every test."""
    gc.collect()
    gc.freeze()


def tiers(item: pytest.Item) -> list[str]:
    """The tiers that a test's folders name; none for the unit tier."""
    return [tier for tier in TIERS if tier in item.path.relative_to(ROOT).parts[:-1]]


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    """No test of the unit tier starts a server."""
    if fixturedef.argname in SERVERS and fixturedef.scope == "session":
        asked_by = request._pyfuncitem
        marked = any(asked_by.get_closest_marker(tier) for tier in TIERS)
        assert marked, f"{asked_by.nodeid} asks for {fixturedef.argname}: it belongs in a folder named live or crash"


@pytest.fixture(autouse=True)
def scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees settings of the person who runs it, but for where installed servers are kept."""
    for name in list(os.environ):
        if name.lower().startswith(tuple(prefix.lower() for prefix in SCRUBBED)) and name not in KEPT:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """What a test has set of logging, or a server that it runs has, holds for no other."""
    root, loggers = logging.getLogger(), logging.root.manager.loggerDict
    level, handlers = root.level, [one for one in root.handlers if not isinstance(one, LogCaptureHandler)]
    levels = {name: one.level for name, one in loggers.items() if isinstance(one, logging.Logger)}
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
    root.setLevel(level)
    root.handlers[:] = handlers + [one for one in root.handlers if isinstance(one, LogCaptureHandler)]
    for name, one in loggers.items():
        if isinstance(one, logging.Logger):
            one.setLevel(levels.get(name, logging.NOTSET))


@pytest.fixture(autouse=True)
def umask_as_it_was() -> Iterator[None]:
    """A command that a test calls closes the files of its process to others, for good."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[[], str]]:
    """A running PostgreSQL, shared by the session: ``postgresql()`` makes a database and returns its address."""
    from tests.deploy.native import Postgres

    folder = Path(tempfile.mkdtemp(prefix="nextlabel-postgresql-"))
    folder.chmod(0o711)  # pytest's own folders are out of reach of a user that PostgreSQL may run as
    names = {"POSTGRES_USER": "nextlabel", "POSTGRES_PASSWORD": secrets.token_hex(8), "POSTGRES_DB": "first"}
    ready = {"test": ["CMD-SHELL", f"pg_isready --host {folder}/server --dbname first"]}
    server = Postgres("postgresql", {"environment": names, "healthcheck": ready}, folder / "server")

    def make() -> str:
        name = f"store_{secrets.token_hex(4)}"
        server.add_database(name)
        return f"postgresql+psycopg://{server.address(name)}"

    try:
        server.prepare()
        yield make
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def made_encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was made of an encoder, kept for the session: to be linked to in place of ``encoders`` in a home."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "encoders"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def label_studio() -> Iterator[LabelStudioServer]:
    """A running Label Studio with the speed flag on, shared by the session: make a project of your own in it."""
    from nextlabel.backend.stack import LabelStudioStack

    with LabelStudioStack().start(say=print) as server:
        yield server


@pytest.fixture(scope="session")
def plain_label_studio() -> Iterator[LabelStudioServer]:
    """A running Label Studio with default feature flags, as most people have it."""
    from nextlabel.backend.stack import LabelStudioStack

    with LabelStudioStack(fast_import=False).start(say=print) as server:
        yield server


@pytest.fixture(scope="session")
def annotators(label_studio: LabelStudioServer) -> list[str]:
    """API tokens of four users of the shared Label Studio."""
    return [label_studio.add_user(f"annotator{number}@example.com") for number in range(4)]


@pytest.fixture
def label_studio_project(label_studio: LabelStudioServer) -> Iterator[Callable[..., LabelStudioConnector]]:
    """Makes projects in the shared Label Studio: ``make()`` asks sport or politics; takes what ``NewProject`` takes."""
    from nextlabel.connectors.base import NewProject
    from nextlabel.connectors.label_studio.connector import LabelStudioConnector
    from nextlabel.connectors.records import Labeling, LabelKind

    made = []

    def make(labeling: Labeling | None = None, **options: Any) -> LabelStudioConnector:
        asked = labeling or Labeling(LabelKind.SINGLE, ("sport", "politics"))
        connector = LabelStudioConnector.create(
            label_studio.url, label_studio.token, NewProject("a test", asked, **options)
        )
        made.append(connector)
        return connector

    yield make
    for connector in made:
        connector.close()


@pytest.fixture(scope="session")
def argilla() -> Iterator[ArgillaServer]:
    """A running Argilla, shared by the session: make a dataset of your own in it."""
    from nextlabel.backend.stack import ArgillaStack

    with ArgillaStack().start(say=print) as server:
        yield server


@pytest.fixture(scope="session")
def argilla_users(argilla: ArgillaServer) -> list[str]:
    """API keys of four annotators of the shared Argilla's workspace."""
    return [argilla.add_user(f"annotator{number}") for number in range(4)]


@pytest.fixture
def visit(argilla: ArgillaServer) -> Iterator[Callable[..., str]]:
    """Makes users of the shared Argilla who leave its workspace after the test: a queue is divided among all in it.

    Takes and returns what ``add_user`` does.
    """
    import httpx

    names = []

    def join(name: str, password: str | None = None, role: str = "annotator") -> str:
        names.append(name)
        return argilla.add_user(name, password, role)

    yield join
    headers = {"X-Argilla-Api-Key": argilla.token}
    with httpx.Client(base_url=f"{argilla.url}/api/v1/", headers=headers, timeout=60, trust_env=False) as owner:
        spaces = owner.get("me/workspaces").raise_for_status().json()["items"]
        members = f"workspaces/{next(one['id'] for one in spaces if one['name'] == argilla.workspace)}/users"
        for user in owner.get(members).raise_for_status().json()["items"]:
            if user["username"] in names:
                owner.delete(f"{members}/{user['id']}").raise_for_status()


@pytest.fixture
def argilla_dataset(argilla: ArgillaServer, argilla_users: list[str]) -> Iterator[Callable[..., ArgillaConnector]]:
    """Makes datasets in the shared Argilla: ``make()`` asks sport or politics; takes what ``NewProject`` takes."""
    from nextlabel.connectors.argilla.connector import ArgillaConnector
    from nextlabel.connectors.base import NewProject
    from nextlabel.connectors.records import Labeling, LabelKind

    made = []

    def make(labeling: Labeling | None = None, **options: Any) -> ArgillaConnector:
        asked = labeling or Labeling(LabelKind.SINGLE, ("sport", "politics"))
        title = f"a test {secrets.token_hex(4)}"
        connector = ArgillaConnector.create(argilla.url, argilla.token, NewProject(title, asked, **options))
        made.append(connector)
        return connector

    yield make
    for connector in made:
        connector.close()
