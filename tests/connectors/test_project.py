"""What making, finding and tidying away projects comes to on every platform, with a server made of a dict."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from nextlabel.connectors.argilla.client import Client as ArgillaClient
from nextlabel.connectors.argilla.config import QUESTIONS
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.base import NewProject
from nextlabel.connectors.errors import ConfigError, PlatformUnavailable
from nextlabel.connectors.label_studio.config import CONTROLS
from nextlabel.connectors.platforms import PLATFORMS, find_platform, platform_for
from nextlabel.connectors.project import ProjectConnector, Projects
from nextlabel.connectors.records import Labeling, LabelKind

ASKED = Labeling(LabelKind.SINGLE, ("a", "b"))


class Server(Projects[ArgillaClient]):
    """Projects by id with their number of records, all of one store."""

    def __init__(self, **sizes: int) -> None:
        super().__init__(
            ArgillaClient("http://argilla", "key", transport=httpx.MockTransport(lambda _: httpx.Response(404)))
        )
        self.sizes = sizes
        self.removed: list[str] = []

    def check(self, new: NewProject) -> None: ...

    def create(self, new: NewProject) -> dict[str, Any]:
        raise PlatformUnavailable("down")

    def find(self, project: str, workspace: str) -> dict[str, Any]:
        raise PlatformUnavailable(f"{project} in {workspace}")

    def with_mark(self, mark: str) -> list[str]:
        return list(self.sizes)

    def is_empty(self, project: str) -> bool:
        return self.sizes[project] == 0

    def remove(self, project: str) -> None:
        self.removed.append(project)


def connectors(server: Server) -> type[ProjectConnector[Any, Any]]:
    """Connectors to the projects of this server."""

    class Connector(ArgillaConnector):
        @classmethod
        def projects(cls, url: str, token: str, headers: Mapping[str, str]) -> Any:
            return server

    return Connector


def test_those_with_records_come_first_and_the_order_stays_otherwise() -> None:
    server = Server(a=0, b=2, c=0, d=1)
    assert connectors(server).marked("", "", "mark") == ["b", "d", "a", "c"]
    assert server.removed == []


def test_empty_ones_beside_the_one_in_use_are_removed() -> None:
    server = Server(a=0, b=2, c=0)
    assert connectors(server).marked("", "", "mark", tidy="c") == ["b", "a", "c"]
    assert server.removed == ["a"]
    assert server.client._http.is_closed


def test_connections_are_closed_where_no_connector_keeps_them() -> None:
    made, found = Server(), Server()
    with pytest.raises(PlatformUnavailable):
        connectors(made).create("", "", NewProject("title", ASKED))
    with pytest.raises(PlatformUnavailable, match="7 in team"):
        connectors(found).attach("", "", 7, workspace="team")
    assert made.client._http.is_closed
    assert found.client._http.is_closed


def test_every_kind_of_question_has_an_entry_in_each_connectors_table() -> None:
    assert set(CONTROLS) == set(QUESTIONS) == set(LabelKind)


def test_connectors_are_of_the_platform_that_makes_them() -> None:
    assert {name: platform.connectors().__name__ for name, platform in PLATFORMS.items()} == {
        "label-studio": "LabelStudioConnector",
        "argilla": "ArgillaConnector",
    }


# -- a project by its address --------------------------------------------------------------------------------------

SETTINGS = SimpleNamespace(
    label_studio_url="http://127.0.0.1:8080/studio",
    label_studio_api_key=SecretStr("k"),
    argilla_url="https://argilla.example.org",
    argilla_api_key=SecretStr("k"),
)
DATASET = "7db0f6df-ca76-4da9-a38e-107ea0813bc4"


@pytest.mark.parametrize(
    ("platform", "given", "project"),
    [
        ("label-studio", "http://127.0.0.1:8080/studio/projects/7/data?tab=3&task=12", "7"),
        ("label-studio", "http://localhost:8080/studio/projects/7", "7"),
        ("argilla", f"https://argilla.example.org/dataset/{DATASET}/annotation-mode?page=1", DATASET),
        ("argilla", f"https://argilla.example.org:443/dataset/{DATASET}", DATASET),
    ],
)
def test_an_address_in_the_browser_names_a_project_and_its_platform(platform: str, given: str, project: str) -> None:
    found = platform_for(None, given, SETTINGS)
    assert (found.name, found.named(SETTINGS, given)) == (platform, project)


@pytest.mark.parametrize("name", ["7", "my tickets", DATASET, "httpx"])
def test_what_is_no_address_stays(name: str) -> None:
    assert find_platform("label-studio").named(SETTINGS, name) == name


@pytest.mark.parametrize(
    ("platform", "given", "says"),
    [
        ("label-studio", "http://127.0.0.1:8081/studio/projects/7/data", "give the project's id: 7"),
        ("label-studio", "http://127.0.0.1:8080/projects/7/data", "is on another server than LABEL_STUDIO_URL"),
        ("label-studio", "http://127.0.0.1:8080/studio/user/account", "it looks like http://127.0.0.1:8080/projects/7"),
        ("argilla", "https://argilla.example.org/datasets", "is no address of a project of Argilla"),
    ],
)
def test_an_address_that_can_not_be_meant_is_refused(platform: str, given: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        find_platform(platform).named(SETTINGS, given)


def test_an_id_of_argilla_alone_names_no_other_platform() -> None:
    both = SimpleNamespace(label_studio_url="http://a", argilla_url="http://b")
    assert platform_for(None, "7", both).name == platform_for(None, "tickets", both).name == "label-studio"
    assert platform_for("argilla", "7", both).name == "argilla"
    assert platform_for(None, "7", SimpleNamespace(label_studio_url="", argilla_url="http://b")).name == "argilla"
