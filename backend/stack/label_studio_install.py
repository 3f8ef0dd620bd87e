"""Which Label Studio is installed, and how its data folder is prepared."""

from __future__ import annotations

import os
from pathlib import Path

from nextlabel.connectors.errors import ConfigError

from .install import Say, clean_environment, install_venv, make_template, run, silent, use_write_ahead_log
from .label_studio_flags import LEGACY_TOKENS, QUIET

LABEL_STUDIO_VERSION = "1.23.2"
"""The version that everything here was tried with."""

BINARY_VARIABLE = "NEXTLABEL_LABEL_STUDIO_BIN"
"""Names a label-studio executable to use instead of installing one."""

DATABASE = "label_studio.sqlite3"


def server_environment() -> dict[str, str]:
    """Our environment without what would change a Label Studio server behind our back."""
    return clean_environment("LABEL_STUDIO_", "HEARTEX_", "fflag_", "DJANGO_")


def install(home: Path, say: Say = silent) -> Path:
    """The label-studio executable, installed under ``home`` if need be (about 1 GB and two minutes).

    Raises ConfigError if NEXTLABEL_LABEL_STUDIO_BIN names no executable, PlatformUnavailable if pip fails.
    """
    if chosen := os.environ.get(BINARY_VARIABLE):
        binary = Path(chosen).expanduser().absolute()
        if not os.access(binary, os.X_OK):
            raise ConfigError(f"{BINARY_VARIABLE} is {chosen}, which is no executable; unset it to have one installed")
        return binary
    place = home / f"label-studio-{LABEL_STUDIO_VERSION}"
    packages = [f"label-studio=={LABEL_STUDIO_VERSION}"]
    install_venv(place, packages, f"Label Studio {LABEL_STUDIO_VERSION}, about 1 GB,", say)
    return place / "bin" / "label-studio"


def template(home: Path, binary: Path, say: Say = silent) -> Path:
    """A data folder with every migration done and nobody in it, made by ``binary`` under ``home`` if need be.

    No user, no token and no secret key: each copy makes its own.
    """

    def fill(folder: Path) -> None:
        say("preparing Label Studio's database (its migrations take a minute, once)")
        env = server_environment() | QUIET | LEGACY_TOKENS | {"LABEL_STUDIO_BASE_DATA_DIR": str(folder)}
        run([str(binary), "version"], home / "template.log", env)  # migrates, and ends before it would create a user
        (folder / ".env").unlink(missing_ok=True)  # the secret key
        use_write_ahead_log(folder / DATABASE)  # its own switch, AZURE_MOUNT_FIX, is only heeded where it migrates

    return make_template(home / f"template-{LABEL_STUDIO_VERSION}", fill)
