"""What the demo does differently on each platform: start it, sit a person down in front of it, and export answers.

The persons and the exports speak to the platform themselves and know nothing of our connectors, so that the figures
are not our own word for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx

from nextlabel.backend.stack import Annotator, ArgillaAnnotator, ArgillaStack, LabelStudioStack, Page, PlatformServer
from nextlabel.backend.stack.processes import Say
from nextlabel.connectors.label_studio.config import UID_KEY

Json = dict[str, Any]


class Person(ABC):
    """Somebody who labels, one record after the other."""

    @abstractmethod
    def look(self) -> str | None:
        """The uid of the record in front of this person; None if there is nothing left to label."""

    @abstractmethod
    def answer(self, label: str) -> None:
        """Give the record that was looked at a label, and go on to the next."""

    @abstractmethod
    def close(self) -> None:
        """Release connections."""


class Platform(ABC):
    """A platform that the demo runs on. ``pace_s`` are the fewest and the most seconds that people need a record."""

    pace_s: ClassVar[tuple[float, float]] = (0.0, 0.0)

    @abstractmethod
    def start(self, folder: Path, detach: bool, say: Say) -> PlatformServer:
        """Start a server that keeps its data in ``folder``."""

    @abstractmethod
    def user(self, number: int) -> str:
        """The name of an annotator."""

    @abstractmethod
    def person(self, server: PlatformServer, token: str, project: str, link: str) -> Person:
        """The owner of ``token`` at work in ``project``, who follows ``link`` if there is one."""

    @abstractmethod
    def exported(self, server: PlatformServer, project: str) -> dict[str, str]:
        """Every submitted answer that the platform itself has: id -> label."""


def get(server: PlatformServer, path: str, headers: dict[str, str], **params: str | int) -> Any:
    """What the server answers to its owner, as JSON. Raises httpx.HTTPError."""
    answer = httpx.get(f"{server.url}{path}", params=params, headers=headers, timeout=120, trust_env=False)
    return answer.raise_for_status().json()


class LabelStudio(Platform):
    """Label Studio serves each person the next task when they ask."""

    def start(self, folder: Path, detach: bool, say: Say) -> PlatformServer:
        """Start a server that keeps its data in ``folder``."""
        return LabelStudioStack().start(folder, detach=detach, say=say)

    def user(self, number: int) -> str:
        """An email address: what Label Studio has for a name."""
        return f"annotator{number}@example.com"

    def person(self, server: PlatformServer, token: str, project: str, link: str) -> Person:
        """Needs no link."""
        return LabelStudioPerson(Annotator(server.url, token, project))

    def exported(self, server: PlatformServer, project: str) -> dict[str, str]:
        """What the Export button gives."""
        headers = {"Authorization": f"Token {server.token}"}
        tasks = get(server, f"/api/projects/{project}/export", headers, exportType="JSON")
        return {
            str(one["id"]): one["result"][0]["value"]["choices"][0] for task in tasks for one in task["annotations"]
        }


class LabelStudioPerson(Person):
    """Asks for the next task and opens it, as the web page does."""

    def __init__(self, client: Annotator) -> None:
        self._client = client
        self._task: Json = {}

    def look(self) -> str | None:
        """The uid of the next task."""
        task = self._client.next_task()
        if task is None:
            return None
        self._task = task
        self._client.open(task)
        return str(task["data"][UID_KEY])

    def answer(self, label: str) -> None:
        """Submit."""
        self._client.submit(self._task, label)

    def close(self) -> None:
        """Release connections."""
        self._client.close()


class Argilla(Platform):
    """Argilla's web page fetches ten records at a time, sorted as the address asks.

    So whoever answers in no time answers what was best a while ago: a page holds up to sixteen records. People are
    still a few times as slow as the pace here.
    """

    EACH = 500
    pace_s = (0.5, 1.5)

    def start(self, folder: Path, detach: bool, say: Say) -> PlatformServer:
        """Start a server that keeps its data in ``folder``."""
        return ArgillaStack().start(folder, detach=detach, say=say)

    def user(self, number: int) -> str:
        """A user name."""
        return f"annotator{number}"

    def person(self, server: PlatformServer, token: str, project: str, link: str) -> Person:
        """Has the page open at ``link``."""
        return ArgillaPerson(ArgillaAnnotator(server.url, token, project), link)

    def exported(self, server: PlatformServer, project: str) -> dict[str, str]:
        """The submitted responses of every record, as the dataset's owner lists them."""
        return {
            str(one["id"]): next(iter(one["values"].values()))["value"]
            for record in self._records(server, project)
            for one in record["responses"]
            if one["status"] == "submitted"
        }

    def _records(self, server: PlatformServer, dataset: str) -> Iterator[Json]:
        path, headers = f"/api/v1/datasets/{dataset}/records", {"X-Argilla-Api-Key": server.token}
        offset = 0
        while items := get(server, path, headers, include="responses", limit=self.EACH, offset=offset)["items"]:
            yield from items
            offset += len(items)


class ArgillaPerson(Person):
    """Works through the page, and opens it anew when it shows nothing."""

    def __init__(self, client: ArgillaAnnotator, link: str) -> None:
        self._page = Page(client, link)

    def look(self) -> str | None:
        """The external id of the record shown."""
        shown = self._page.current or self._page.reload()
        return str(shown["external_id"]) if shown else None

    def answer(self, label: str) -> None:
        """Submit."""
        self._page.submit(label)

    def close(self) -> None:
        """Release connections."""
        self._page.annotator.close()


PLATFORMS: dict[str, Platform] = {"label-studio": LabelStudio(), "argilla": Argilla()}
