"""Datasets of Argilla: making one that asks a labeling, and finding one that is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog

from nextlabel.connectors.argilla import config
from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.payloads import Json
from nextlabel.connectors.errors import ConnectorError, PlatformError, ProjectNotFound, Unauthorized
from nextlabel.connectors.records import Labeling

log = structlog.get_logger(__name__)

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


def create(
    client: Client, title: str, labeling: Labeling, *, workspace: str, overlap: int, opinions: int, mark: str = ""
) -> Json:
    """Make and publish a dataset that asks ``labeling`` of up to ``opinions`` people a record; return it.

    :func:`marked` finds it by its ``mark``. A half-made one is removed, one of an earlier try as well. Raises
    LabelingMismatch if Argilla can't ask it, ProjectNotFound if there is no such workspace, PlatformError if the name
    is taken, Unauthorized or PlatformUnavailable.
    """
    fields, question = config.write_fields(labeling), config.write_question(labeling)
    if mark:
        for draft in _with_mark(client, mark):
            if draft["status"] != READY:
                _remove(client, _path(draft))
    name = title.strip()[: config.NAME_LENGTH] or "nextlabel"
    body: Json = {
        "name": name,
        "workspace_id": _workspace(client, workspace)["id"],
        "distribution": {"strategy": "overlap", "min_submitted": opinions},
        "metadata": {OURS: {"overlap": overlap, "title": title, **({STORE: mark} if mark else {})}},
        "allow_extra_metadata": True,
    }
    if labeling.instruction:
        body["guidelines"] = config.shortened(labeling.instruction, GUIDELINES_ROOM)
    try:
        made: Json = client.request("POST", "/api/v1/datasets", body=body)
    except PlatformError as error:
        if error.status != 409:
            raise
        raise PlatformError(
            f"the workspace has a dataset named {name!r} already: attach to it, or choose another title",
            status=409,
            body=error.body,
        ) from None
    path = _path(made)
    try:
        for field in fields:
            client.request("POST", f"{path}/fields", body=field)
        client.request("POST", f"{path}/questions", body=question)
        published: Json = client.request("PUT", f"{path}/publish")
        return published
    except ConnectorError:
        _remove(client, path)
        raise


def marked(client: Client, mark: str) -> list[Json]:
    """The datasets that were made with ``mark``, finished ones, those with records first."""
    found = [one for one in _with_mark(client, mark) if one["status"] == READY]
    return sorted(found, key=lambda one: _is_empty(client, one))


def remove_empty(client: Client, found: list[Json]) -> None:
    """Delete those of these datasets that have no record."""
    for one in found:
        if _is_empty(client, one):
            log.warning("removing a dataset that was made twice", dataset=one["id"])
            _remove(client, _path(one))


def find(client: Client, project: str, workspace: str) -> Json:
    """The dataset with this id or name; ``workspace`` narrows the search by name.

    Raises ProjectNotFound, PlatformError if it is a draft, Unauthorized if the key may not read all answers.
    """
    _check_role(client)
    found = _by_id(client, project) or _by_name(client, project, workspace)
    if found["status"] != READY:
        raise PlatformError(f"the dataset {found['name']!r} is a draft; publish it first", status=409)
    return found


def read_form(client: Client, dataset_id: str, control: str | None) -> Form:
    """What the dataset asks now. Raises LabelingMismatch if it is nothing that we know."""
    path = f"/api/v1/datasets/{dataset_id}"
    fields = client.request("GET", f"{path}/fields", again=True)["items"]
    questions = client.request("GET", f"{path}/questions", again=True)["items"]
    return config.read(fields, questions, control)


def min_submitted(dataset: Mapping[str, Any]) -> int:
    """How many answers complete a record."""
    return int(dataset["distribution"]["min_submitted"])


def overlap(dataset: Mapping[str, Any]) -> int:
    """How many people are asked about each record from the start: what we noted, else as many as complete it."""
    noted = _noted(dataset).get("overlap")
    most = min_submitted(dataset)
    return min(noted, most) if isinstance(noted, int) and noted >= 1 else most


def title(dataset: Mapping[str, Any]) -> str:
    """The title that was asked for, where the name had to be cut."""
    noted, name = _noted(dataset).get("title"), str(dataset["name"])
    return noted if isinstance(noted, str) and noted.startswith(name) else name


def _with_mark(client: Client, mark: str) -> list[Json]:
    found: list[Json] = client.request("GET", "/api/v1/me/datasets", again=True)["items"]
    return [one for one in found if _noted(one).get(STORE) == mark]


def _is_empty(client: Client, dataset: Json) -> bool:
    return bool(client.request("GET", f"{_path(dataset)}/progress", again=True)["total"] == 0)


def _path(dataset: Json) -> str:
    return f"/api/v1/datasets/{dataset['id']}"


def _noted(dataset: Mapping[str, Any]) -> Mapping[str, Any]:
    noted = (dataset.get("metadata") or {}).get(OURS)
    return noted if isinstance(noted, Mapping) else {}


def _by_id(client: Client, project: str) -> Json | None:
    try:
        number = UUID(project)
    except ValueError:
        return None
    try:
        found: Json = client.request("GET", f"/api/v1/datasets/{number}", again=True)
    except ProjectNotFound:
        return None
    if "distribution" not in found:
        raise PlatformError(f"{client.url} does not answer like an Argilla 2", status=200)
    return found


def _by_name(client: Client, project: str, workspace: str) -> Json:
    params = {"name": project}
    if workspace:
        params["workspace_id"] = _workspace(client, workspace)["id"]
    found: list[Json] = client.request("GET", "/api/v1/me/datasets", params=params, again=True)["items"]
    if not found:
        raise ProjectNotFound(f"{client.url} has no dataset {project!r} that this API key may see")
    if len(found) > 1:
        raise ProjectNotFound(
            f"several workspaces have a dataset named {project!r}: name the workspace, or give its id"
        )
    return found[0]


def _workspace(client: Client, wanted: str) -> Json:
    """The workspace of this name or id. If none is wanted: the only one there is, else one of ours."""
    seen: list[Json] = client.request("GET", "/api/v1/me/workspaces", again=True)["items"]
    named = [one for one in seen if (wanted or WORKSPACE) in (one["name"], one["id"])]
    if named:
        return named[0]
    names = ", ".join(sorted(one["name"] for one in seen)) or "none"
    if wanted:
        raise ProjectNotFound(f"{client.url} has no workspace {wanted!r} that this API key may see; it sees: {names}")
    if len(seen) == 1:
        return seen[0]
    try:
        made: Json = client.request("POST", "/api/v1/workspaces", body={"name": WORKSPACE})
    except Unauthorized:
        raise ProjectNotFound(f"name a workspace, this API key may use: {names}") from None
    except PlatformError as error:
        if error.status != 409:
            raise
        return _workspace(client, WORKSPACE)  # somebody else made it a moment ago
    log.info("workspace made", name=WORKSPACE)
    return made


def _check_role(client: Client) -> None:
    me = client.request("GET", "/api/v1/me", again=True)
    if not isinstance(me, Mapping) or "role" not in me:
        raise PlatformError(f"{client.url} does not answer like an Argilla 2", status=200)
    if me["role"] == "annotator":
        raise Unauthorized(
            f"{me['username']!r} is an annotator, who may not read the answers of others. Use the API key of an owner, "
            "or of an admin of the workspace"
        )


def _remove(client: Client, path: str) -> None:
    try:
        client.request("DELETE", path, again=True)
    except ConnectorError as error:
        log.warning("a half-made dataset could not be removed", path=path, reason=str(error))
