"""A real Label Studio on this machine: installed once, started in seconds, stopped without a trace.

>>> with LabelStudioStack().start() as server:
...     token = server.add_user("ann@example.com")
...     print(server.url)

Label Studio reads every setting NAME as LABEL_STUDIO_NAME, HEARTEX_NAME or NAME; feature flags only by their own name.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import httpx
from typing_extensions import override

from nextlabel.connectors.errors import ConfigError, PlatformError

from .processes import Say, clean_environment, install_venv, run, silent
from .server import HOST, PlatformServer, PlatformStack, Program

FAST_PREDICTION_IMPORT = {
    # Predictions are imported in batches and only the tasks touched are recounted. Without it every import recounts
    # the whole project: 10 s instead of 0.2 s for 500 rows at 10,000 tasks. It is a switch of Label Studio's own,
    # there since 1.16; the price is that nothing checks the rows against the labeling config (we do it ourselves).
    "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short": "true",
}
LOCAL_ADDRESSES = {
    # Two switches, since webhooks and ML backends are guarded apart; both refuse 127.0.0.1 and private networks.
    "SSRF_PROTECTION_ENABLED": "false",  # webhooks
    "ML_BLOCK_LOCAL_IP": "false",  # ML backend
}
SHORT_LOCKS = {
    # A task handed out stays reserved for its annotator for this many seconds (a day by default). Ten minutes give
    # back the tasks of people who closed the tab.
    "TASK_LOCK_TTL": "600",
}
LEGACY_TOKENS = {
    # `Authorization: Token ...`: one header and no refresh every five minutes. Only heeded when the organisation is
    # created, so it has to be there at the very first start.
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
}
QUIET = {
    "LATEST_VERSION_CHECK": "false",  # asks the package index
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",  # both have real addresses as defaults
    "FRONTEND_SENTRY_DSN": "",
    "DEBUG": "false",
    "DISABLE_SIGNUP_WITHOUT_LINK": "true",
    "DJANGO_DB": "sqlite",
}
LABEL_STUDIO_VERSION = "1.23.2"
"""The version that everything here was tried with."""
BINARY_VARIABLE = "NEXTLABEL_LABEL_STUDIO_BIN"
"""Names a label-studio executable to use instead of installing one."""


def server_environment() -> dict[str, str]:
    """Our environment without what would change a Label Studio server behind our back."""
    return clean_environment("LABEL_STUDIO_", "HEARTEX_", "fflag_", "DJANGO_")


@dataclass
class LabelStudioServer(PlatformServer):
    """A running Label Studio, owned by its administrator. ``user`` is an address: what Label Studio has for a name."""

    platform: ClassVar[str] = "label-studio"
    title: ClassVar[str] = "Label Studio"

    @override
    def env(self) -> dict[str, str]:
        return {"LABEL_STUDIO_URL": self.url, "LABEL_STUDIO_API_KEY": self.token}

    @override
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

    @override
    def whoami(self) -> httpx.Response:
        # Label Studio quietly takes another port if its own is taken.
        headers = {"Authorization": f"Token {self.token}"}
        return httpx.get(f"{self.url}/api/current-user/whoami", headers=headers, timeout=30, trust_env=False)


class LabelStudioStack(PlatformStack[LabelStudioServer]):
    """Installs and starts Label Studio. ``fast_import`` and ``local_addresses`` are flags of ours, explained above."""

    server = LabelStudioServer
    database = "label_studio.sqlite3"
    owner = "admin@example.com"
    template_name = f"template-{LABEL_STUDIO_VERSION}"

    def __init__(self, home: Path | None = None, *, fast_import: bool = True, local_addresses: bool = True) -> None:
        super().__init__(home)
        self._flags = (FAST_PREDICTION_IMPORT if fast_import else {}) | (LOCAL_ADDRESSES if local_addresses else {})

    @override
    def install(self, say: Say = silent) -> Path:
        """The label-studio executable, installed if need be (about 1 GB and two minutes).

        Raises ConfigError if NEXTLABEL_LABEL_STUDIO_BIN names no executable, PlatformUnavailable if pip fails.
        """
        if chosen := os.environ.get(BINARY_VARIABLE):
            binary = Path(chosen).expanduser().absolute()
            if not os.access(binary, os.X_OK):
                raise ConfigError(
                    f"{BINARY_VARIABLE} is {chosen}, which is no executable; unset it to have one installed"
                )
            return binary
        place = self.home / f"label-studio-{LABEL_STUDIO_VERSION}"
        packages = [f"label-studio=={LABEL_STUDIO_VERSION}"]
        install_venv(place, packages, f"Label Studio {LABEL_STUDIO_VERSION}, about 1 GB,", say)
        return place / "bin" / "label-studio"

    @override
    def migrate(self, folder: Path, say: Say) -> None:
        command = [str(self.install(say)), "version"]  # migrates, and ends before it would create a user
        say("preparing Label Studio's database (its migrations take a minute, once)")
        env = server_environment() | QUIET | LEGACY_TOKENS | {"LABEL_STUDIO_BASE_DATA_DIR": str(folder)}
        run(command, self.home / "template.log", env)
        (folder / ".env").unlink(missing_ok=True)  # the secret key
        # Its own switch for a write-ahead log, AZURE_MOUNT_FIX, is only heeded where it migrates.

    @override
    def program(self, data: Path, port: int, login: Mapping[str, str], say: Say) -> Program:
        settings = {
            "LABEL_STUDIO_BASE_DATA_DIR": str(data),
            "LABEL_STUDIO_USERNAME": login["user"],
            "LABEL_STUDIO_PASSWORD": login["password"],
            "LABEL_STUDIO_USER_TOKEN": login["token"],
            "LABEL_STUDIO_HOST": f"http://{HOST}:{port}",
        }
        command = [str(self.install(say)), "start", "--no-browser", "--internal-host", HOST, "--port", str(port)]
        env = server_environment() | QUIET | LEGACY_TOKENS | SHORT_LOCKS | self._flags | settings
        return Program([*command, "--log-level", "WARNING"], env)


def csrf_token(page: str) -> str:
    """The hidden token of a form."""
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    if found is None:
        raise PlatformError("Label Studio's sign-up page holds no form", status=200, body=page[:200])
    return found.group(1)
