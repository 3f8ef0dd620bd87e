"""What there is to know of an annotation platform before there is a connector to a project on it.

A platform is a folder beside this file with a Platform in it, and one line in :mod:`nextlabel.connectors.platforms`.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from nextlabel.connectors.base import Connector, Finding, NewProject
from nextlabel.connectors.basics import Json
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.hiding import secrets_in, shown
from nextlabel.connectors.records import Finished, Labeling
from nextlabel.connectors.served import NOTHING_SERVED, Served

if TYPE_CHECKING:
    from nextlabel.connectors.project import ProjectConnector


class Platform(ABC):
    """An annotation platform: how it is reached, and connectors to projects on it.

    ``name`` is what recipes say, ``title`` what people do. ``variables``: environment variables of its address and
    key; ``fields``: the settings that hold them. The ``settings`` that methods take have the platform's own fields.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    variables: ClassVar[tuple[str, str]]
    fields: ClassVar[tuple[str, str]]
    headers_field: ClassVar[str]
    """The setting that holds headers to send with every request."""

    pages: ClassVar[re.Pattern[str]]
    """Finds the id of a project, the first group, in the path of its pages; ``page`` is such an address."""
    page: ClassVar[str]
    begin: ClassVar[str]
    """What annotators do to get records in our order: a sentence, after the project's address."""
    events: ClassVar[frozenset[str]] = frozenset()
    """What its webhooks may be about. Anything else is counted as "other": names from outside make no new series."""
    example: ClassVar[Mapping[str, Any]] = {}
    """A delivery, for the API page."""
    signs: ClassVar[bool] = False
    """Whether deliveries are signed, so that ``/webhook/NAME`` takes them as Connector.authentic says."""

    def key(self, settings: Any) -> str:
        """The key in ``settings``; empty without one."""
        key = getattr(settings, self.fields[1])
        return key.get_secret_value() if isinstance(key, SecretStr) else ""

    def address(self, settings: Any) -> str:
        """The address in ``settings``; empty without one."""
        return str(getattr(settings, self.fields[0]))

    def access(self, settings: Any) -> tuple[str, str]:
        """Address and key. Raises ConfigError that names the variables which are not set."""
        found = (self.address(settings), self.key(settings))
        if missing := [name for name, value in zip(self.variables, found, strict=True) if not value]:
            what = ["the address" if name == self.variables[0] else "a key" for name in missing]
            whole = "the address and a key" if len(what) > 1 else what[0]
            raise ConfigError(f"set {' and '.join(missing)}: {whole} of {self.title}")
        return found

    def headers(self, settings: Any) -> Mapping[str, str]:
        """What is sent with every request besides the key: whatever stands in front of the server may ask for it."""
        return {name: value.get_secret_value() for name, value in getattr(settings, self.headers_field).items()}

    def secrets(self, settings: Any) -> list[str]:
        """Key, headers, and what is secret of the address: what nobody may be shown."""
        hidden = (self.key(settings), *self.headers(settings).values(), *secrets_in(self.address(settings)))
        return [one for one in hidden if one]

    def named(self, settings: Any, project: str) -> str:
        """The id in ``project`` where that is a project's address in the browser, else ``project`` as it is.

        Raises ConfigError for an address without a project, or on another server than the one in ``settings``.
        """
        if not project.startswith(("http://", "https://")):
            return project
        found = self.pages.search(project)
        if found is None:
            raise ConfigError(f"{project} is no address of a project of {self.title}; it looks like {self.page}")
        server = self.access(settings)[0]
        if _server(project[: found.start()]) != _server(server):
            raise ConfigError(
                f"{project} is on another server than {self.variables[0]} ({shown(server)}); if both are the same "
                f"one, give the project's id: {found[1]}"
            )
        return found[1]

    @abstractmethod
    def connectors(self) -> type[ProjectConnector[Any, Any]]:
        """The class of its connectors. Imported only now: a command that only reads settings needs no HTTP client."""

    def workspace(self, settings: Any) -> str:
        """Where projects are looked for and made if nobody says so, on a platform that has workspaces."""
        return ""

    def attach(self, settings: Any, project: str, *, workspace: str = "", question: str | None = None) -> Connector:
        """The existing ``project``, its id, name or address: see ProjectConnector.

        Raises ConfigError or ConnectorError.
        """
        place, wanted = workspace or self.workspace(settings), self.named(settings, project)
        access, headers = self.access(settings), self.headers(settings)
        return self.connectors().attach(*access, wanted, workspace=place, question=question, headers=headers)

    def check(self, settings: Any, new: NewProject) -> None:
        """Look whether ``new`` could be made. Makes nothing. Raises ConfigError, MissingExtra or ConnectorError."""
        projects = self.connectors().projects(*self.access(settings), self.headers(settings))
        with closing(projects.client):
            projects.check(new)

    def create(self, settings: Any, new: NewProject) -> Connector:
        """A new project: see ProjectConnector. Raises ConfigError or ConnectorError."""
        new = replace(new, workspace=new.workspace or self.workspace(settings))
        return self.connectors().create(*self.access(settings), new, headers=self.headers(settings))

    def marked(self, settings: Any, mark: str, *, tidy: str | None = None) -> list[str]:
        """Ids of the projects made with ``mark``: see ProjectConnector. Raises ConfigError or ConnectorError."""
        return self.connectors().marked(*self.access(settings), mark, tidy=tidy, headers=self.headers(settings))

    def served(self, settings: Any, project: str | None) -> Served:
        """The files that the platform itself serves for a ``project``, and how they are asked for."""
        return NOTHING_SERVED

    @abstractmethod
    def exported(self, labeling: Labeling, finished: Finished, config: str = "", *, has_none: bool = False) -> Json:
        """A record with its answers in the form that the platform imports, and gives out itself.

        ``config``: the project's, where there is one (else that of a project made for ``labeling``); ``has_none``:
        whether its question has an option for the empty answer. Without anybody's answers, what was agreed on stands
        for them. Raises LabelingMismatch where the platform could not take it.
        """

    def diagnose(self, settings: Any) -> Iterator[Finding]:
        """What the doctor can see of the platform besides the project."""
        yield from ()

    def event(self, body: Mapping[str, Any]) -> tuple[str, str | None]:
        """What a signed delivery is about, and the id of the project, None if it names none. Never raises."""
        return "", None


def _headers(value: object) -> object:
    """What is written in the environment: a JSON object."""
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise ValueError('should be a JSON object of texts, such as {"Authorization": "Bearer hf_..."}')
    return found


Headers = Annotated[Mapping[str, SecretStr], NoDecode, BeforeValidator(_headers)]
"""Headers of requests, by name."""
LOOPBACK = {"localhost": "127.0.0.1", "::1": "127.0.0.1"}
"""Names of this machine that are one server."""


def _server(address: str) -> tuple[str, int, str]:
    """What two addresses of one server share: host, port and the path that it lies under."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return LOOPBACK.get(host, host), port, parts.path.strip("/")


def _address(value: str) -> str:
    value = value.strip().rstrip("/")
    if value and not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return value


def _open(value: str) -> str:
    value = _address(value)
    if shown(value) != value:
        raise ValueError("must have no user, password or query: platforms show it to their members")
    return value


OpenAddress = Annotated[str, AfterValidator(_open)]
"""An Address with nothing secret in it."""
Address = Annotated[str, AfterValidator(_address)]
"""An http(s) address without a slash at its end; may be empty."""
