"""A real Label Studio on this machine: installed once, started in seconds, stopped without a trace.

>>> with LabelStudioStack().start() as server:
...     token = server.add_user("ann@example.com")
...     print(server.url)
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import httpx

from nextlabel.connectors.errors import PlatformError, PlatformUnavailable

from .label_studio_flags import FAST_PREDICTION_IMPORT, LEGACY_TOKENS, LOCAL_ADDRESSES, QUIET, SHORT_LOCKS
from .label_studio_install import DATABASE, Say, cache_home, install, server_environment, silent, template
from .processes import RunFiles, free_port, start_group, stop_group, wait_until

ADMIN = "admin@example.com"
HOST = "127.0.0.1"


@dataclass
class LabelStudioServer:
    """A running server. ``token`` and ``password`` are those of the administrator ``email``.

    A context manager: leaving it stops the server and, if the data folder was a temporary one, removes it.
    """

    url: str
    email: str
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

    def add_user(self, email: str, password: str | None = None) -> str:
        """Sign up a member of the organisation, the way an invited person does it; return their API token.

        Give a ``password`` to log in with through the browser. Raises PlatformError if the address is taken.
        """
        password = password or secrets.token_urlsafe(18)
        headers = {"Authorization": f"Token {self.token}"}
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as browser:
            invitation = browser.get("/api/invite", headers=headers).raise_for_status().json()["token"]
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as browser:
            page = browser.get("/user/signup/", params={"token": invitation}).raise_for_status()
            form = {"email": email, "password": password, "csrfmiddlewaretoken": csrf_token(page.text)}
            answer = browser.post("/user/signup/", params={"token": invitation}, data=form)
            if answer.status_code != 302:  # the form again, with its complaints
                raise PlatformError(f"Label Studio did not accept the new user {email}", status=answer.status_code)
            return str(browser.get("/api/current-user/token").raise_for_status().json()["token"])

    def stop(self) -> None:
        """End the server with its whole process group. A temporary data folder is removed. May be called twice."""
        stop_group(self.process.pid, self.process)
        if self.run_file:
            self.run_file.unlink(missing_ok=True)
        if self.temporary:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> LabelStudioServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class LabelStudioStack:
    """Installs and starts Label Studio. ``home`` is where it is kept between runs."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or cache_home() / "stack"

    def install(self, say: Say = silent) -> Path:
        """The label-studio executable, installed first where needed. See :func:`.label_studio_install.install`."""
        return install(self.home, say)

    def template(self, say: Say = silent) -> Path:
        """The migrated data folder that every new server starts from a copy of."""
        return template(self.home, self.install(say), say)

    def start(
        self,
        data_dir: Path | None = None,
        port: int | None = None,
        *,
        fast_import: bool = True,
        local_addresses: bool = True,
        lock_ttl_s: int | None = None,
        env: Mapping[str, str] | None = None,
        detach: bool = False,
        limit_s: float = 180,
        say: Say = silent,
    ) -> LabelStudioServer:
        """Start a server on 127.0.0.1 and wait until it answers.

        ``data_dir`` is made from the template if it is empty and used again, with its users, if it is not; None is a
        temporary folder. ``fast_import`` and ``local_addresses`` are the flags of :mod:`.label_studio_flags`;
        ``env`` has the last word. A ``detach``-ed server is not stopped when this process dies.
        Raises PlatformUnavailable if it does not come up within ``limit_s`` seconds.
        """
        runs = RunFiles(self.home / "run")
        runs.reap()
        binary, temporary = self.install(say), data_dir is None
        data = data_dir or Path(tempfile.mkdtemp(prefix="nextlabel-ls-"))
        if not (data / DATABASE).exists():
            shutil.copytree(self.template(say), data, dirs_exist_ok=True)
            data.chmod(0o700)  # tokens and the secret key will lie here
        port = port or free_port()
        url, login = f"http://{HOST}:{port}", credentials(data / "login.json")
        settings = QUIET | LEGACY_TOKENS | SHORT_LOCKS
        settings |= FAST_PREDICTION_IMPORT if fast_import else {}
        settings |= LOCAL_ADDRESSES if local_addresses else {}
        settings |= {"TASK_LOCK_TTL": str(lock_ttl_s)} if lock_ttl_s is not None else {}
        settings |= {
            "LABEL_STUDIO_BASE_DATA_DIR": str(data),
            "LABEL_STUDIO_USERNAME": login["email"],
            "LABEL_STUDIO_PASSWORD": login["password"],
            "LABEL_STUDIO_USER_TOKEN": login["token"],
            "LABEL_STUDIO_HOST": url,
        }
        command = [str(binary), "start", "--no-browser", "--internal-host", HOST, "--port", str(port)]
        command += ["--log-level", "WARNING"]
        log = data / "server.log"
        say(f"starting Label Studio at {url}")
        process = start_group(command, server_environment() | settings | dict(env or {}), data, log)
        note = None if detach else runs.add(process.pid, data if temporary else None)
        server = LabelStudioServer(
            url, login["email"], login["password"], login["token"], data, log, process, note, temporary
        )
        try:
            wait_until(lambda: answers(url, login["token"]), process, "Label Studio", log, limit_s)
        except BaseException:
            server.stop()
            raise
        return server


def credentials(path: Path) -> dict[str, str]:
    """The administrator's login kept with the data folder, made at random at the first start; readable by us alone."""
    if not path.exists():
        login = {"email": ADMIN, "password": secrets.token_urlsafe(18), "token": secrets.token_hex(20)}
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump(login, out)
    return {str(key): str(value) for key, value in json.loads(path.read_text()).items()}


def answers(url: str, token: str) -> bool:
    """Whether the server at ``url`` is up, and ours: Label Studio quietly takes another port if its own is taken."""
    with contextlib.suppress(httpx.HTTPError), httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        reply = client.get("/api/current-user/whoami", headers={"Authorization": f"Token {token}"})
        if reply.status_code == 401:
            raise PlatformUnavailable(f"another program answers at {url}; choose another port")
        return reply.status_code == 200
    return False


def csrf_token(page: str) -> str:
    """The hidden token of a form."""
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    if found is None:
        raise PlatformError("Label Studio's sign-up page holds no form", status=200, body=page[:200])
    return found.group(1)
