"""What silently breaks the loop on Argilla, looked for one by one. Changes nothing on the platform.

Of webhooks: whether ours is there, whether it gets through, and what others cost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import httpx

from nextlabel.connectors.argilla import config
from nextlabel.connectors.argilla import dataset as datasets
from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.argilla.people import Person
from nextlabel.connectors.argilla.rows import Rows
from nextlabel.connectors.argilla.webhooks import Webhooks, hook_url, is_right, same_address
from nextlabel.connectors.base import BackendAddress, Finding, Severity
from nextlabel.connectors.diagnosis import examine, server_findings
from nextlabel.connectors.errors import LabelingMismatch, PlatformUnavailable

OK, WARNING, ERROR = Severity.OK, Severity.WARNING, Severity.ERROR
ANSWER_S = 5
"""Seconds that the service has to answer us."""
PING_S = 30
"""Argilla gives a ping 20 seconds."""
MOST = 10
"""The most webhooks that Argilla takes."""
TRIED = (2, 8)
"""The oldest Argilla that this was tried with."""
NAMED = 3
"""Ids that a finding lists."""
Json = dict[str, Any]


def diagnose_hooks(
    client: Client, webhooks: Webhooks, backend: BackendAddress | None, owner: bool
) -> Iterator[Finding]:
    """What the webhooks of the server do for us, and to us. ``owner``: whether we may look."""
    if not owner:
        yield Finding(
            "webhook",
            WARNING,
            "webhooks can't be looked at with this key: they are for owners",
            "use the API key of an owner",
        )
        return
    hooks = webhooks.hooks()
    yield from _strays(webhooks, hooks, backend)
    yield _storm(hooks)
    if backend is not None:
        yield from _ours(client, hooks, backend)


def _ours(client: Client, hooks: Sequence[dict[str, Any]], backend: BackendAddress) -> Iterator[Finding]:
    url = hook_url(backend)
    here = [hook for hook in hooks if same_address(hook["url"], url)]
    if not here:
        full = f"; the server has {len(hooks)} webhooks and takes no more" if len(hooks) >= MOST else ""
        yield Finding(
            "webhook",
            ERROR,
            f"Argilla announces no answers to {url}; until the next poll they go unseen{full}",
            "delete some webhooks, then start the service" if full else "start the service, which hooks itself up",
        )
        return
    hook = here[0]
    if is_right(hook):
        yield Finding("webhook", OK, "answers are announced to the service")
    else:
        state = "is disabled" if not hook["enabled"] else f"hears of {', '.join(hook['events'])}"
        yield Finding("webhook", ERROR, f"the webhook to {url} {state}", "start the service, which repairs it")
    yield _delivery(client, hook)


def _delivery(client: Client, hook: dict[str, Any]) -> Finding:
    """Try the way from here and from there. From here first: a ping that hangs stops the whole server meanwhile."""
    code, url = "webhook-delivery", hook["url"]
    try:
        status = _signed_ping(hook)
    except httpx.TimeoutException:
        return Finding(
            code,
            ERROR,
            f"{url} does not answer within {ANSWER_S} seconds",
            "start the service; check that nothing else has its address",
        )
    except httpx.HTTPError:
        status = None  # the address may be one that only Argilla's machine knows
    try:
        client.request("POST", f"/api/v1/webhooks/{hook['id']}/ping", timeout=PING_S)
    except PlatformUnavailable as error:
        return Finding(
            code,
            ERROR,
            f"Argilla can't reach {url}: {error}",
            "start the service; NEXTLABEL_PUBLIC_URL must be an address that Argilla's machine reaches",
        )
    if status == 401:
        return Finding(
            code,
            ERROR,
            f"what answers at {url} refuses Argilla's signature",
            "start the service with this Argilla's address and an owner's key; check the clocks",
        )
    if status is not None and status != 200:
        return Finding(code, ERROR, f"what answers at {url} says {status}", "start the service for this dataset there")
    return Finding(code, OK, f"Argilla reaches {url}")


def _signed_ping(hook: dict[str, Any]) -> int:
    """The status of the service's answer to a ping that is signed as Argilla's are."""
    from standardwebhooks import Webhook

    now = datetime.now(UTC)
    body = json.dumps({"type": "ping", "version": 1, "timestamp": now.isoformat(), "data": {"agent": "nextlabel"}})
    headers = {
        "Content-Type": "application/json",
        "webhook-id": "msg_nextlabel_doctor",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(hook["secret"]).sign("msg_nextlabel_doctor", now, body),
    }
    return httpx.post(hook["url"], content=body, headers=headers, timeout=ANSWER_S).status_code


def _strays(webhooks: Webhooks, hooks: Sequence[dict[str, Any]], backend: BackendAddress | None) -> Iterator[Finding]:
    url = hook_url(backend) if backend else None
    elsewhere = [hook for hook in hooks if url and webhooks.mine(hook) and not same_address(hook["url"], url)]
    strays = elsewhere + [hook for hook in hooks if webhooks.orphaned(hook)]
    if strays:
        yield Finding(
            "webhook-stray",
            WARNING,
            f"webhooks of earlier runs: {', '.join(hook['url'] for hook in strays)}; the worker tries each answer "
            "there four times",
            "start the service, which removes them",
        )


def _storm(hooks: Sequence[dict[str, Any]]) -> Finding:
    loud = [hook["url"] for hook in hooks if hook["enabled"] and _hears_records(hook)]
    if not loud:
        return Finding("webhook-storm", OK, "no webhook asks for events of records")
    return Finding(
        "webhook-storm",
        WARNING,
        f"webhooks ask for events of records ({', '.join(loud)}): each queue that we write makes one for every record "
        "that changed, and answers wait behind them",
        "take record.updated out of their events, or give the worker more processes",
    )


def _hears_records(hook: dict[str, Any]) -> bool:
    return any(event.startswith("record.") for event in hook["events"])


def diagnose(
    client: Client, dataset_id: str, webhooks: Webhooks, backend: BackendAddress | None, control: str | None = None
) -> Iterator[Finding]:
    """Every check in turn. ``backend`` is where the service is, or should be; without it, its checks are left out.

    A server that can't be reached, or that refuses the key, is the last finding: the rest could not be looked at.
    """
    found = _everything(client, dataset_id, webhooks, backend, control)
    return examine(
        client, found, ("ARGILLA_API_URL", "ARGILLA_API_KEY"), "an owner, or of an admin who is in the workspace"
    )


def _everything(
    client: Client, dataset_id: str, webhooks: Webhooks, backend: BackendAddress | None, control: str | None
) -> Iterator[Finding]:
    answer = client.respond("GET", "/api/v1/version", again=True)
    yield from server_findings(client, str(answer.json().get("version", "?")), TRIED, answer)
    me = client.request("GET", "/api/v1/me", again=True)
    yield _key(me)
    yield _sdk()
    path = f"/api/v1/datasets/{dataset_id}"
    dataset = client.request("GET", path, again=True)
    yield from _labeling(client, path, dataset, control)
    users = client.request("GET", f"/api/v1/workspaces/{dataset['workspace_id']}/users", again=True)["items"]
    people = list({str(one["id"]): Person(str(one["id"]), str(one["username"])) for one in (me, *users)}.values())
    yield from _people(dataset, users, people)
    properties = client.request("GET", f"/api/v1/me/datasets/{dataset_id}/metadata-properties", again=True)["items"]
    yield from _lanes(dataset, {one["name"] for one in properties}, people)
    yield from diagnose_hooks(client, webhooks, backend, me["role"] == "owner")
    yield from _records(client, dataset_id)
    vectors = client.request("GET", f"{path}/vectors-settings", again=True)["items"]
    if vectors:
        yield Finding(
            "vectors",
            OK,
            "the dataset has vectors: Argilla 2.8 answers 500 when one of its records is asked for by its id, as "
            "webhook listeners of the SDK do; nextlabel doesn't mind",
        )


def _key(me: Mapping[str, Any]) -> Finding:
    name, role = me["username"], me["role"]
    if role == "owner":
        return Finding("token", OK, f"the key of {name}, an owner")
    if role == "admin":
        return Finding(
            "token",
            WARNING,
            f"the key is that of {name}, an admin: webhooks are for owners, so answers are found by polling only",
            "use the API key of an owner",
        )
    return Finding(
        "token",
        ERROR,
        f"the key is that of {name}, an {role}, who may not change records: no queue can be written",
        "use the API key of an owner, or of an admin of the workspace",
    )


def _sdk() -> Finding:
    if find_spec("argilla") and not find_spec("requests"):
        return Finding(
            "sdk",
            WARNING,
            "`import argilla` fails here: the SDK needs requests without saying so (nextlabel itself needs neither)",
            "pip install requests",
        )
    return Finding("sdk", OK, "Argilla's SDK can be imported, or is not there and not needed")


def _labeling(client: Client, path: str, dataset: Json, control: str | None) -> Iterator[Finding]:
    if dataset["status"] != "ready":
        yield Finding(
            "published", ERROR, "the dataset is a draft: annotators don't see it", "publish it in its settings"
        )
    fields = client.request("GET", f"{path}/fields", again=True)["items"]
    questions = client.request("GET", f"{path}/questions", again=True)["items"]
    try:
        form = config.read(fields, questions, control)
    except LabelingMismatch as error:
        yield Finding("labeling", ERROR, str(error), "change the dataset's questions, or name another in the recipe")
        return
    yield Finding("labeling", OK, f"{form.labeling.kind} over {', '.join(form.labeling.labels)}")
    others = [one["name"] for one in questions if one["required"] and one["name"] != form.question]
    if others:
        yield Finding(
            "other-questions",
            OK,
            f"annotators must answer {', '.join(others)} too, which nextlabel neither suggests nor learns",
        )


def _people(dataset: Json, users: Sequence[Json], people: Sequence[Person]) -> Iterator[Finding]:
    if users:
        yield Finding("people", OK, f"{len(users)} users in the workspace")
    else:
        yield Finding(
            "people",
            WARNING,
            "the workspace has no users: nobody but owners sees the dataset",
            "add annotators to the workspace",
        )
    needed, overlap = datasets.min_submitted(dataset), datasets.overlap(dataset)
    if needed > len(people):
        yield Finding(
            "overlap",
            WARNING,
            f"a record is done after {needed} answers, and only {len(people)} users can give one: none will be done",
            f"add {needed - len(people)} annotators to the workspace",
        )
    elif overlap > 1:
        yield Finding(
            "overlap",
            WARNING,
            f"each record is shown until {overlap} annotators have answered it: as many answers buy fewer records",
            "for more records, set the minimum of submitted responses to 1 (Argilla allows it while nobody answered)",
        )
    elif needed > 1:
        yield Finding(
            "overlap",
            OK,
            f"one answer per record; up to {needed} for those that are asked again. Records with enough answers stay "
            "in the queue, behind all others",
        )
    else:
        yield Finding("overlap", OK, "a record is done after one answer; none can be asked again")


def _lanes(dataset: Json, properties: set[str], people: Sequence[Person]) -> Iterator[Finding]:
    lost = [person.name for person in people if person.lane not in properties]
    if lost:
        yield Finding(
            "queue",
            ERROR,
            f"no queue of their own yet: {', '.join(lost)}; their records come in Argilla's order, which is random",
            "start the service, or wait until it has seen them: nextlabel run",
        )
    else:
        yield Finding("queue", OK, f"each of {len(people)} users has a queue")
    guidelines = dataset.get("guidelines") or ""
    unlinked = [person.name for person in people if f"sort=metadata.{person.lane}." not in guidelines]
    if unlinked:
        yield Finding(
            "links",
            WARNING,
            f"the guidelines lack the link to the queue of {', '.join(unlinked)}: without it Argilla's order is random",
            "start the service, which writes them, or hand them out: nextlabel status shows them",
        )
    else:
        yield Finding("links", OK, "everybody's link is in the guidelines")


def _records(client: Client, dataset_id: str) -> Iterator[Finding]:
    rows = Rows(client, dataset_id)
    total, poisoned = 0, []
    for item in rows.walk(include=("responses",)):
        total += 1
        poisoned += [one["id"] for one in item.get("responses") or () if one["values"] is None]
    found = int(rows.count()["total"])
    if found < total:
        yield Finding(
            "index",
            ERROR,
            f"the search engine lacks {total - found} of {total} records: no annotator sees them",
            f"on Argilla's machine: python -m argilla_server search-engine reindex --dataset-id {dataset_id}",
        )
    else:
        yield Finding("index", OK, f"annotators can see all {total} records")
    if poisoned:
        yield Finding(
            "poisoned",
            ERROR,
            f"{len(poisoned)} responses were discarded without values ({', '.join(poisoned[:NAMED])}): Argilla 2.8 "
            "fails on whatever changes their records",
            f"for each: curl -X PUT {client.url}/api/v1/responses/ID -H 'X-Argilla-Api-Key: KEY' "
            """-H 'Content-Type: application/json' -d '{"status": "discarded", "values": {}}'""",
        )
    else:
        yield Finding("poisoned", OK, "no response makes Argilla fail")
