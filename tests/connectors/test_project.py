"""What making, finding and tidying away projects comes to on every platform, with a server made of a dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from nextlabel.connectors.argilla.client import Client as ArgillaClient
from nextlabel.connectors.argilla.config import QUESTIONS
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.base import NewProject
from nextlabel.connectors.errors import PlatformUnavailable
from nextlabel.connectors.label_studio.config import CONTROLS
from nextlabel.connectors.platforms import PLATFORMS
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
