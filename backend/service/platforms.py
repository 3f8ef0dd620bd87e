"""The platforms that a recipe may name: how each is reached, and a connector to one project on it."""

from __future__ import annotations

from typing import Protocol

from pydantic import SecretStr

from nextlabel.backend.recipe.recipe import Platform, Recipe
from nextlabel.backend.settings import Settings
from nextlabel.connectors.base import Connector
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Labeling

NAMES: dict[Platform, str] = {"label-studio": "Label Studio", "argilla": "Argilla"}
"""What people call them."""


class CheckedConnector(Connector, Protocol):
    """A connector that can say whether its project asks what we think it does."""

    def expect(self, labeling: Labeling) -> None:
        """Raise LabelingMismatch, with the difference, unless the project asks ``labeling``."""
        ...


def access(platform: Platform, settings: Settings) -> tuple[str, str]:
    """Address and key of the platform. Raises ConfigError that names the variables which are not set."""
    given: dict[Platform, dict[str, str | SecretStr | None]] = {
        "label-studio": {
            "LABEL_STUDIO_URL": settings.label_studio_url,
            "LABEL_STUDIO_API_KEY": settings.label_studio_api_key,
        },
        "argilla": {"ARGILLA_API_URL": settings.argilla_url, "ARGILLA_API_KEY": settings.argilla_api_key},
    }
    found = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value or ""
        for name, value in given[platform].items()
    }
    if missing := [name for name, value in found.items() if not value]:
        both = "the address and a key" if len(missing) > 1 else "the address" if "URL" in missing[0] else "a key"
        raise ConfigError(f"set {' and '.join(missing)}: {both} of {NAMES[platform]}")
    url, key = found.values()
    return url, key


def attach(
    platform: Platform, settings: Settings, project: str, *, workspace: str = "", question: str | None = None
) -> CheckedConnector:
    """The existing ``project``; ``question`` names the one to work on where there are several.

    Raises ConfigError, or ConnectorError if it can't be reached or asks what we can't.
    """
    url, key = access(platform, settings)
    if platform == "argilla":
        from nextlabel.connectors.argilla.connector import ArgillaConnector

        return ArgillaConnector.attach(
            url, key, project, workspace=workspace or settings.argilla_workspace, control=question
        )
    from nextlabel.connectors.label_studio import LabelStudioConnector

    return LabelStudioConnector.attach(url, key, project, control=question)


def create(recipe: Recipe, settings: Settings, mark: str) -> CheckedConnector:
    """A new project for ``recipe``, found again by its ``mark``. Raises ConfigError or ConnectorError."""
    url, key = access(recipe.platform, settings)
    title, labeling = recipe.title or recipe.name, recipe.labeling()
    if recipe.platform == "argilla":
        from nextlabel.connectors.argilla.connector import ArgillaConnector

        workspace = recipe.workspace or settings.argilla_workspace
        return ArgillaConnector.create(
            url, key, title, labeling, workspace=workspace, overlap=recipe.overlap, opinions=recipe.opinions, mark=mark
        )
    from nextlabel.connectors.label_studio import LabelStudioConnector

    return LabelStudioConnector.create(url, key, title, labeling, overlap=recipe.overlap, mark=mark)


def marked(platform: Platform, settings: Settings, mark: str, *, tidy: str | None = None) -> list[str]:
    """Ids of the projects that were made with ``mark``, the one to go on with first.

    ``tidy`` is the one that is in use: others without a record are deleted. Raises ConfigError or ConnectorError.
    """
    url, key = access(platform, settings)
    if platform == "argilla":
        from nextlabel.connectors.argilla.connector import ArgillaConnector

        return ArgillaConnector.marked(url, key, mark, tidy=tidy)
    from nextlabel.connectors.label_studio import LabelStudioConnector

    return LabelStudioConnector.marked(url, key, mark, tidy=tidy)
