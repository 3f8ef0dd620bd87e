"""What every platform server of ours has in common: where it runs, who owns it, how it starts and ends."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

import httpx

from nextlabel.connectors.errors import PlatformUnavailable

from .processes import (
    RunFiles,
    Say,
    cache_home,
    free_port,
    make_template,
    silent,
    start_group,
    stop_group,
    use_write_ahead_log,
    wait_until,
)

HOST = "127.0.0.1"
START_WITHIN_S = 180.0


@dataclass
class PlatformServer(ABC):
    """A running server. ``token`` (or API key) and ``password`` are those of its owner, who logs in as ``user``.

    ``platform`` is ``label-studio`` or ``argilla``, as recipes write it; ``title`` is its name for people.
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


S = TypeVar("S", bound=PlatformServer)


@dataclass(frozen=True, slots=True)
class Program:
    """A ``command`` and its whole environment; ``more`` is what this server has and others don't."""

    command: Sequence[str]
    env: Mapping[str, str]
    more: Mapping[str, Any] = field(default_factory=dict)


class PlatformStack(ABC, Generic[S]):
    """Installs and starts servers of one platform. ``home`` is where what was installed is kept between runs.

    ``database`` is the file in the data folder that migrations make, and ``owner`` who may do everything.
    ``template_name`` is the folder with the migrated database that every new server starts from a copy of.
    """

    server: type[S]
    database: ClassVar[str]
    owner: ClassVar[str]
    template_name: ClassVar[str]

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or cache_home() / "stack"

    @abstractmethod
    def install(self, say: Say = silent) -> Any:
        """The executables, installed if need be. Raises PlatformUnavailable if pip fails."""

    @abstractmethod
    def migrate(self, folder: Path, say: Say) -> None:
        """Make the database in an empty ``folder``, with every migration done and nobody in it."""

    @abstractmethod
    def program(self, data: Path, port: int, login: Mapping[str, str], say: Say) -> Program:
        """What runs a server with its data in ``data`` and owned as ``login`` says, to answer at ``port``."""

    def reap(self) -> None:
        """Stop the servers whose parent was killed."""
        RunFiles(self.home / "run").reap()

    def template(self, say: Say = silent) -> Path:
        """The migrated data folder, made if need be. No user, no token and no secret key: each copy makes its own."""

        def fill(folder: Path) -> None:
            self.migrate(folder, say)
            use_write_ahead_log(folder / self.database)

        return make_template(self.home / self.template_name, fill)

    def start(
        self, data_dir: Path | None = None, port: int | None = None, *, detach: bool = False, say: Say = silent
    ) -> S:
        """Start a server on 127.0.0.1 and wait until it answers.

        ``data_dir`` is made from the template if it is empty and used again, with all that it holds (users, datasets,
        the jobs in Argilla's Redis), if it is not; None is a temporary folder. A ``detach``-ed server is not stopped
        when this process dies. Raises PlatformUnavailable if it does not come up within START_WITHIN_S seconds.
        """
        self.reap()
        self.install(say)  # what can't be installed leaves no folder behind
        data = data_dir or Path(tempfile.mkdtemp(prefix="nextlabel-"))
        if not (data / self.database).exists():
            shutil.copytree(self.template(say), data, dirs_exist_ok=True)
            data.chmod(0o700)  # tokens and the secret key will lie here
        port = port or free_port()
        login = credentials(data, self.owner)
        program = self.program(data, port, login, say)
        url, log = f"http://{HOST}:{port}", data / "server.log"
        say(f"starting {self.server.title} at {url}")
        process = start_group(program.command, program.env, data, log)
        scratch = None if data_dir else data
        server = self.server(
            url=url,
            user=login["user"],
            password=login["password"],
            token=login["token"],
            data_dir=data,
            log=log,
            process=process,
            run_file=None if detach else RunFiles(self.home / "run").add(process.pid, scratch),
            temporary=data_dir is None,
            **program.more,
        )
        try:
            wait_until(server.answers, process, server.title, log, START_WITHIN_S)
        except BaseException:
            server.stop()
            raise
        return server


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
