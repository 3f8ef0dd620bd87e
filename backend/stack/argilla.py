"""A real Argilla on this machine: server, worker, Redis and a search engine, installed once, stopped without a trace.

>>> with ArgillaStack().start() as server:
...     api_key = server.add_user("ann")
...     print(server.url)
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

from . import supervisor
from .answers import json_of
from .argilla_install import DATABASE, Programs, install, server_environment, template
from .install import Say, silent
from .processes import free_ports
from .server import HOST, LocalServer, LocalStack, credentials, data_folder

OWNER = "owner"
WORKSPACE = "nextlabel"
SHIM = Path(__file__).with_name("argilla_shim.py")
ORDERLY_S = 10.0
"""How long the programs may take together to end one after the other: the worker's scheduler signs off from Redis, or
what waits to be delivered again is not looked at for ten minutes after the next start."""


@dataclass
class ArgillaServer(LocalServer):
    """A running Argilla, owned by ``user``, with one workspace. ``redis_url`` holds a password."""

    platform: ClassVar[str] = "argilla"
    title: ClassVar[str] = "Argilla"

    redis_url: str = field(default="", repr=False)
    workspace: str = WORKSPACE

    def env(self) -> dict[str, str]:
        """The settings that point a backend at this server."""
        return {
            "NEXTLABEL_ARGILLA_URL": self.url,
            "NEXTLABEL_ARGILLA_API_KEY": self.token,
            "NEXTLABEL_ARGILLA_WORKSPACE": self.workspace,
            "NEXTLABEL_ARGILLA_REDIS_URL": self.redis_url,
        }

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

    def stop(self) -> None:
        """End all programs in order."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(ORDERLY_S + supervisor.GRACE_S)
        super().stop()

    def whoami(self) -> httpx.Response:
        """Ask who the owner's API key belongs to."""
        return self._request("GET", "me")

    def _call(self, method: str, path: str, body: Mapping[str, str] | None = None) -> dict[str, Any]:
        return json_of(self._request(method, path, body))

    def _request(self, method: str, path: str, body: Mapping[str, str] | None = None) -> httpx.Response:
        address, headers = f"{self.url}/api/v1/{path}", {"X-Argilla-Api-Key": self.token}
        return httpx.request(method, address, json=body, headers=headers, timeout=30, trust_env=False)


class ArgillaStack(LocalStack):
    """Installs and starts Argilla."""

    def install(self, say: Say = silent) -> Programs:
        """Argilla's executables, installed first where needed. See :func:`.argilla_install.install`."""
        return install(self.home, say)

    def template(self, say: Say = silent) -> Path:
        """The migrated data folder that every new server starts from a copy of."""
        return template(self.home, self.install(say), say)

    def start(
        self,
        data_dir: Path | None = None,
        port: int | None = None,
        *,
        workers: int = 1,
        env: Mapping[str, str] | None = None,
        detach: bool = False,
        limit_s: float = 180,
        say: Say = silent,
    ) -> ArgillaServer:
        """Start a server on 127.0.0.1 and wait until it answers.

        ``data_dir`` is made from the template if it is empty and used again, with its users, datasets and the jobs in
        its Redis, if it is not; None is a temporary folder. ``workers`` processes deliver webhooks, one job each at a
        time. ``env`` has the last word. A ``detach``-ed server is not stopped when this process dies.
        Raises PlatformUnavailable if it does not come up within ``limit_s`` seconds.
        """
        self.reap()
        installed = self.install(say)
        data = data_folder(data_dir, DATABASE, lambda: self.template(say))
        login = credentials(data, OWNER)
        port, redis_port, search_port = free_ports(3) if port is None else (port, *free_ports(2, taken=port))
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
            {"command": [*shim, "worker", "--num-workers", str(workers)]},
            {"command": [*shim, "serve", "--port", str(port), "--login", str(data / "login.json")]},
        ]
        url = f"http://{HOST}:{port}"
        say(f"starting Argilla at {url}")
        return self.launch(
            ArgillaServer,
            [sys.executable, "-I", str(supervisor.__file__), json.dumps(programs), str(ORDERLY_S)],
            server_environment(data) | settings | dict(env or {}),
            data,
            url=url,
            login=login,
            temporary=data_dir is None,
            detach=detach,
            limit_s=limit_s,
            redis_url=redis_url,
        )


SEARCH = ("--no-ja", "--no-stdin-watch")
"""Options of osmem-server: no Japanese dictionary (180 MB), and no end when its standard input does."""


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
