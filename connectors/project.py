"""What projects, and the connectors to them, have in common on all platforms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from threading import Lock
from typing import Generic, Self, TypeVar

import structlog
from typing_extensions import override

from nextlabel.connectors.base import Connector, NewProject, closed_on_failure
from nextlabel.connectors.basics import Json
from nextlabel.connectors.differences import Form, expect
from nextlabel.connectors.http import NO_HEADERS, PlatformClient
from nextlabel.connectors.image_addresses import AS_THEY_ARE, ImageAddresses, with_images
from nextlabel.connectors.records import Labeling, Record, RemoteRecord

log = structlog.get_logger(__name__)

ClientT = TypeVar("ClientT", bound=PlatformClient)
FormT = TypeVar("FormT", bound=Form)


class Projects(ABC, Generic[ClientT]):
    """The projects on one server: making one, and finding those that were made for one store.

    A lost answer leaves a project that nobody noted. So each carries a mark of the store that it was made for.
    """

    def __init__(self, client: ClientT) -> None:
        self.client = client

    @abstractmethod
    def check(self, new: NewProject) -> None:
        """Look whether ``new`` could be made: it can be asked here, and the token may make it. Makes nothing.

        Raises ConfigError, MissingExtra, LabelingMismatch, Unauthorized or ProjectNotFound.
        """

    @abstractmethod
    def create(self, new: NewProject) -> Json:
        """Make a project, and read it."""

    @abstractmethod
    def find(self, project: str, workspace: str) -> Json:
        """Read the project with this id or name; ``workspace`` narrows the search, where the platform has such.

        Raises ProjectNotFound, with their ids if several have the name.
        """

    @abstractmethod
    def with_mark(self, mark: str) -> list[str]:
        """Ids of the finished projects that carry ``mark``, those to prefer first."""

    @abstractmethod
    def is_empty(self, project: str) -> bool:
        """Whether it has no record."""

    @abstractmethod
    def remove(self, project: str) -> None:
        """Delete it, if it is still there."""


class ProjectConnector(Connector, Generic[ClientT, FormT]):
    """A connector that knows its client, and the ``form`` that the question had at the last look.

    Make one with :meth:`create` or :meth:`attach`. Both raise LabelingMismatch if one of the two can't ask what the
    other does; ProjectNotFound if there is no such project or workspace; Unauthorized, PlatformUnavailable or
    PlatformError.
    """

    form: FormT
    replace_suggestions = False
    images: ImageAddresses = AS_THEY_ARE

    def __init__(self, client: ClientT, found: Json, question: str | None = None) -> None:
        self._client = client
        self._question = question
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.project.url!r}, project={self.project.id})"

    @classmethod
    @abstractmethod
    def projects(cls, url: str, token: str, headers: Mapping[str, str]) -> Projects[ClientT]:
        """Those on a server. ``headers`` go with every request."""

    @classmethod
    def create(cls, url: str, token: str, new: NewProject, *, headers: Mapping[str, str] = NO_HEADERS) -> Self:
        """A project that was not there before; :meth:`marked` finds it by its mark."""
        projects = cls.projects(url, token, headers)
        with closed_on_failure(projects.client) as client:
            return cls(client, projects.create(new))

    @classmethod
    def attach(
        cls,
        url: str,
        token: str,
        project: int | str,
        *,
        workspace: str = "",
        question: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Self:
        """An existing project, its labeling read back; ``question`` names the one to work on where there are several.

        ``workspace``: where names are looked for, on a platform that has such.
        """
        projects = cls.projects(url, token, headers)
        with closed_on_failure(projects.client) as client:
            return cls(client, projects.find(str(project), workspace), question)

    @classmethod
    def marked(
        cls, url: str, token: str, mark: str, *, tidy: str | None = None, headers: Mapping[str, str] = NO_HEADERS
    ) -> list[str]:
        """Ids of the projects made with ``mark``, the one to go on with first: those with records before others.

        With ``tidy``, which names the one that is used, others without a record are deleted.
        """
        projects = cls.projects(url, token, headers)
        with closing(projects.client):
            found = sorted(projects.with_mark(mark), key=projects.is_empty)
            for project in found:
                if tidy not in (None, project) and projects.is_empty(project):
                    log.warning("removing a project that was made twice", project=project)
                    projects.remove(project)
            return found

    def _as_shown(self, records: Iterable[Record]) -> list[Record]:
        """``records`` as the platform gets them."""
        return [with_images(record, self.labeling, self.images.shown) for record in records]

    def _as_known(self, items: Iterable[RemoteRecord]) -> Iterator[RemoteRecord]:
        """What the platform lists, as we know it."""
        for item in items:
            record = with_images(item.record, self.labeling, self.images.known)
            yield item if record is item.record else replace(item, record=record)

    @override
    def expect(self, labeling: Labeling) -> None:
        expect(self.form, labeling)

    @override
    def close(self) -> None:
        self._client.close()
