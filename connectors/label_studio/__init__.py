"""Label Studio: projects, tasks, the queue and webhooks, behind the one connector protocol.

Here is what there is to know of it as a platform that recipes may name. It needs no HTTP client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings
from typing_extensions import override

from nextlabel.connectors.basics import Json
from nextlabel.connectors.platform import Address, Headers, Platform
from nextlabel.connectors.records import Finished, Labeling
from nextlabel.connectors.served import NOTHING_SERVED, Served

if TYPE_CHECKING:
    from nextlabel.connectors.label_studio.client import Client
    from nextlabel.connectors.label_studio.connector import LabelStudioConnector


class LabelStudioSettings(BaseSettings):
    """How this machine reaches Label Studio."""

    label_studio_url: Address = Field(
        default="",
        validation_alias=AliasChoices("NEXTLABEL_LABEL_STUDIO_URL", "LABEL_STUDIO_URL"),
        description="Address of Label Studio, for instance `http://127.0.0.1:8080`.",
    )
    label_studio_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("NEXTLABEL_LABEL_STUDIO_API_KEY", "LABEL_STUDIO_API_KEY"),
        description="Access token of Label Studio: a personal access token or a legacy token.",
    )
    label_studio_headers: Headers = Field(
        default={},
        description="Headers that whatever stands in front of Label Studio asks for, as JSON: "
        '`{"CF-Access-Client-Id": "..."}`. Label Studio\'s own token takes `Authorization`.',
    )
    label_studio_bin: Path | None = Field(
        default=None, description="A `label-studio` command to use for the demo, in place of installing one."
    )


class LabelStudio(Platform):
    """Label Studio takes any number of opinions at any time, and has no workspaces.

    It has no signed deliveries: its webhook is part of the ML-backend protocol.
    """

    name: ClassVar[str] = "label-studio"
    title: ClassVar[str] = "Label Studio"
    variables: ClassVar[tuple[str, str]] = ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY")
    fields: ClassVar[tuple[str, str]] = ("label_studio_url", "label_studio_api_key")
    headers_field: ClassVar[str] = "label_studio_headers"
    pages: ClassVar[re.Pattern[str]] = re.compile(r"/projects/(\d+)(?=[/?#]|$)")
    page: ClassVar[str] = "http://127.0.0.1:8080/projects/7/data"
    begin: ClassVar[str] = "open it and press Label All Tasks; a task opened from the list comes in no order"

    @override
    def connectors(self) -> type[LabelStudioConnector]:
        from nextlabel.connectors.label_studio.connector import LabelStudioConnector

        return LabelStudioConnector

    @override
    def exported(self, labeling: Labeling, finished: Finished, config: str = "", *, has_none: bool = False) -> Json:
        from nextlabel.connectors.label_studio.payloads import write_finished

        return write_finished(labeling, finished, config)

    @override
    def served(self, settings: Any, project: str | None) -> Served:
        url, key, more = self.address(settings), self.key(settings), self.headers(settings)
        if not url or not key:
            return NOTHING_SERVED

        @cache
        def client() -> Client:
            from nextlabel.connectors.label_studio.client import Client

            return Client(url, key)

        def headers() -> Mapping[str, str]:
            return {**more, **client().authorization()}

        buckets = f"{url}/projects/{project}/resolve/?fileuri=" if (project or "").isdigit() else ""
        return Served(url, buckets, headers)
