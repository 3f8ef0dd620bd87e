"""The platforms there are. A new one is a folder with a Platform and its settings, named here."""

from __future__ import annotations

from typing import Any

from nextlabel.connectors.argilla import Argilla, ArgillaSettings
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.label_studio import LabelStudio, LabelStudioSettings
from nextlabel.connectors.platform import Platform


class PlatformSettings(LabelStudioSettings, ArgillaSettings):
    """The settings of all platforms."""


PLATFORMS: dict[str, Platform] = {platform.name: platform for platform in (LabelStudio(), Argilla())}
"""By name; the first one is where nothing else is said."""

DEFAULT = next(iter(PLATFORMS))
NAMES = " or ".join(f"`{name}`" for name in PLATFORMS)
"""Their names, for a sentence."""


def find_platform(name: str) -> Platform:
    """The platform called ``name``. Raises ConfigError if there is none."""
    if name not in PLATFORMS:
        raise ConfigError(f"there is no platform {name!r}; there are {' and '.join(PLATFORMS)}")
    return PLATFORMS[name]


def platform_for(name: str | None, project: str, settings: Any) -> Platform:
    """The platform called ``name``; else the one whose server ``project`` is an address on, or an id of; else the
    first one that ``settings`` have an address of.

    Raises ConfigError if there is none of that name.
    """
    if name is not None:
        return find_platform(name)
    reached = [one for one in PLATFORMS.values() if one.address(settings)]
    pages = [one for one in reached if one.pages.search(project)]
    return next(iter(pages or reached), PLATFORMS[DEFAULT])
