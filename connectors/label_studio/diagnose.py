"""What silently breaks the loop on Label Studio, looked for one by one. Changes nothing on the platform."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from nextlabel.connectors.base import BackendAddress, Finding, Severity
from nextlabel.connectors.basics import Json
from nextlabel.connectors.errors import LabelingMismatch, PlatformError
from nextlabel.connectors.label_studio.client import OURS, SAMPLING, TITLE, Client
from nextlabel.connectors.label_studio.config import read_config
from nextlabel.connectors.label_studio.queue import LabelStudioQueue
from nextlabel.connectors.label_studio.webhooks import Webhooks, hook_url, matches, ours, wanted_hooks

LARGE = 1000
"""Tasks from which the slow import of predictions is felt."""
CROWD = 5
"""Users from which SQLite's one writer is felt."""
CONNECTED = ("CO", None)
"""What Label Studio says of a backend that it reaches."""
LOOKS = 3
"""Times that it is asked: it gives the service a second to answer, and a busy machine may be late once."""


def findings(
    client: Client,
    project: int,
    queue: LabelStudioQueue,
    webhooks: Webhooks,
    backend: BackendAddress | None,
    question: str | None = None,
) -> Iterator[Finding]:
    """Every check in turn; without ``backend``, those of the way to the service are left out."""
    yield from _server(client)
    found: Json = client.get(f"/api/projects/{project}")
    yield from _labeling(found, question)
    yield from _settings(found)
    backends = _listed(webhooks, backend)
    yield from _version(found, queue, [one.title for one in backends])
    yield from _import_path(found, queue)
    yield from _backends(backends, backend)
    yield from _webhooks(webhooks, backends, backend)
    if backend is not None:
        yield from _switches(client, project, backend)


def _server(client: Client) -> Iterator[Finding]:
    answer = client.respond("GET", "/api/version", again=True)
    yield from client.server_findings(str(answer.json().get("release", "?")), answer)
    yield _token(client, str(client.get("/api/current-user/whoami").get("email")))
    people = client.call(lambda: client.sdk.users.list(), again=True)
    if "WSGIServer" in answer.headers.get("server", ""):
        crowded = len(people) > CROWD
        yield Finding(
            "database",
            Severity.WARNING if crowded else Severity.OK,
            f"Label Studio runs on its development server ({len(people)} users); on SQLite, its default, one write "
            "waits for the other, and an import that waits too long drops rows without saying so (we count them)",
            "for more than a handful of annotators run it on PostgreSQL, behind uwsgi" if crowded else "",
        )
    else:
        yield Finding.ok("database", "Label Studio runs behind a production server")


def _token(client: Client, email: str) -> Finding:
    expires = token_expiry(client._token)
    if expires is None:
        return Finding.ok("token", f"a legacy token of {email}; it works while the organisation allows such tokens")
    left = expires - datetime.now(UTC)
    if left < timedelta(days=14):
        return Finding.warning(
            "token", f"the personal access token of {email} expires in {left.days} days", "make a new one in time"
        )
    return Finding.ok("token", f"a personal access token of {email}, valid until {expires:%Y-%m-%d}")


def token_expiry(token: str) -> datetime | None:
    """When a personal access token expires; None for a legacy token, which doesn't."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _labeling(found: Json, question: str | None) -> Iterator[Finding]:
    try:
        form = read_config(found["label_config"], question)
    except LabelingMismatch as error:
        yield Finding.error("labeling", str(error), "change the labeling config, or use another project")
    else:
        labeling = form.labeling
        unread = f"; annotators see besides, and no model does: {'; '.join(form.unread)}" if form.unread else ""
        yield Finding.ok("labeling", f"{labeling.name!r}: {labeling.kind}, {len(labeling.labels)} labels{unread}")


def _settings(found: Json) -> Iterator[Finding]:
    if found["sampling"] != SAMPLING:
        yield Finding.error(
            "sampling",
            f"the project serves tasks by {found['sampling']!r}: our ranking is ignored",
            f"Settings > General > Task Sampling: {SAMPLING}; or start the service, which sets it",
        )
    else:
        yield Finding.ok("sampling", SAMPLING)
    overlap = int(found["maximum_annotations"])
    if overlap > 1:
        yield Finding.warning(
            "overlap",
            f"{overlap} annotators a task: Label Studio first serves tasks that others have begun, in random order, "
            "before it looks at our ranking",
            "set annotations per task to 1, or accept that only new tasks come in our order",
        )
    else:
        yield Finding.ok("overlap", "one annotator a task")
    if not found.get("show_collab_predictions", True):
        yield Finding.warning(
            "suggestions",
            "annotators are not shown predictions",
            "Settings > Annotation > Use predictions to prelabel tasks; or start the service, which sets it",
        )
    if found.get("evaluate_predictions_automatically"):
        yield Finding.warning(
            "auto-predictions",
            "opening the Data Manager asks for predictions of every task shown",
            "switch off 'retrieve predictions automatically'",
        )


def _version(found: Json, queue: LabelStudioQueue, titles: list[str]) -> Iterator[Finding]:
    current = str(found.get("model_version") or "")
    rows = queue.versions().get(current, 0)
    if current and current in titles:
        yield Finding.error(
            "model-version",
            f"the project's model version is the title of its ML backend, {current!r}: the order is random",
            "start the service, which publishes a generation; or choose a version in Settings > Predictions",
        )
    elif not current.startswith(OURS):
        state = f"is {current!r}, not ours" if current else "is not set"
        yield Finding.warning(
            "model-version", f"the model version {state}: the order is not ours yet", "start the service"
        )
    elif not rows:
        yield Finding.error(
            "model-version",
            f"the generation in force, {current}, has no predictions left: the order is random",
            "start the service, which publishes a new one",
        )
    else:
        yield Finding.ok("model-version", f"generation {current} is in force with {rows} tasks")


def _import_path(found: Json, queue: LabelStudioQueue) -> Iterator[Finding]:
    tasks = int(found.get("task_number") or 0)
    if queue.imports_in_batches():
        yield Finding.ok("speed-flag", "predictions are imported in batches")
    else:
        yield Finding(
            "speed-flag",
            Severity.WARNING if tasks >= LARGE else Severity.OK,
            f"every import of predictions recounts the whole project ({tasks} tasks), which is felt in reordering",
            "start Label Studio with fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short=true",
        )


def _listed(webhooks: Webhooks, backend: BackendAddress | None) -> list[Any]:
    """The project's backends. Label Studio tries to reach each whenever they are listed."""
    backends = webhooks.backends()
    for _ in range(LOOKS - 1):
        if backend is None or all(one.state in CONNECTED for one in backends if one.url.rstrip("/") == backend.url):
            break
        backends = webhooks.backends()
    return backends


