"""The platforms there are. A new one is a folder with a Platform and its settings, named here."""

from __future__ import annotations

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
