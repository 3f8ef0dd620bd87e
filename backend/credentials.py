"""The secrets that guard the service: given by settings, or made once and kept in the home folder.

The file ``secrets.json`` is readable by its owner only. Two processes that start at the same moment agree on
one set: the first to link its file into place wins, the other reads it. Where files can't be linked, they take turns.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from nextlabel.backend.files import exclusive, write_atomically
from nextlabel.backend.home import private_home
from nextlabel.backend.settings import Settings
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.hiding import TERMINAL

FILE: Final = "secrets.json"
_GENERATED: Final = ("ml_password", "api_token", "webhook_secret")
_IMAGE_KEY: Final = "image_key"
"""Made when it is first wanted: homes from before there was one lack it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a caller must show. ``user`` and ``password`` are basic auth, ``api_token`` is the bearer token."""

    user: str
    password: str = field(repr=False)
    api_token: str = field(repr=False)
    webhook_secret: str = field(repr=False)


def credentials(settings: Settings, *, create: bool = True) -> Credentials:
    """The secrets of this installation; those not given by settings are generated at the first call.

    Raises ConfigError if the home folder can't be written or the file in it can't be read, or if there is
    none and ``create`` is False.
    """
    given = {name: _reveal(getattr(settings, name)) for name in _GENERATED}
    if not all(given.values()):
        if not create and not (settings.home / FILE).exists():
            raise ConfigError(f"no service was ever started in {settings.home.absolute()}; set NEXTLABEL_HOME")
        kept = _kept(private_home(settings))
        given = {name: value or kept[name] for name, value in given.items()}
    TERMINAL.add(given.values())
    return Credentials(
        user=settings.ml_user,
        password=given["ml_password"],
        api_token=given["api_token"],
        webhook_secret=given["webhook_secret"],
    )


def image_key(settings: Settings) -> str:
    """The key that addresses of images are signed with: the setting, or the one of this home, made at the first call.

    Raises ConfigError as :func:`credentials` does.
    """
    if found := _reveal(settings.image_key):
        return found
    path = private_home(settings) / FILE
    kept = _kept(path.parent)
    if _IMAGE_KEY not in kept:
        with exclusive(path.with_suffix(".lock")):
            kept = _kept(path.parent)
            if _IMAGE_KEY not in kept:
                kept[_IMAGE_KEY] = secrets.token_urlsafe(24)
                write_atomically(path, json.dumps(kept).encode())
                path.chmod(0o600)
    TERMINAL.add([kept[_IMAGE_KEY]])
    return kept[_IMAGE_KEY]


def _reveal(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _kept(home: Path) -> dict[str, str]:
    path = home / FILE
    try:
        if not path.exists():
            _create(path)
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"{path}: secrets can't be kept here ({reason}); set NEXTLABEL_HOME to a folder you can write"
        ) from None
    except ValueError:
        raise ConfigError(f"{path} is not JSON; delete it, and new secrets are made") from None
    if not isinstance(found, dict) or any(
        not isinstance(found.get(name), str) or not found[name] for name in _GENERATED
    ):
        raise ConfigError(f"{path} lacks one of {', '.join(_GENERATED)}; delete it, and new secrets are made")
    return {name: value for name, value in found.items() if isinstance(value, str) and value}


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=FILE)  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({name: secrets.token_urlsafe(24) for name in _GENERATED}, file)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return  # another process was first, and its secrets are as good
        except OSError:  # a file system without hard links
            with exclusive(path.with_suffix(".lock")):
                if not path.exists():
                    Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
