"""Every setting of the service, in one model. Each is an environment variable with the prefix ``NEXTLABEL_``.

``python -m nextlabel.backend.settings`` prints docs/settings.md from the descriptions below; a test compares
the two, so a setting cannot go undocumented. Secrets that are not given are made by
:mod:`nextlabel.backend.credentials`.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.hiding import TERMINAL, secrets_in
from nextlabel.connectors.platform import OpenAddress
from nextlabel.connectors.platforms import PLATFORMS, PlatformSettings

PREFIX = "NEXTLABEL_"


def _guessed(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < 2:
        raise ValueError("is one character, which is guessed at once; leave it out, and a good one is made")
    return value


Secret = Annotated[SecretStr, AfterValidator(_guessed)]


def _host(value: str) -> str:
    return value.strip("[] ")  # as it stands in an address


class Settings(PlatformSettings):
    """How this machine runs the service. What is asked, and about which data, is the recipe's business.

    Build it with :meth:`load`, which turns pydantic's complaints into a ConfigError that names the variable.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, validate_by_name=True
    )

    home: Path = Field(
        default=Path(".nextlabel"),
        description="Folder for everything durable: store, embedding cache, models, generated secrets.",
    )
    share_home: bool = Field(
        default=False, description="Let the group of the home folder read it. Else it is its owner's alone."
    )
    store: str = Field(
        default="",
        repr=False,  # a URL may hold a password
        description="SQLite file or SQLAlchemy URL of the store. "
        "Empty: a `store.sqlite` for each recipe, in the home folder.",
    )
    cache: Path | None = Field(
        default=None,
        description="Folder for what can be downloaded again: the local platforms of the demo. "
        "Empty: the platform's cache folder.",
    )
    host: Annotated[str, AfterValidator(_host)] = Field(
        default="127.0.0.1",
        description="Address to listen on; `::1` for IPv6. One of another machine opens the service to the network.",
    )
    port: int = Field(default=9090, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    public_url: OpenAddress = Field(
        default="",
        description="Address under which the platform reaches this service, if it is not `http://HOST:PORT` "
        "(containers, proxies).",
    )
    ml_user: str = Field(
        default="nextlabel", min_length=1, description="User name that the platform sends (basic auth) with its calls."
    )
    ml_password: Secret | None = Field(default=None, description="Password for `ml_user`. Empty: generated once.")
    api_token: Secret | None = Field(
        default=None, description="Bearer token for your own calls to the service. Empty: generated once."
    )
    webhook_secret: Secret | None = Field(
        default=None,
        description="Secret that Label Studio sends in the header `X-Nextlabel-Secret` of a webhook. "
        "Empty: generated once. Argilla signs with a secret of its own.",
    )
    max_request_bytes: int = Field(
        default=32 * 2**20,
        ge=1024,
        description="Largest body of a request for predictions, in bytes; larger ones get a 413. "
        "Other routes take less.",
    )
    poll_interval_s: float = Field(
        default=10.0, gt=0, description="Seconds between two looks at the platform for what no webhook told us."
    )
    compare_interval_s: float = Field(
        default=3600.0,
        gt=0,
        description="Seconds between two comparisons of the whole annotation log with the whole platform; the first "
        "is at the start.",
    )
    queue_head: int = Field(default=50, ge=1, description="Records of a queue generation that are published at once.")
    queue_tail: int = Field(
        default=200, ge=0, description="Records that are published after the head, off the hot path."
    )
    queue_keep_s: float = Field(
        default=3600.0,
        ge=0,
        description="Seconds that a queue no longer in force is kept on the platform: people may have its records "
        "open, and Label Studio refuses their answers once the suggestions they saw are deleted.",
    )
    audit_share: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the queue drawn at random for the audit slice (shown blind)."
    )
    audit_size: int = Field(default=500, ge=0, description="Most records that the audit slice may hold.")
    threads: int = Field(
        default=0, ge=0, description="Threads for encoding texts; 0 takes one for each core that this process may use."
    )
    image_folders: str = Field(
        default="",
        description="Folders, separated by commas, below which image files may be read, besides that of the recipe's "
        "data.",
    )
    image_hosts: str = Field(
        default="",
        description="Internal hosts, separated by commas, that images may be fetched from (`minio:9000`); `*` allows "
        "all. Public addresses need no entry.",
    )
    image_url: OpenAddress = Field(
        default="",
        description="Address at which annotators' browsers reach this service. Images that the data have as files, "
        "bytes or `data:` are then shown by address (`/images/...`), which keeps the platform's pages fast: see "
        "[Images](images.md). Empty: they stand in the platform's records as `data:`.",
    )
    image_key: Secret | None = Field(
        default=None, description="Key that the addresses of images are signed with. Empty: generated once."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe line to log."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto",
        description="`console` for people, `json` for machines; `auto` looks whether stderr is a terminal.",
    )

    @classmethod
    def load(cls, **overrides: Any) -> Settings:
        """Settings from the environment, with ``overrides`` (options of a command) on top; None means not given.

        Raises ConfigError that names every wrong variable.
        """
        try:
            found = cls(**{name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            wrong = "; ".join(f"{_variable(item['loc'])} {_reason(item)}" for item in error.errors(include_url=False))
            raise ConfigError(f"settings: {wrong} (docs/settings.md lists them all)") from None
        TERMINAL.add(found.secrets())
        return found

    def secrets(self) -> list[str]:
        """What is secret in them: nobody may be shown it."""
        given = (self.ml_password, self.api_token, self.webhook_secret, self.image_key)
        keys = [key for platform in PLATFORMS.values() for key in platform.secrets(self)]
        addresses = [*secrets_in(self.store), *secrets_in(self.argilla_redis_url)]
        return [one.get_secret_value() for one in given if one] + keys + addresses

    def thread_count(self) -> int:
        """Threads to encode with: the setting, or the cores that this process may use."""
        if self.threads:
            return self.threads
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def address(self, port: int | None = None) -> str:
        """Base URL under which the platform reaches the service; ``port`` is the one really bound, if 0 was asked."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104 - compared, not bound
        return self.public_url or f"http://{f'[{host}]' if ':' in host else host}:{port or self.port}"


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else ""
    return name if name.isupper() else PREFIX + name.upper()


def _reason(item: Mapping[str, Any]) -> str:
    if item["type"] == "extra_forbidden":
        return "is not a setting"
    return str(item["msg"]).removeprefix("Value error, ").replace("Input should be", "should be")


def variables() -> dict[str, str]:
    """Each environment variable that is read -> the setting that it sets."""
    found: dict[str, str] = {}
    for name, info in Settings.model_fields.items():
        found[PREFIX + name.upper()] = name
        if isinstance(info.validation_alias, AliasChoices):
            found.update({str(choice): name for choice in info.validation_alias.choices})
    return found


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """A sentence for each ``NEXTLABEL_`` variable that nothing reads, most likely a slip of the pen."""
    known = variables()
    environment = os.environ if environment is None else environment
    sentences = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            sentences.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    return sentences


def _default(value: Any) -> str:
    return "" if value in (None, "", {}) else f"`{value}`"


def markdown() -> str:
    """docs/settings.md: a table of every setting."""
    lines = [
        "# Settings",
        "",
        "Environment variables of the service. This page is generated: `python -m nextlabel.backend.settings`.",
        "",
        "| variable | default | what it does |",
        "|---|---|---|",
    ]
    names: dict[str, list[str]] = {}
    for variable, field in variables().items():
        names.setdefault(field, []).append(f"`{variable}`")
    for name, info in Settings.model_fields.items():
        lines.append(f"| {' or '.join(names[name])} | {_default(info.default)} | {info.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