def _backends(backends: list[Any], backend: BackendAddress | None) -> Iterator[Finding]:
    if backend is not None:
        here = [one for one in backends if one.url.rstrip("/") == backend.url]
        if not here:
            yield Finding.error(
                "ml-backend", f"the project does not know the service at {backend.url}", "start it: nextlabel run"
            )
        elif here[0].state not in CONNECTED:
            yield Finding.error(
                "ml-backend",
                f"Label Studio can't talk to {backend.url}: {str(here[0].error_message or here[0].state)[:200]}",
                "start the service; check that this address can be reached from Label Studio's machine",
            )
        else:
            yield Finding.ok("ml-backend", f"connected to {backend.url}")
    if strays := [one.url for one in backends if one.title == TITLE][1:]:
        yield Finding.warning(
            "ml-backend-stray",
            f"ML backends of earlier runs: {', '.join(strays)}; each is asked before a task opens",
            "start the service, which removes them",
        )


def _webhooks(webhooks: Webhooks, backends: list[Any], backend: BackendAddress | None) -> Iterator[Finding]:
    hooks = webhooks.hooks()
    urls = {hook_url(one) for one in backends}
    if backend is not None:
        missing = [hook for hook in wanted_hooks(backend) if not any(matches(one, hook, backend) for one in hooks)]
        if missing:
            yield Finding.error(
                "webhook",
                "labels are not announced to the service: its webhooks are missing, or carry another secret; until the "
                "next poll they go unseen",
                "start the service, which repairs them",
            )
        else:
            yield Finding.ok("webhook", "annotations are announced to the service")
        urls.add(hook_url(backend))
    stray = [one.url for one in hooks if one.url not in urls and (ours(one, backend) or one.url.endswith("/webhook"))]
    if stray:
        yield Finding.warning(
            "webhook-stray",
            f"{len(stray)} webhooks of ML backends that are gone ({', '.join(sorted(set(stray)))}): each may hold up "
            "every submit for a second",
            "delete them in Settings > Webhooks",
        )
    doubled = len(hooks) - len({(one.url, tuple(sorted(one.actions or ())), one.send_for_all_actions) for one in hooks})
    if doubled:
        yield Finding.warning(
            "webhook-doubled", f"{doubled} webhooks are there twice", "start the service, or delete them"
        )


def _switches(client: Client, project: int, backend: BackendAddress) -> Iterator[Finding]:
    """Ask for things that are refused in any case; the reason tells whether the address alone would be."""
    probes = (
        ("ML_BLOCK_LOCAL_IP", "/api/ml", {"url": backend.url, "project": project, "auth_method": "none of these"}),
        (
            "SSRF_PROTECTION_ENABLED",
            "/api/webhooks/",
            {"url": hook_url(backend), "project": project, "actions": ["none of these"]},
        ),
    )
    for switch, path, body in probes:
        try:
            client.request("POST", path, body=body)
        except PlatformError as refused:
            if "reserved network address" in refused.body:
                yield Finding.error(
                    "ssrf",
                    f"Label Studio does not talk to {backend.url}: it is a local or private address",
                    f"start Label Studio with {switch}=false",
                )
                continue
        yield Finding.ok("ssrf", f"{switch} does not stand in the way of {backend.url}")
