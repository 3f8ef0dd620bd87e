"""The way to an Argilla server.

Everything goes over its HTTP API. The SDK is no help here: it sends back what it has read, which reverts answers that
annotators changed meanwhile, keeps one client for the whole process, and can't describe labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import httpx

from nextlabel.connectors.errors import ConnectorError, ProjectNotFound
from nextlabel.connectors.http import PlatformClient, reason

NO_DATASET = re.compile(r"Dataset with id `([^`]+)` not found")
"""What the server says of a dataset that is gone, whichever part of it was asked for."""


class Client(PlatformClient):
    """One server, one API key. Thread-safe.

    After an unforeseen error the server drops the connection, and the next request on it fails: calls that may be
    repeated must say so.
    """

    platform = "Argilla"
    example = "http://127.0.0.1:6900"
    token_name = "API key"  # noqa: S105  a word for messages
    token_hint = "copy one from My settings; it must be an owner's, or an admin's of the workspace"  # noqa: S105

    def __init__(self, url: str, api_key: str, transport: httpx.BaseTransport | None = None) -> None:
        super().__init__(url, api_key, keep=True, transport=transport)

    def authorization(self) -> Mapping[str, str]:
        """The header that Argilla knows an API key by."""
        return {"X-Argilla-Api-Key": self._token}

    def failure(self, status: int, body: object, where: str = "") -> ConnectorError:
        """The error that stands for an HTTP status: ProjectNotFound where the dataset is not there."""
        if status == 404 and (missing := NO_DATASET.search(reason(body))):
            return ProjectNotFound(f"{self.url} has no dataset {missing[1]}: was it deleted?")
        return super().failure(status, body, where)
