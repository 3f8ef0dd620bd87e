"""What there is to know of an annotation platform before there is a connector to a project on it.

A platform is a folder beside this file with a Platform in it, and one line in :mod:`nextlabel.connectors.platforms`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import AfterValidator, SecretStr

from nextlabel.connectors.base import Connector, Finding
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Labeling


class CheckedConnector(Connector, Protocol):
    """A connector that can say whether its project asks what we think it does."""

    def expect(self, labeling: Labeling) -> None:
        """Raise LabelingMismatch, with the difference, unless the project asks ``labeling``."""
        ...


class Platform(ABC):
    """An annotation platform: how it is reached, and connectors to projects on it.

    ``name`` is what recipes say, ``title`` what people do. ``variables``: environment variables of its address and
    key; ``fields``: the settings that hold them. The ``settings`` that methods take have the platform's own fields.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    variables: ClassVar[tuple[str, str]]
    fields: ClassVar[tuple[str, str]]

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

    @abstractmethod
    def attach(
        self, settings: Any, project: str, *, workspace: str = "", question: str | None = None
    ) -> CheckedConnector:
        """The existing ``project``; ``question`` names the one to work on where there are several.

        ``workspace``: where names of projects are looked for, on a platform that has such. Raises ConfigError, or
        ConnectorError if it can't be reached or asks what we can't.
        """

    @abstractmethod
    def create(
        self,
        settings: Any,
        title: str,
        labeling: Labeling,
        *,
        mark: str,
        overlap: int,
        opinions: int | None,
        workspace: str = "",
    ) -> CheckedConnector:
        """A new project, found again by its ``mark``. Raises ConfigError or ConnectorError."""

    @abstractmethod
    def marked(self, settings: Any, mark: str, *, tidy: str | None = None) -> list[str]:
        """Ids of the projects that were made with ``mark``, the one to go on with first.

        ``tidy`` is the one that is in use: others without a record are deleted. Raises ConfigError or ConnectorError.
        """

    def diagnose(self, settings: Any) -> Iterator[Finding]:
        """What the doctor can see of the platform besides the project."""
        yield from ()

    def event(self, body: Mapping[str, Any]) -> tuple[str, str | None]:
        """What a signed delivery is about, and the id of the project, None if it names none. Never raises."""
        return "", None


def _address(value: str) -> str:
    value = value.strip().rstrip("/")
    if value and not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return value


Address = Annotated[str, AfterValidator(_address)]
"""An http(s) address without a slash at its end; may be empty."""
