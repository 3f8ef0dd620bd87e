"""A real Label Studio on this machine: installed once, started in seconds, stopped without a trace.

>>> with LabelStudioStack().start() as server:
...     token = server.add_user("ann@example.com")
...     print(server.url)
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import httpx

from nextlabel.connectors.errors import PlatformError

from .install import Say, silent
from .label_studio_flags import FAST_PREDICTION_IMPORT, LEGACY_TOKENS, LOCAL_ADDRESSES, QUIET, SHORT_LOCKS
from .label_studio_install import DATABASE, install, server_environment, template
from .processes import free_port
from .server import HOST, LocalServer, LocalStack, credentials, data_folder

ADMIN = "admin@example.com"


@dataclass
class LabelStudioServer(LocalServer):
    """A running Label Studio, owned by its administrator ``user``."""

    platform: ClassVar[str] = "label-studio"
    title: ClassVar[str] = "Label Studio"

    @property
    def email(self) -> str:
        """The administrator's address: what Label Studio has for a name."""
        return self.user

    def env(self) -> dict[str, str]:
        """The settings that point a backend at this server."""
        return {"LABEL_STUDIO_URL": self.url, "LABEL_STUDIO_API_KEY": self.token}

    def add_user(self, name: str, password: str | None = None) -> str:
        """Sign up a member of the organisation, the way an invited person does it; return their API token.

        ``name`` is an email address. Give a ``password`` to log in with through the browser.
        Raises PlatformError if the address is taken.
        """
        password = password or secrets.token_urlsafe(18)
        headers = {"Authorization": f"Token {self.token}"}
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as browser:
            invitation = browser.get("/api/invite", headers=headers).raise_for_status().json()["token"]
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as browser:
            page = browser.get("/user/signup/", params={"token": invitation}).raise_for_status()
            form = {"email": name, "password": password, "csrfmiddlewaretoken": csrf_token(page.text)}
            answer = browser.post("/user/signup/", params={"token": invitation}, data=form)
            if answer.status_code != 302:  # the form again, with its complaints
                raise PlatformError(f"Label Studio did not accept the new user {name}", status=answer.status_code)
            return str(browser.get("/api/current-user/token").raise_for_status().json()["token"])

    def whoami(self) -> httpx.Response:
        """Ask who the owner's token belongs to: Label Studio quietly takes another port if its own is taken."""
        headers = {"Authorization": f"Token {self.token}"}
        return httpx.get(f"{self.url}/api/current-user/whoami", headers=headers, timeout=30, trust_env=False)


class LabelStudioStack(LocalStack):
    """Installs and starts Label Studio."""

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
        self.reap()
        binary = self.install(say)
        data = data_folder(data_dir, DATABASE, lambda: self.template(say))
        url, login = f"http://{HOST}:{port or free_port()}", credentials(data, ADMIN)
        settings = QUIET | LEGACY_TOKENS | SHORT_LOCKS
        settings |= FAST_PREDICTION_IMPORT if fast_import else {}
        settings |= LOCAL_ADDRESSES if local_addresses else {}
        settings |= {"TASK_LOCK_TTL": str(lock_ttl_s)} if lock_ttl_s is not None else {}
        settings |= {
            "LABEL_STUDIO_BASE_DATA_DIR": str(data),
            "LABEL_STUDIO_USERNAME": login["user"],
            "LABEL_STUDIO_PASSWORD": login["password"],
            "LABEL_STUDIO_USER_TOKEN": login["token"],
            "LABEL_STUDIO_HOST": url,
        }
        command = [str(binary), "start", "--no-browser", "--internal-host", HOST, "--port", url.rpartition(":")[2]]
        say(f"starting Label Studio at {url}")
        return self.launch(
            LabelStudioServer,
            [*command, "--log-level", "WARNING"],
            server_environment() | settings | dict(env or {}),
            data,
            url=url,
            login=login,
            temporary=data_dir is None,
            detach=detach,
            limit_s=limit_s,
        )


def csrf_token(page: str) -> str:
    """The hidden token of a form."""
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    if found is None:
        raise PlatformError("Label Studio's sign-up page holds no form", status=200, body=page[:200])
    return found.group(1)
