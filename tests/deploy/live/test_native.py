"""No Docker engine here: each service of docker-compose.yml starts natively, with its own command and environment.

Three things are replaced, since the images can't be had: PostgreSQL and Redis are of other versions, and the search
engine is osmem-server, which speaks OpenSearch; so ``ARGILLA_SEARCH_ENGINE`` is another one, and the server is
loaded through the shim of nextlabel.backend.stack. Elasticsearch's own service is not started.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from nextlabel.backend.stack import ArgillaStack, LabelStudioStack
from nextlabel.backend.stack.processes import free_port, free_ports, start_group, stop_group
from tests.deploy.native import Postgres, Service
from tests.deploy.stack_file import ROOT, fill_in, load

RECIPES = ROOT / "deploy" / "recipes"
SHIM = ROOT / "backend" / "stack" / "argilla_shim.py"
DRIVERS = ("psycopg2", "psycopg2_binary.libs", "asyncpg")
PUBLIC_URL = "http://nextlabel.localhost:9090"
LABELS = 60

Services = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A filled in .env, with ports that are free here."""
    ports = dict(zip(("LABEL_STUDIO_PORT", "ARGILLA_PORT"), free_ports(2), strict=True))
    return {
        **fill_in(tmp_path_factory.mktemp("env")),
        **{name: str(port) for name, port in ports.items()},
        "LABEL_STUDIO_ADDRESS": f"http://127.0.0.1:{ports['LABEL_STUDIO_PORT']}",
        "ARGILLA_ADDRESS": f"http://127.0.0.1:{ports['ARGILLA_PORT']}",
    }


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where everything is kept; in reach of a user that PostgreSQL may run as, which pytest's folders are not."""
    path = Path(tempfile.mkdtemp(prefix="nextlabel-compose-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    """Stops what was started, the last one first."""
    with ExitStack() as started:
        yield started


def dockerfile_environment() -> dict[str, str]:
    """What the Dockerfile sets in the image, but for the search path."""
    final = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    pairs = [pair for line in re.findall(r"^ENV (.*)$", final, re.MULTILINE) for pair in line.split()]
    return dict(pair.split("=", 1) for pair in pairs if not pair.startswith("PATH="))


def backend(services: Services, folder: Path, port: int, encoders: Path, **settings: str) -> Service:
    """The service ``nextlabel``, as the image runs it, with more ``settings``; its ``encoders`` are kept there."""
    folder.mkdir()
    (folder / "encoders").symlink_to(encoders)
    written = dict(services["nextlabel"])
    written["environment"] = dockerfile_environment() | written["environment"]
    return Service(
        "nextlabel",
        written,
        folder,
        here={
            "0.0.0.0": "127.0.0.1",
            PUBLIC_URL: f"http://127.0.0.1:{port}",
            "9090": str(port),
            "/data": str(folder),
        },
        programs=[Path(sys.executable).parent],
        extra={name: os.environ[name] for name in ("PYTHONPATH", "HF_HUB_OFFLINE") if name in os.environ} | settings,
        entrypoint=["nextlabel"],
        working_directory=RECIPES,
    )


def first_queue(service: Service, port: int, token: str) -> dict[str, Any]:
    """Wait until the backend has pushed its data and published a queue; return its status."""
    found: dict[str, Any] = {}

    def published() -> bool:
        found.update(status(port, token))
        return bool(found["generation"])

    service.wait_until(published, "the first queue", 300)
    return found


def status(port: int, token: str) -> dict[str, Any]:
    reply = httpx.get(
        f"http://127.0.0.1:{port}/api/status",
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
        trust_env=False,
    )
    answer: dict[str, Any] = reply.raise_for_status().json()
    return answer


@pytest.fixture(scope="module")
def label_studio_db(values: dict[str, str], folder: Path, stack: ExitStack) -> Postgres:
    service = Postgres("label-studio-db", load(values)["label-studio-db"], folder / "label-studio-db")
    stack.callback(service.stop)
    assert not service.healthy(), "the check can't fail"
    service.prepare()
    return service


@pytest.fixture(scope="module")
def label_studio(values: dict[str, str], folder: Path, stack: ExitStack, label_studio_db: Postgres) -> Service:
    service = Service(
        "label-studio",
        load(values)["label-studio"],
        folder / "label-studio",
        here={
            "0.0.0.0": "127.0.0.1",
            "/label-studio/data": str(folder / "label-studio"),
            "label-studio-db": "127.0.0.1",
            "5432": str(label_studio_db.port),
        },
        programs=[LabelStudioStack().install(print).parent],
        extra={"SKIP_BTREE_GIN_EXTENSION": "full"},  # for two indexes; this PostgreSQL comes without it
    )
    stack.callback(service.stop)
    assert not service.healthy(), "the check can't fail"
    service.start()
    service.wait(300)
    return service


@pytest.fixture(scope="module")
def client(values: dict[str, str], label_studio: Service) -> Iterator[httpx.Client]:
    """Label Studio's API, with the token of .env."""
    headers = {"Authorization": f"Token {values['LABEL_STUDIO_USER_TOKEN']}"}
    with httpx.Client(base_url=values["LABEL_STUDIO_ADDRESS"], headers=headers, timeout=60, trust_env=False) as found:
        yield found


def test_label_studio_knows_the_token_and_keeps_everything_in_postgresql(
    client: httpx.Client, label_studio_db: Postgres, values: dict[str, str]
) -> None:
    me = client.get("/api/current-user/whoami").raise_for_status().json()
    assert me["email"] == values["LABEL_STUDIO_USERNAME"]
    engine = sa.create_engine(f"postgresql+psycopg://{label_studio_db.address('label-studio')}")
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT email FROM htx_user")) == me["email"]
    engine.dispose()


def test_label_studio_accepts_the_address_of_the_service(client: httpx.Client, values: dict[str, str]) -> None:
    """Its webhooks want a dot in the host's name, or localhost."""
    url = load(values)["nextlabel"]["environment"]["NEXTLABEL_PUBLIC_URL"]
    assert url == PUBLIC_URL
    project = client.post("/api/projects/", json={"title": "webhooks"}).raise_for_status().json()["id"]
    made = client.post("/api/webhooks/", json={"url": f"{url}/webhook", "project": project})
    assert made.status_code == 201, made.text
    plain = {"url": "http://nextlabel:9090/webhook", "project": project}
    assert client.post("/api/webhooks/", json=plain).status_code == 400
    client.delete(f"/api/projects/{project}/").raise_for_status()


def test_the_loop_on_label_studio(
    client: httpx.Client, label_studio_db: Postgres, values: dict[str, str], folder: Path, made_encoders: Path
) -> None:
    """From .env to a label that counts; nextlabel's own store is on PostgreSQL, too."""
    label_studio_db.add_database("nextlabel")
    store = f"postgresql+psycopg://{label_studio_db.address('nextlabel')}"
    recipe = {"NEXTLABEL_RECIPE": "tickets-label-studio.yaml", "NEXTLABEL_STORE": store}
    port, token = free_port(), values["NEXTLABEL_API_TOKEN"]
    service = backend(load({**values, **recipe}), folder / "nextlabel-label-studio", port, made_encoders)
    assert not service.healthy(), "the check can't fail"
    service.start()
    try:
        service.wait(300)
        shown = first_queue(service, port, token)
        assert shown["records"] == shown["pushed"] == LABELS
        task = client.get(f"/api/projects/{shown['project']['id']}/next").raise_for_status().json()
        answer = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["bug"]}}
        client.post(f"/api/tasks/{task['id']}/annotations/", json={"result": [answer]}).raise_for_status()
        service.wait_until(lambda: status(port, token)["labelled"] == 1, "the label", 60)
    finally:
        service.stop()
    assert not list(folder.glob("nextlabel-label-studio/**/store.sqlite"))


