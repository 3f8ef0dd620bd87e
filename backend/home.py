"""The home folder: its owner's alone, whatever the umask says, and in no repository by accident."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nextlabel.backend.settings import Settings
from nextlabel.connectors.errors import ConfigError

OURS: Final = 0o077
"""What is taken from a mode, so that only the owner is left."""
GROUP: Final = 0o027
IGNORED: Final = "# Data, answers and secrets: nothing for a repository.\n*\n"


def make_privately(settings: Settings) -> None:
    """Whatever this process and its children make from now on is the owner's alone."""
    closed = _closed(settings)
    os.umask(os.umask(closed) | closed)


def private_home(settings: Settings) -> Path:
    """The home folder, made or tightened. Raises ConfigError if there can't be one.

    A folder that we work in, or above it, is somebody's own, and stays as it is.
    """
    home = settings.home.expanduser().absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not Path.cwd().is_relative_to(home.resolve()):
            _tighten(home, _closed(settings))
    except OSError as error:
        raise ConfigError(
            f"{home} can't be made or written ({error.strerror}); set NEXTLABEL_HOME to a folder you can write"
        ) from None
    return home


def _closed(settings: Settings) -> int:
    return GROUP if settings.share_home else OURS


def _tighten(home: Path, closed: int) -> None:
    mode = home.stat().st_mode & 0o777
    if mode & closed and home.stat().st_uid == os.geteuid():
        home.chmod(mode & ~closed)
    if not (ignored := home / ".gitignore").exists():
        ignored.write_text(IGNORED, encoding="utf-8")
