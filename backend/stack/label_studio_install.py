"""Puts Label Studio into a virtual environment of its own, once, and prepares a data folder to copy from.

Label Studio can't share an environment with nextlabel (it pins Django, pandas and much else), and its first start
runs several hundred migrations: 40 to 170 s. Both are done once and kept in the cache folder.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from nextlabel.connectors.errors import ConfigError, PlatformUnavailable

from .label_studio_flags import LEGACY_TOKENS, QUIET
from .processes import exclusive, tail

LABEL_STUDIO_VERSION = "1.23.2"
"""The version that everything here was tried with."""

BINARY_VARIABLE = "NEXTLABEL_LABEL_STUDIO_BIN"
"""Names a label-studio executable to use instead of installing one."""

CACHE_VARIABLE = "NEXTLABEL_CACHE"
"""Where installed servers, templates and run files are kept; else the user's cache folder."""

DATABASE = "label_studio.sqlite3"

Say = Callable[[str], None]


def silent(message: str) -> None:
    """The default for progress messages: says nothing."""


def cache_home() -> Path:
    """The folder under which servers are installed."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "nextlabel"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nextlabel"


def server_environment() -> dict[str, str]:
    """Our environment without what would change another Python program or a Label Studio server behind our back."""
    foreign = ("LABEL_STUDIO_", "HEARTEX_", "PYTHON", "VIRTUAL_ENV", "NEXTLABEL_", "fflag_", "DJANGO_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


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
    binary, done = place / "bin" / "label-studio", place / "installed"
    with exclusive(home / "install.lock"):
        if done.exists() and os.access(binary, os.X_OK):
            return binary
        say(f"installing Label Studio {LABEL_STUDIO_VERSION} into {place} (about 1 GB, once)")
        shutil.rmtree(place, ignore_errors=True)  # half an install is no install
        log = home / "install.log"
        run([sys.executable, "-m", "venv", str(place)], log)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, f"label-studio=={LABEL_STUDIO_VERSION}"], log)
        done.touch()
    return binary


def template(home: Path, binary: Path, say: Say = silent) -> Path:
    """A data folder with every migration done and nobody in it, made by ``binary`` under ``home`` if need be.

    No user, no token and no secret key: each copy makes its own.
    """
    place = home / f"template-{LABEL_STUDIO_VERSION}"
    with exclusive(home / "template.lock"):
        if place.exists():
            return place
        say("preparing Label Studio's database (its migrations take a minute, once)")
        unfinished = place.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        env = server_environment() | QUIET | LEGACY_TOKENS | {"LABEL_STUDIO_BASE_DATA_DIR": str(unfinished)}
        run([str(binary), "version"], home / "template.log", env)  # migrates, and ends before it would create a user
        (unfinished / ".env").unlink(missing_ok=True)  # the secret key
        use_write_ahead_log(unfinished / DATABASE)
        unfinished.rename(place)
    return place


def use_write_ahead_log(database: Path) -> None:
    """Switch an SQLite file to WAL, for good: then annotators who read no longer block those who write.

    Label Studio has the same switch (AZURE_MOUNT_FIX), heeded only where it migrates.
    """
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def run(command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
    """Run ``command`` to its end, output to ``log``. Raises PlatformUnavailable with the end of the log if it fails."""
    with log.open("wb") as out:
        ended = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, env=env, check=False)
    if ended.returncode:
        raise PlatformUnavailable(f"{' '.join(command[:4])} ... failed; its log {log}:\n{tail(log)}")
