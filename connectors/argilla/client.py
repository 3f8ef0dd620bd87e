"""The way to an Argilla server, and to the datasets on it.

Everything goes over its HTTP API. The SDK is no help here: it sends back what it has read, which reverts answers that
annotators changed meanwhile, keeps one client for the whole process, and can't describe labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx
import structlog
from typing_extensions import override

from nextlabel.connectors.argilla import config
from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.base import NewProject
from nextlabel.connectors.basics import Json
from nextlabel.connectors.errors import ConfigError, ConnectorError, PlatformError, ProjectNotFound, Unauthorized
from nextlabel.connectors.http import NO_HEADERS, PlatformClient, reason
from nextlabel.connectors.project import Projects

log = structlog.get_logger(__name__)

NO_DATASET = re.compile(r"Dataset with id `([^`]+)` not found")
"""What the server says of a dataset that is gone, whichever part of it was asked for."""
WORKSPACE = "nextlabel"
"""The workspace that is made where there is none, or no way to choose."""
OURS = "nextlabel"
"""The key in a dataset's metadata under which our own settings are kept."""
STORE = "store"
"""And in there, the key of the mark of the store that a dataset was made for."""
READY = "ready"
"""The status of a dataset that is published: no draft any more."""
GUIDELINES_ROOM = 9000
"""Characters of the instruction that go into the guidelines: the annotators' links need room too."""


