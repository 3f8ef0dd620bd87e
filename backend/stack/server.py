"""What every platform server of ours has in common: where it runs, who owns it, how it starts and ends."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self, TypeVar

import httpx

from nextlabel.connectors.errors import PlatformUnavailable

from .install import cache_home
from .processes import RunFiles, start_group, stop_group, wait_until

HOST = "127.0.0.1"


class PlatformServer(Protocol):
    """A running platform, as those need it who only use it: a backend beside it, the demo, a test."""

    platform: ClassVar[str]
    """``label-studio`` or ``argilla``, as recipes write it."""

    title: ClassVar[str]
    """Its name for people."""

    @property
    def url(self) -> str:
        """Where it answers."""
        ...

    @property
    def user(self) -> str:
        """The name that its owner logs in with."""
        ...

    @property
    def password(self) -> str:
        """The owner's password."""
        ...

    @property
    def token(self) -> str:
        """The owner's API token or key."""
        ...

    @property
    def pid(self) -> int:
        """Process id, and process group id."""
        ...

    def env(self) -> dict[str, str]:
        """The settings that point a backend at this server."""
        ...

    def add_user(self, name: str, password: str | None = None) -> str:
        """Make an annotator and return their API token. Raises PlatformError if the name is taken."""
        ...

    def stop(self) -> None:
        """End it. May be called twice."""
        ...


@dataclass
class LocalServer(ABC):
    """A running server. ``token`` and ``password`` are those of its owner, ``user``.

    A context manager: leaving it stops the server and, if the data folder was a temporary one, removes it.
    """

    platform: ClassVar[str]
    title: ClassVar[str]

    url: str
    user: str
    password: str = field(repr=False)
    token: str = field(repr=False)
    data_dir: Path
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    run_file: Path | None = field(default=None, repr=False)
    temporary: bool = field(default=False, repr=False)

    @property
    def pid(self) -> int:
        """Process id, and process group id, of the server."""
        return self.process.pid

    @abstractmethod
    def env(self) -> dict[str, str]:
        """The settings that point a backend at this server."""

    @abstractmethod
    def add_user(self, name: str, password: str | None = None) -> str:
        """Make an annotator and return their API token. Raises PlatformError if the name is taken.

        Give a ``password`` to log in with through the browser.
        """

    @abstractmethod
    def whoami(self) -> httpx.Response:
        """Ask the server who the owner's token belongs to."""

    def answers(self) -> bool:
        """Whether the server is up, and ours. Raises PlatformUnavailable if another program has its address."""
        try:
            reply = self.whoami()
        except httpx.HTTPError:
            return False
        if reply.status_code == 401:
            raise PlatformUnavailable(f"another program answers at {self.url}; choose another port")
        return reply.status_code == 200

    def stop(self) -> None:
        """End the server with its whole process group. A temporary data folder is removed. May be called twice."""
        stop_group(self.process.pid, self.process)
        if self.run_file:
            self.run_file.unlink(missing_ok=True)
        if self.temporary:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


S = TypeVar("S", bound=LocalServer)


class LocalStack:
    """Starts servers. ``home`` is where what was installed is kept between runs."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or cache_home() / "stack"

    def reap(self) -> None:
        """Stop the servers whose parent was killed."""
        RunFiles(self.home / "run").reap()

    def launch(
        self,
        kind: type[S],
        command: Sequence[str],
        env: Mapping[str, str],
        data: Path,
        *,
        url: str,
        login: Mapping[str, str],
        temporary: bool,
        detach: bool,
        limit_s: float,
        **more: Any,
    ) -> S:
        """Run ``command`` in a process group of its own and wait until the server that it makes answers at ``url``.

        ``login`` is as :func:`credentials` gives it; ``more`` is what ``kind`` has beyond LocalServer. A ``detach``-ed
        server is not stopped when this process dies. Raises PlatformUnavailable if it is not up in ``limit_s`` seconds.
        """
        log = data / "server.log"
        process = start_group(command, env, data, log)
        note = None if detach else RunFiles(self.home / "run").add(process.pid, data if temporary else None)
        owner = {name: login[name] for name in ("user", "password", "token")}
        server = kind(
            url=url, data_dir=data, log=log, process=process, run_file=note, temporary=temporary, **owner, **more
        )
        try:
            wait_until(server.answers, process, server.title, log, limit_s)
        except BaseException:
            server.stop()
            raise
        return server


def data_folder(chosen: Path | None, database: str, template: Callable[[], Path]) -> Path:
    """The folder ``chosen``, or a temporary one, with ``database`` in it: copied from the template if it is new."""
    data = chosen or Path(tempfile.mkdtemp(prefix="nextlabel-"))
    if not (data / database).exists():
        shutil.copytree(template(), data, dirs_exist_ok=True)
        data.chmod(0o700)  # tokens and the secret key will lie here
    return data


def credentials(data: Path, user: str) -> dict[str, str]:
    """The owner's login kept with the data folder, made at random at the first start; readable by us alone.

    Keys: user, password, token (40 hexadecimal digits), secret (the same; for whatever else the server guards).
    """
    path = data / "login.json"
    if not path.exists():
        login = {
            "user": user,
            "password": secrets.token_urlsafe(18),
            "token": secrets.token_hex(20),
            "secret": secrets.token_hex(20),
        }
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump(login, out)
    return {str(key): str(value) for key, value in json.loads(path.read_text()).items()}
