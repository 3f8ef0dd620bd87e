"""Argilla 2.x: datasets, records, people's queues and webhooks, behind the one connector protocol.

Here is what there is to know of it as a platform that recipes may name. It needs no HTTP client.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings
from typing_extensions import override

from nextlabel.connectors.argilla.payloads import write_finished
from nextlabel.connectors.base import Finding
from nextlabel.connectors.basics import Json
from nextlabel.connectors.errors import MissingExtra
from nextlabel.connectors.platform import Address, Headers, Platform
from nextlabel.connectors.records import Finished, Labeling

if TYPE_CHECKING:
    from nextlabel.connectors.argilla.connector import ArgillaConnector


class ArgillaSettings(BaseSettings):
    """How this machine reaches Argilla."""

    argilla_url: Address = Field(
        default="",
        validation_alias=AliasChoices("NEXTLABEL_ARGILLA_URL", "ARGILLA_API_URL"),
        description="Address of Argilla, for instance `http://127.0.0.1:6900`.",
    )
    argilla_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("NEXTLABEL_ARGILLA_API_KEY", "ARGILLA_API_KEY"),
        description="API key of an owner or admin of Argilla: My settings, API key.",
    )
    argilla_headers: Headers = Field(
        default={},
        description="Headers that whatever stands in front of Argilla asks for, as JSON. A private Hugging Face Space: "
        '`{"Authorization": "Bearer hf_..."}`.',
    )
    argilla_workspace: str = Field(
        default="",
        description="Workspace for new datasets, if the recipe names none. Empty: the only one that the key's user "
        "sees, else one called `nextlabel`, which is made.",
    )
    argilla_redis_url: str = Field(
        default="",
        repr=False,  # it may hold a password
        validation_alias=AliasChoices("NEXTLABEL_ARGILLA_REDIS_URL", "ARGILLA_REDIS_URL"),
        description="Redis of the Argilla server, where `nextlabel doctor` looks for webhooks that wait or failed. "
        "Nothing else needs it.",
    )
    argilla_venv: Path | None = Field(
        default=None,
        description="Virtual environment with an Argilla server to use for the demo, in place of installing one.",
    )


class Argilla(Platform):
    """Argilla's projects are datasets. Its deliveries are signed as Standard Webhooks says.

    Argilla waits twenty seconds for the answer and repeats a delivery that fails after 10, 60 and 180 seconds, in any
    order. So an event says where to look and is answered at once, and what it is about is read from Argilla.
    """

    name: ClassVar[str] = "argilla"
    title: ClassVar[str] = "Argilla"
    variables: ClassVar[tuple[str, str]] = ("ARGILLA_API_URL", "ARGILLA_API_KEY")
    fields: ClassVar[tuple[str, str]] = ("argilla_url", "argilla_api_key")
    headers_field: ClassVar[str] = "argilla_headers"
    pages: ClassVar[re.Pattern[str]] = re.compile(r"/dataset/([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")
    page: ClassVar[str] = "http://127.0.0.1:6900/dataset/7db0f6df-ca76-4da9-a38e-107ea0813bc4/annotation-mode"
    begin: ClassVar[str] = "everybody opens the link under their own name, which is in the guidelines, too"
    signs: ClassVar[bool] = True
    events: ClassVar[frozenset[str]] = frozenset(
        {"ping"}
        | {f"dataset.{what}" for what in ("created", "updated", "deleted", "published")}
        | {f"record.{what}" for what in ("created", "updated", "deleted", "completed")}
        | {f"response.{what}" for what in ("created", "updated", "deleted")}
    )
    example: ClassVar[Mapping[str, Any]] = {
        "type": "ping",
        "version": 1,
        "timestamp": "2026-11-22T04:00:00.000000Z",
        "data": {"agent": "argilla-server", "version": "2.8.0"},
    }

    @override
    def exported(self, labeling: Labeling, finished: Finished, config: str = "", *, has_none: bool = False) -> Json:
        return write_finished(labeling, finished, has_none=has_none)

    @override
    def connectors(self) -> type[ArgillaConnector]:
        from nextlabel.connectors.argilla.connector import ArgillaConnector

        if find_spec("standardwebhooks") is None:  # without it a project could be made, and not listened to
            raise MissingExtra("standardwebhooks", "argilla")
        return ArgillaConnector

    @override
    def workspace(self, settings: ArgillaSettings) -> str:
        return settings.argilla_workspace

    @override
    def diagnose(self, settings: ArgillaSettings) -> Iterator[Finding]:
        """What Argilla's worker has still to deliver, which only its Redis knows."""
        from nextlabel.connectors.argilla.diagnose import diagnose_jobs

        if not settings.argilla_redis_url:
            yield Finding.ok("worker", "not looked at; set ARGILLA_REDIS_URL to see whether it delivers events")
            return
        try:
            yield from diagnose_jobs(settings.argilla_redis_url)
        except MissingExtra as error:
            yield Finding.warning("worker", "can't be looked at", str(error))

    @override
    def event(self, body: Mapping[str, Any]) -> tuple[str, str | None]:
        place: Any = body
        for key in ("data", "record", "dataset", "id"):
            place = place.get(key) if isinstance(place, dict) else None
        return str(body.get("type")), None if place is None else str(place)
