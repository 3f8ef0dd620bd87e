"""A platform behind a company's gateway: its own certificate, a sub-path, IPv6 on both sides. The whole loop runs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nextlabel.backend.stack import Annotator, ArgillaAnnotator, LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess, at
from nextlabel.backend.stack.server import PlatformServer
from nextlabel.connectors.base import BackendAddress
from nextlabel.connectors.errors import ConfigError, PlatformUnavailable
from nextlabel.connectors.label_studio.client import Client
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from tests.live.gateway import certificate, gateway
from tests.live.label_studio_calls import access_token

HOUR = "3600"


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The company's certificate."""
    return certificate(tmp_path_factory.mktemp("company"))


@pytest.fixture(params=["label_studio", "argilla"])
def server(request: pytest.FixtureRequest) -> PlatformServer:
    found: PlatformServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def address(server: PlatformServer, company: Path) -> Iterator[str]:
    with gateway(server.url, company.parent, path="/teams/labels") as found:
        yield found


def test_the_loop_runs_through_a_gateway(server: PlatformServer, address: str, company: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\n".join(["text", *(f"text number {n}" for n in range(20))]) + "\n")
    recipe = tmp_path / "gateway.yaml"
    recipe.write_text(
        f"name: gateway\ntitle: Gateway {secrets.token_hex(4)}\ndata: x.csv\nfields: text\nlabels: [a, b]\n"
        "encoder: hashing\n"
    )
    reached = {name: value.replace(server.url, address) for name, value in server.env().items()}
    ours = {"REQUESTS_CA_BUNDLE": str(company), "NEXTLABEL_POLL_INTERVAL_S": HOUR}
    process = BackendProcess(str(recipe), server, tmp_path / "home", env={**reached, **ours})
    if not isinstance(server, LabelStudioServer):  # which calls nobody at such a number: the next test
        process.env = {**process.env, "NEXTLABEL_HOST": "[::1]"}
        process.url = f"http://[::1]:{process.port}"
    process.start()
    try:
        project = process.wait_ready(limit_s=60)["project"]
        assert project["link"].startswith(address)
        if isinstance(server, LabelStudioServer):
            with Annotator(server.url, server.token, project["id"]) as person:
                task = person.next_task()
                assert task is not None
                person.submit(task, "a")
        else:
            with ArgillaAnnotator(server.url, server.token, project["id"]) as someone:
                record = someone.next(project["link"])
                assert record is not None
                someone.submit(record, "a")
        process.wait(at("labelled", 1), "a label that only a webhook can tell of within an hour")
    finally:
        process.stop()


def test_label_studio_calls_no_ipv6_number(label_studio_project: Callable[..., LabelStudioConnector]) -> None:
    connector = label_studio_project()
    with pytest.raises(ConfigError, match="NEXTLABEL_PUBLIC_URL to an address with a name"):
        connector.connect(BackendAddress("http://[::1]:9090", "nextlabel", "p", "s"))
    body = {"project": int(connector.project.id), "url": "http://[::1]:9090", "title": "x"}
    with pytest.raises(PlatformUnavailable, match="Can't resolve hostname"):
        connector._client.request("POST", "/api/ml", body=body)


@pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")  # in the SDK, where it renews tokens
def test_an_access_token_is_renewed_under_a_path(
    label_studio: LabelStudioServer, company: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(company))
    token = access_token(label_studio)
    with gateway(label_studio.url, company.parent) as address, closing(Client(address, token)) as client:
        assert client.get("/api/current-user/whoami")["email"].endswith("@example.com")


def test_who_does_not_know_the_certificate_is_told_what_to_do(label_studio: LabelStudioServer, company: Path) -> None:
    with (
        gateway(label_studio.url, company.parent) as address,
        closing(Client(address, label_studio.token)) as client,
        pytest.raises(PlatformUnavailable, match="name the file with its own in SSL_CERT_FILE"),
    ):
        client.request("GET", "/api/version")