@pytest.fixture(scope="module")
def argilla_here(values: dict[str, str], folder: Path, stack: ExitStack) -> dict[str, str]:
    """Argilla's database, Redis and search engine: what stands in the file -> where it is here."""
    services = load(values)
    database = Postgres("argilla-db", services["argilla-db"], folder / "argilla-db")
    stack.callback(database.stop)
    database.prepare()
    redis_port, search_port = free_ports(2)
    installed = ArgillaStack().install(print)
    redis = Service(
        "argilla-redis",
        services["argilla-redis"],
        folder / "argilla-redis",
        here={"/data": str(folder / "argilla-redis"), "redis-cli ping": f"redis-cli -p {redis_port} ping"},
        programs=[installed.redis.parent],
        arguments=["--bind", "127.0.0.1", "--port", str(redis_port)],
    )
    stack.callback(redis.stop)
    assert not redis.healthy(), "the check can't fail"
    redis.start()
    redis.wait(30)
    log = folder / "search.log"
    command = [str(installed.search), "--addr", f"127.0.0.1:{search_port}", "--no-ja", "--no-stdin-watch"]
    search = start_group(command, dict(os.environ), folder, log)
    stack.callback(stop_group, search.pid, search)
    return {
        "0.0.0.0": "127.0.0.1",
        "/var/lib/argilla": str(folder / "argilla"),
        "argilla-db:5432": f"127.0.0.1:{database.port}",
        "argilla-redis:6379": f"127.0.0.1:{redis_port}",
        "argilla-search:9200": f"127.0.0.1:{search_port}",
        "argilla_server:app": "with_osmem:app",
    }