class Client(PlatformClient):
    """One server, one API key. Thread-safe.

    After an unforeseen error the server drops the connection, and the next request on it fails: calls that may be
    repeated must say so.
    """

    platform = "Argilla"
    header = "X-Argilla-Api-Key"
    example = "http://127.0.0.1:6900"
    token_name = "API key"  # noqa: S105  a word for messages
    token_hint = "copy one from My settings; it must be an owner's, or an admin's of the workspace"  # noqa: S105
    token_owner = "an owner, or of an admin who is in the workspace"  # noqa: S105
    settings = ("ARGILLA_API_URL", "ARGILLA_API_KEY")
    headers_setting = "NEXTLABEL_ARGILLA_HEADERS"
    tried = (2, 8)

    def __init__(
        self,
        url: str,
        api_key: str,
        headers: Mapping[str, str] = NO_HEADERS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(url, api_key, keep=True, headers=headers, transport=transport)

    @override
    def authorization(self) -> Mapping[str, str]:
        return {self.header: self._token}

    def items(self, path: str, params: Json | None = None) -> list[Json]:
        """What is listed at ``path``."""
        return list(self.get(path, params)["items"])

    @override
    def failure(self, status: int, body: object, where: str = "") -> ConnectorError:
        """The error that stands for an HTTP status: ProjectNotFound where the dataset is not there."""
        if status == 404 and (missing := NO_DATASET.search(reason(body))):
            return ProjectNotFound(f"{self.url} has no dataset {missing[1]}: was it deleted?")
        return super().failure(status, body, where)


class Datasets(Projects[Client]):
    """The datasets that one key may see."""

    @override
    def check(self, new: NewProject) -> None:
        _written(new)
        self._check_role()
        if new.workspace:
            self._workspace(new.workspace)

    @override
    def create(self, new: NewProject) -> Json:
        """Make and publish a dataset; return it. A half-made one is removed, one of an earlier try as well.

        Raises ConfigError, LabelingMismatch if Argilla can't ask that, ProjectNotFound if there is no such workspace,
        PlatformError if the name is taken, Unauthorized or PlatformUnavailable.
        """
        most, fields, question = _written(new)
        if new.mark:
            for draft in self._marked_as(new.mark, ready=False):
                self.remove(draft)
        noted = {"overlap": new.overlap, "title": new.title, **({STORE: new.mark} if new.mark else {})}
        name = new.title.strip()[: config.NAME_LENGTH] or "nextlabel"
        body: Json = {
            "name": name,
            "workspace_id": self._workspace(new.workspace)["id"],
            "distribution": {"strategy": "overlap", "min_submitted": most},
            "metadata": {OURS: noted},
            "allow_extra_metadata": True,
        }
        if new.labeling.instruction:
            body["guidelines"] = config.shortened(new.labeling.instruction, GUIDELINES_ROOM)
        try:
            made: Json = self.client.request("POST", "/api/v1/datasets", body=body)
        except PlatformError as error:
            if error.status != 409:
                raise
            raise PlatformError(
                f"the workspace has a dataset named {name!r} already: attach to it, or choose another title",
                status=409,
                body=error.body,
            ) from None
        path = f"/api/v1/datasets/{made['id']}"
        try:
            for field in fields:
                self.client.request("POST", f"{path}/fields", body=field)
            self.client.request("POST", f"{path}/questions", body=question)
            published: Json = self.client.request("PUT", f"{path}/publish")
            return published
        except ConnectorError:
            self.remove(made["id"])
            raise

    @override
    def with_mark(self, mark: str) -> list[str]:
        return self._marked_as(mark, ready=True)

    @override
    def is_empty(self, project: str) -> bool:
        return bool(self.client.get(f"/api/v1/datasets/{project}/progress")["total"] == 0)

    @override
    def remove(self, project: str) -> None:
        try:
            self.client.request("DELETE", f"/api/v1/datasets/{project}", again=True)
        except ConnectorError as error:
            log.warning("a half-made dataset could not be removed", dataset=project, reason=str(error))

    @override
    def find(self, project: str, workspace: str) -> Json:
        """The dataset with this id or name; ``workspace`` narrows the search by name.

        Raises ProjectNotFound, PlatformError if it is a draft, Unauthorized if the key may not read all answers.
        """
        self._check_role()
        found = self._by_id(project) or self._by_name(project, workspace)
        if found["status"] != READY:
            raise PlatformError(f"the dataset {found['name']!r} is a draft; publish it first", status=409)
        return found

    def _marked_as(self, mark: str, *, ready: bool) -> list[str]:
        found = [one for one in self.client.items("/api/v1/me/datasets") if _noted(one).get(STORE) == mark]
        return [str(one["id"]) for one in found if (one["status"] == READY) is ready]

    def _by_id(self, project: str) -> Json | None:
        try:
            number = UUID(project)
        except ValueError:
            return None
        try:
            found: Json = self.client.get(f"/api/v1/datasets/{number}")
        except ProjectNotFound:
            return None
        return self.client.expect(found, "distribution")

    def _by_name(self, project: str, workspace: str) -> Json:
        params = {"name": project}
        if workspace:
            params["workspace_id"] = self._workspace(workspace)["id"]
        found = self.client.items("/api/v1/me/datasets", params)
        if not found:
            raise ProjectNotFound(f"{self.client.url} has no dataset {project!r} that this API key may see")
        if len(found) > 1:
            spaces = {one["id"]: one["name"] for one in self.client.items("/api/v1/me/workspaces")}
            ids = ", ".join(f"{one['id']} in {spaces.get(one['workspace_id'], 'another')}" for one in found)
            raise ProjectNotFound(
                f"several workspaces have a dataset named {project!r}: name the workspace, or give its id: {ids}"
            )
        return found[0]

    def _workspace(self, wanted: str) -> Json:
        """The workspace of this name or id. If none is wanted: the only one there is, else one of ours."""
        seen = self.client.items("/api/v1/me/workspaces")
        named = [one for one in seen if (wanted or WORKSPACE) in (one["name"], one["id"])]
        if named:
            return named[0]
        names = ", ".join(sorted(one["name"] for one in seen)) or "none"
        if wanted:
            raise ProjectNotFound(
                f"{self.client.url} has no workspace {wanted!r} that this API key may see; it sees: {names}"
            )
        if len(seen) == 1:
            return seen[0]
        try:
            made: Json = self.client.request("POST", "/api/v1/workspaces", body={"name": WORKSPACE})
        except Unauthorized:
            raise ProjectNotFound(f"name a workspace, this API key may use: {names}") from None
        except PlatformError as error:
            if error.status != 409:
                raise
            return self._workspace(WORKSPACE)  # somebody else made it a moment ago
        log.info("workspace made", name=WORKSPACE)
        return made

    def _check_role(self) -> None:
        me = self.client.expect(self.client.get("/api/v1/me"), "role")
        if me["role"] == "annotator":
            raise Unauthorized(
                f"{me['username']!r} is an annotator, who may not read the answers of others. Use the API key of an "
                "owner, or of an admin of the workspace"
            )


def _written(new: NewProject) -> tuple[int, list[Json], Json]:
    """How many answers complete a record, the fields, and the question. Raises ConfigError or LabelingMismatch."""
    most = new.overlap if new.opinions is None else new.opinions
    if not 1 <= new.overlap <= most:
        raise ConfigError(f"overlap {new.overlap} and opinions {most}: 1 or more, and no fewer opinions than overlap")
    return most, config.write_fields(new.labeling), config.write_question(new.labeling)


def read_form(client: Client, dataset_id: str, question: str | None) -> Form:
    """What the dataset asks now. Raises LabelingMismatch if it is nothing that we know."""
    path = f"/api/v1/datasets/{dataset_id}"
    return config.read(client.items(f"{path}/fields"), client.items(f"{path}/questions"), question)


def min_submitted(dataset: Mapping[str, Any]) -> int:
    """How many answers complete a record."""
    return int(dataset["distribution"]["min_submitted"])


def overlap_of(dataset: Mapping[str, Any]) -> int:
    """How many people are asked about each record from the start: what we noted, else as many as complete it."""
    noted = _noted(dataset).get("overlap")
    most = min_submitted(dataset)
    return min(noted, most) if isinstance(noted, int) and noted >= 1 else most


def title_of(dataset: Mapping[str, Any]) -> str:
    """The title that was asked for, where the name had to be cut."""
    noted, name = _noted(dataset).get("title"), str(dataset["name"])
    return noted if isinstance(noted, str) and noted.startswith(name) else name


def _noted(dataset: Mapping[str, Any]) -> Mapping[str, Any]:
    noted = (dataset.get("metadata") or {}).get(OURS)
    return noted if isinstance(noted, Mapping) else {}
