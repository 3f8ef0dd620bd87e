"""Label Studio as a platform that recipes may name."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings
from typing_extensions import override

from nextlabel.connectors.platform import Address, CheckedConnector, Platform
from nextlabel.connectors.records import Labeling


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
    label_studio_bin: Path | None = Field(
        default=None, description="A `label-studio` command to use for the demo, in place of installing one."
    )


class LabelStudio(Platform):
    """See Platform. It has no signed deliveries: its webhook is part of the ML-backend protocol."""

    name: ClassVar[str] = "label-studio"
    title: ClassVar[str] = "Label Studio"
    variables: ClassVar[tuple[str, str]] = ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY")
    fields: ClassVar[tuple[str, str]] = ("label_studio_url", "label_studio_api_key")

    @override
    def attach(
        self, settings: LabelStudioSettings, project: str, *, workspace: str = "", question: str | None = None
    ) -> CheckedConnector:
        from nextlabel.connectors.label_studio.connector import LabelStudioConnector

        return LabelStudioConnector.attach(*self.access(settings), project, control=question)

    def create(
        self,
        settings: LabelStudioSettings,
        title: str,
        labeling: Labeling,
        *,
        mark: str,
        overlap: int,
        opinions: int | None,
        workspace: str = "",
    ) -> CheckedConnector:
        """See Platform. It takes any number of opinions later."""
        from nextlabel.connectors.label_studio.connector import LabelStudioConnector

        return LabelStudioConnector.create(*self.access(settings), title, labeling, overlap=overlap, mark=mark)

    @override
    def marked(self, settings: LabelStudioSettings, mark: str, *, tidy: str | None = None) -> list[str]:
        from nextlabel.connectors.label_studio.connector import LabelStudioConnector

        return LabelStudioConnector.marked(*self.access(settings), mark, tidy=tidy)