@pytest.fixture(scope="module")
def argilla_service(values: dict[str, str], folder: Path, argilla_here: dict[str, str]) -> Callable[..., Service]:
    """Makes a service of Argilla's image: ``make(name)``."""
    services, installed = load(values), ArgillaStack().install(print)
    modules = folder / "modules"
    modules.mkdir()
    (modules / "with_osmem.py").write_text(
        "import argilla_shim\n\nargilla_shim.use_osmem()\nfrom argilla_server import app\n"
    )
    (modules / SHIM.name).symlink_to(SHIM)
    for name in DRIVERS:  # which the image has; from the environment of the tests
        found = find_spec(name.partition("_binary")[0])
        assert found is not None
        assert found.origin is not None
        (modules / name).symlink_to(Path(found.origin).parent.with_name(name))
    extra = {"ARGILLA_SEARCH_ENGINE": "opensearch", "PYTHONPATH": str(modules), "HF_HUB_OFFLINE": "1"}

    def make(name: str, **elsewhere: str) -> Service:
        here = {**argilla_here, **elsewhere}
        return Service(name, services[name], folder / name, here, programs=[installed.python.parent], extra=extra)

    return make


@pytest.fixture(scope="module")
def argilla(argilla_service: Callable[..., Service], stack: ExitStack) -> Service:
    """Argilla, with its worker beside it."""
    running = []
    for name in ("argilla", "argilla-worker"):
        service = argilla_service(name)
        stack.callback(service.stop)
        assert not service.healthy(), "the check can't fail"
        service.start()
        service.wait(300)
        running.append(service)
    return running[0]


@pytest.fixture(scope="module")
def api(values: dict[str, str], argilla: Service) -> Iterator[httpx.Client]:
    """Argilla's API, with the key of .env."""
    headers = {"X-Argilla-Api-Key": values["ARGILLA_OWNER_API_KEY"]}
    url = f"{values['ARGILLA_ADDRESS']}/api/v1/"
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as found:
        yield found


def test_argilla_knows_the_key(api: httpx.Client, values: dict[str, str]) -> None:
    me = api.get("me").raise_for_status().json()
    assert (me["username"], me["role"]) == (values["ARGILLA_USERNAME"], "owner")
    (workspace,) = api.get("me/workspaces").raise_for_status().json()["items"]
    assert workspace["name"] == "nextlabel"
    login = {"username": values["ARGILLA_USERNAME"], "password": values["ARGILLA_PASSWORD"]}
    api.post("token", data=login).raise_for_status()
    hook = {"url": f"{PUBLIC_URL}/webhook/argilla", "events": ["response.created"]}
    made = api.post("webhooks", json=hook)
    assert made.status_code == 201, made.text
    api.delete(f"webhooks/{made.json()['id']}").raise_for_status()


def test_argilla_starts_again_with_the_owner_it_has(argilla_service: Callable[..., Service], api: httpx.Client) -> None:
    """All of its command but the server, which runs."""
    again = argilla_service("argilla", **{"exec python -m uvicorn": "exec echo instead of"})
    again.start()
    assert again.finish(120) == 0
    assert "instead of" in again.log.read_text()
    assert len(api.get("users").raise_for_status().json()["items"]) == 1


def test_the_loop_on_argilla(api: httpx.Client, values: dict[str, str], folder: Path, made_encoders: Path) -> None:
    """From .env to a label that counts, delivered by the worker: no poll comes in time."""
    port, token = free_port(), values["NEXTLABEL_API_TOKEN"]
    services = load({**values, "NEXTLABEL_RECIPE": "tickets-argilla.yaml"})
    service = backend(services, folder / "nextlabel-argilla", port, made_encoders, NEXTLABEL_POLL_INTERVAL_S="600")
    service.start()
    try:
        service.wait(300)
        shown = first_queue(service, port, token)
        assert shown["records"] == shown["pushed"] == LABELS
        (record,) = api.get(f"datasets/{shown['project']['id']}/records", params={"limit": 1}).json()["items"]
        answer = {"status": "submitted", "values": {"label": {"value": "bug"}}}
        api.post(f"records/{record['id']}/responses", json=answer).raise_for_status()
        service.wait_until(lambda: status(port, token)["labelled"] == 1, "the label", 60)
    finally:
        service.stop()


def test_no_secret_reaches_a_log(argilla: Service, label_studio: Service, values: dict[str, str], folder: Path) -> None:
    secrets = {value for name, value in values.items() if name.endswith(("PASSWORD", "TOKEN", "KEY"))}
    logs = list(folder.glob("**/*.log"))
    assert len(logs) > 5
    for log in logs:
        assert not [secret for secret in secrets if secret in log.read_text(errors="replace")], log.name
