"""Puts an annotation platform into a virtual environment of its own, once, and prepares a data folder to copy from.

A platform can't share an environment with nextlabel (each pins what others need newer), and its first start runs
hundreds of migrations. Both are done once and kept in the cache folder.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from nextlabel.backend.files import exclusive
from nextlabel.connectors.errors import PlatformUnavailable

from .processes import tail

CACHE_VARIABLE = "NEXTLABEL_CACHE"
"""Where installed servers, templates and run files are kept; else the user's cache folder."""

FOREIGN = ("PYTHON", "VIRTUAL_ENV", "NEXTLABEL_")
"""Variables that would change another Python program, or that are none of its business."""

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


def clean_environment(*prefixes: str) -> dict[str, str]:
    """Our environment without what starts with one of ``prefixes`` or would change a server behind our back."""
    return {name: value for name, value in os.environ.items() if not name.startswith((*FOREIGN, *prefixes))}


def install_venv(place: Path, packages: Sequence[str], what: str, say: Say) -> Path:
    """The virtual environment ``place`` with ``packages`` in it, made if need be; ``what`` says so to the user.

    Safe beside other processes, and after one that was cut off. Raises PlatformUnavailable if pip fails.
    """
    done = place / "installed"
    with exclusive(place.parent / "install.lock"):
        if done.exists():
            return place
        say(f"installing {what} into {place} (once)")
        shutil.rmtree(place, ignore_errors=True)  # half an install is no install
        log = place.parent / "install.log"
        run([sys.executable, "-m", "venv", str(place)], log)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, *packages], log)
        done.touch()
    return place


def make_template(place: Path, fill: Callable[[Path], None]) -> Path:
    """The folder ``place``, made whole or not at all: by ``fill``, which gets an empty folder, if it is not there."""
    with exclusive(place.parent / "template.lock"):
        if place.exists():
            return place
        unfinished = place.with_name(f"{place.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        fill(unfinished)
        unfinished.rename(place)
    return place


def use_write_ahead_log(database: Path) -> None:
    """Switch an SQLite file to WAL, for good: then annotators who read no longer block those who write."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def run(command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
    """Run ``command`` to its end, output to ``log``. Raises PlatformUnavailable with the end of the log if it fails."""
    with log.open("wb") as out:
        ended = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, env=env, check=False)
    if ended.returncode:
        raise PlatformUnavailable(f"{' '.join(command[:4])} ... failed; its log {log}:\n{tail(log)}")
