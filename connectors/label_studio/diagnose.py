"""What silently breaks the loop on Label Studio, looked for one by one. Changes nothing on the platform."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from nextlabel.connectors.base import BackendAddress, Finding, Severity
from nextlabel.connectors.diagnosis import examine, server_findings
from nextlabel.connectors.errors import LabelingMismatch, PlatformError
from nextlabel.connectors.label_studio.client import Client
from nextlabel.connectors.label_studio.config import read_config
from nextlabel.connectors.label_studio.queue import OURS, LabelStudioQueue
from nextlabel.connectors.label_studio.webhooks import SAMPLING, TITLE, Webhooks, matches, ours, wanted_hooks

TRIED = (1, 20)
"""The oldest Label Studio that this was tried with."""
LARGE = 1000
"""Tasks from which the slow import of predictions is felt."""
CROWD = 5
"""Users from which SQLite's one writer is felt."""

OK, WARNING, ERROR = Severity.OK, Severity.WARNING, Severity.ERROR


def diagnose(
    client: Client,
    project: int,
    queue: LabelStudioQueue,
    webhooks: Webhooks,
    backend: BackendAddress | None,
    control: str | None = None,
) -> Iterator[Finding]:
    """Every check in turn. ``backend`` is where the service is, or should be; without it, its checks are left out.

    A platform that can't be reached, or that refuses the token, is the last finding: the rest could not be looked at.
    """
    found = _everything(client, project, queue, webhooks, backend, control)
    return examine(client, found, ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"), "a member of the project")


def _everything(
    client: Client,
    project: int,
    queue: LabelStudioQueue,
    webhooks: Webhooks,
    backend: BackendAddress | None,
    control: str | None,
) -> Iterator[Finding]:
    yield from _server(client)
    found: Mapping[str, Any] = client.request("GET", f"/api/projects/{project}", again=True)
    yield from _labeling(found, control)
    yield from _settings(found)
    backends = webhooks.backends()
    yield from _version(found, queue, [one.title for one in backends])
    yield from _import_path(found, queue)
    yield from _backends(backends, backend)
    yield from _webhooks(webhooks, backends, backend)
    if backend is not None:
        yield from _switches(client, project, backend)


def _server(client: Client) -> Iterator[Finding]:
    answer = client.respond("GET", "/api/version", again=True)
    yield from server_findings(client, str(answer.json().get("release", "?")), TRIED, answer)
    user = client.request("GET", "/api/current-user/whoami", again=True)
    yield _token(client, str(user.get("email")))
    people = client.call(lambda: client.sdk.users.list(), again=True)
    if "WSGIServer" in answer.headers.get("server", ""):
        crowded = len(people) > CROWD
        yield Finding(
            "database",
            WARNING if crowded else OK,
            f"Label Studio runs on its development server ({len(people)} users); on SQLite, its default, one write "
            "waits for the other, and an import that waits too long drops rows without saying so (we count them)",
            "for more than a handful of annotators run it on PostgreSQL, behind uwsgi" if crowded else "",
        )
    else:
        yield Finding("database", OK, "Label Studio runs behind a production server")


def _token(client: Client, email: str) -> Finding:
    expires = token_expiry(client._token)
    if expires is None:
        return Finding("token", OK, f"a legacy token of {email}; it works while the organisation allows such tokens")
    left = expires - datetime.now(UTC)
    if left < timedelta(days=14):
        return Finding(
            "token",
            WARNING,
            f"the personal access token of {email} expires in {left.days} days",
            "make a new one in time",
        )
    return Finding("token", OK, f"a personal access token of {email}, valid until {expires:%Y-%m-%d}")


def token_expiry(token: str) -> datetime | None:
    """When a personal access token expires; None for a legacy token, which doesn't."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _labeling(found: Mapping[str, Any], control: str | None) -> Iterator[Finding]:
    try:
        labeling = read_config(found["label_config"], control).labeling
    except LabelingMismatch as error:
        yield Finding("labeling", ERROR, str(error), "change the labeling config, or use another project")
    else:
        yield Finding("labeling", OK, f"{labeling.name!r}: {labeling.kind}, {len(labeling.labels)} labels")


def _settings(found: Mapping[str, Any]) -> Iterator[Finding]:
    if found["sampling"] != SAMPLING:
        yield Finding(
            "sampling",
            ERROR,
            f"the project serves tasks by {found['sampling']!r}: our ranking is ignored",
            f"Settings > General > Task Sampling: {SAMPLING}; or start the service, which sets it",
        )
    else:
        yield Finding("sampling", OK, SAMPLING)
    overlap = int(found["maximum_annotations"])
    if overlap > 1:
        yield Finding(
            "overlap",
            WARNING,
            f"{overlap} annotators a task: Label Studio first serves tasks that others have begun, in random order, "
            "before it looks at our ranking",
            "set annotations per task to 1, or accept that only new tasks come in our order",
        )
    else:
        yield Finding("overlap", OK, "one annotator a task")
    if not found.get("show_collab_predictions", True):
        yield Finding(
            "suggestions",
            WARNING,
            "annotators are not shown predictions",
            "Settings > Annotation > Use predictions to prelabel tasks; or start the service, which sets it",
        )
    if found.get("evaluate_predictions_automatically"):
        yield Finding(
            "auto-predictions",
            WARNING,
            "opening the Data Manager asks for predictions of every task shown",
            "switch off 'retrieve predictions automatically'",
        )


def _version(found: Mapping[str, Any], queue: LabelStudioQueue, titles: list[str]) -> Iterator[Finding]:
    current = str(found.get("model_version") or "")
    rows = queue.versions().get(current, 0)
    if current and current in titles:
        yield Finding(
            "model-version",
            ERROR,
            f"the project's model version is the title of its ML backend, {current!r}: the order is random",
            "start the service, which publishes a generation; or choose a version in Settings > Predictions",
        )
    elif not current.startswith(OURS):
        state = f"is {current!r}, not ours" if current else "is not set"
        yield Finding(
            "model-version", WARNING, f"the model version {state}: the order is not ours yet", "start the service"
        )
    elif not rows:
        yield Finding(
            "model-version",
            ERROR,
            f"the generation in force, {current}, has no predictions left: the order is random",
            "start the service, which publishes a new one",
        )
    else:
        yield Finding("model-version", OK, f"generation {current} is in force with {rows} tasks")


def _import_path(found: Mapping[str, Any], queue: LabelStudioQueue) -> Iterator[Finding]:
    tasks = int(found.get("task_number") or 0)
    if queue.imports_in_batches():
        yield Finding("speed-flag", OK, "predictions are imported in batches")
    else:
        yield Finding(
            "speed-flag",
            WARNING if tasks >= LARGE else OK,
            f"every import of predictions recounts the whole project ({tasks} tasks), which is felt in reordering",
            "start Label Studio with fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short=true",
        )


def _backends(backends: list[Any], backend: BackendAddress | None) -> Iterator[Finding]:
    if backend is not None:
        here = [one for one in backends if one.url.rstrip("/") == backend.url.rstrip("/")]
        if not here:
            yield Finding(
                "ml-backend",
                ERROR,
                f"the project does not know the service at {backend.url}",
                "start it: nextlabel run",
            )
        elif here[0].state not in ("CO", None):
            yield Finding(
                "ml-backend",
                ERROR,
                f"Label Studio can't talk to {backend.url}: {str(here[0].error_message or here[0].state)[:200]}",
                "start the service; check that this address can be reached from Label Studio's machine",
            )
        else:
            yield Finding("ml-backend", OK, f"connected to {backend.url}")
    if strays := [one.url for one in backends if one.title == TITLE][1:]:
        yield Finding(
            "ml-backend-stray",
            WARNING,
            f"ML backends of earlier runs: {', '.join(strays)}; each is asked before a task opens",
            "start the service, which removes them",
        )


def _webhooks(webhooks: Webhooks, backends: list[Any], backend: BackendAddress | None) -> Iterator[Finding]:
    hooks = webhooks.hooks()
    urls = {f"{one.url.rstrip('/')}/webhook" for one in backends}
    if backend is not None:
        missing = [hook for hook in wanted_hooks(backend) if not any(matches(one, hook, backend) for one in hooks)]
        if missing:
            yield Finding(
                "webhook",
                ERROR,
                "labels are not announced to the service: its webhooks are missing, or carry another secret; until the "
                "next poll they go unseen",
                "start the service, which repairs them",
            )
        else:
            yield Finding("webhook", OK, "annotations are announced to the service")
        urls.add(f"{backend.url.rstrip('/')}/webhook")
    stray = [one.url for one in hooks if one.url not in urls and (ours(one, backend) or one.url.endswith("/webhook"))]
    if stray:
        yield Finding(
            "webhook-stray",
            WARNING,
            f"{len(stray)} webhooks of ML backends that are gone ({', '.join(sorted(set(stray)))}): each may hold up "
            "every submit for a second",
            "delete them in Settings > Webhooks",
        )
    doubled = len(hooks) - len({(one.url, tuple(sorted(one.actions or ())), one.send_for_all_actions) for one in hooks})
    if doubled:
        yield Finding(
            "webhook-doubled", WARNING, f"{doubled} webhooks are there twice", "start the service, or delete them"
        )


def _switches(client: Client, project: int, backend: BackendAddress) -> Iterator[Finding]:
    """Ask for things that are refused in any case; the reason tells whether the address alone would be."""
    probes = (
        ("ML_BLOCK_LOCAL_IP", "/api/ml", {"url": backend.url, "project": project, "auth_method": "none of these"}),
        (
            "SSRF_PROTECTION_ENABLED",
            "/api/webhooks/",
            {"url": f"{backend.url.rstrip('/')}/webhook", "project": project, "actions": ["none of these"]},
        ),
    )
    for switch, path, body in probes:
        try:
            client.request("POST", path, body=body)
        except PlatformError as refused:
            if "reserved network address" in refused.body:
                yield Finding(
                    "ssrf",
                    ERROR,
                    f"Label Studio does not talk to {backend.url}: it is a local or private address",
                    f"start Label Studio with {switch}=false",
                )
                continue
        yield Finding("ssrf", OK, f"{switch} does not stand in the way of {backend.url}")
