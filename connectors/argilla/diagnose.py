"""What silently breaks the loop on Argilla, looked for one by one. Changes nothing on the platform.

Of webhooks: whether ours is there, whether it gets through, and what others cost. Of the server's worker: what it has
still to deliver, and what it has given up, read from the server's Redis.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import httpx

from nextlabel.connectors.argilla import config
from nextlabel.connectors.argilla.client import Client, min_submitted, overlap_of
from nextlabel.connectors.argilla.lanes import Person
from nextlabel.connectors.argilla.rows import Rows
from nextlabel.connectors.argilla.webhooks import Webhooks, hook_url, is_right, same_address
from nextlabel.connectors.base import BackendAddress, Finding
from nextlabel.connectors.basics import Json
from nextlabel.connectors.certificates import trusted
from nextlabel.connectors.errors import LabelingMismatch, MissingExtra, PlatformUnavailable

if TYPE_CHECKING:
    from redis import Redis

ANSWER_S = 5
"""Seconds that the service has to answer us."""
PING_S = 30
"""Argilla gives a ping 20 seconds."""
MOST = 10
"""The most webhooks that Argilla takes."""
NAMED = 3
"""Ids that a finding lists."""
QUEUE = "high"
JOB = "argilla_server.jobs.webhook_jobs.notify_event_job"
LONG = 100
"""Waiting deliveries from which answers are felt to arrive late: a worker does a few of them in a second."""
REDIS_S = 5


def findings(
    client: Client,
    dataset_id: str,
    webhooks: Webhooks,
    backend: BackendAddress | None,
    question: str | None = None,
    apart: str = "",
) -> Iterator[Finding]:
    """Every check in turn; without ``backend``, those of the way to the service are left out.

    ``apart``: of the question that is asked, see Form.
    """
    answer = client.respond("GET", "/api/v1/version", again=True)
    yield from client.server_findings(str(answer.json().get("version", "?")), answer)
    me = client.get("/api/v1/me")
    yield _key(me)
    yield _sdk()
    path = f"/api/v1/datasets/{dataset_id}"
    dataset = client.get(path)
    yield from _labeling(client, path, dataset, question)
    users = client.items(f"/api/v1/workspaces/{dataset['workspace_id']}/users")
    people = [
        Person(one, name, apart) for one, name in {str(one["id"]): str(one["username"]) for one in (me, *users)}.items()
    ]
    yield from _people(dataset, users, people)
    properties = client.items(f"/api/v1/me/datasets/{dataset_id}/metadata-properties")
    yield from _lanes(dataset, {one["name"] for one in properties}, people)
    yield from _hooks(client, webhooks, backend, me["role"] == "owner")
    yield from _records(client, dataset_id)
    if client.items(f"{path}/vectors-settings"):
        yield Finding.ok(
            "vectors",
            "the dataset has vectors: Argilla 2.8 answers 500 when one of its records is asked for by its id, as "
            "webhook listeners of the SDK do; nextlabel doesn't mind",
        )


def _key(me: Mapping[str, Any]) -> Finding:
    name, role = me["username"], me["role"]
    if role == "owner":
        return Finding.ok("token", f"the key of {name}, an owner")
    if role == "admin":
        return Finding.warning(
            "token",
            f"the key is that of {name}, an admin: webhooks are for owners, so answers are found by polling only",
            "use the API key of an owner",
        )
    return Finding.error(
        "token",
        f"the key is that of {name}, an {role}, who may not change records: no queue can be written",
        "use the API key of an owner, or of an admin of the workspace",
    )


def _sdk() -> Finding:
    if find_spec("argilla") and not find_spec("requests"):
        return Finding.warning(
            "sdk",
            "`import argilla` fails here: the SDK needs requests without saying so (nextlabel itself needs neither)",
            "pip install requests",
        )
    return Finding.ok("sdk", "Argilla's SDK can be imported, or is not there and not needed")


def _labeling(client: Client, path: str, dataset: Json, question: str | None) -> Iterator[Finding]:
    if dataset["status"] != "ready":
        yield Finding.error(
            "published", "the dataset is a draft: annotators don't see it", "publish it in its settings"
        )
    questions = client.items(f"{path}/questions")
    try:
        form = config.read(client.items(f"{path}/fields"), questions, question)
    except LabelingMismatch as error:
        yield Finding.error("labeling", str(error), "change the dataset's questions, or name another in the recipe")
        return
    yield Finding.ok("labeling", f"{form.labeling.kind} over {', '.join(form.labeling.labels)}")
    others = [one["name"] for one in questions if one["required"] and one["name"] != form.question]
    if others:
        yield Finding.ok(
            "other-questions",
            f"annotators must answer {', '.join(others)} too, which nextlabel neither suggests nor learns",
        )


def _people(dataset: Json, users: Sequence[Json], people: Sequence[Person]) -> Iterator[Finding]:
    if users:
        yield Finding.ok("people", f"{len(users)} users in the workspace")
    else:
        yield Finding.warning(
            "people",
            "the workspace has no users: nobody but owners sees the dataset",
            "add annotators to the workspace",
        )
    needed, overlap = min_submitted(dataset), overlap_of(dataset)
    if needed > len(people):
        yield Finding.warning(
            "overlap",
            f"a record is done after {needed} answers, and only {len(people)} users can give one: none will be done",
            f"add {needed - len(people)} annotators to the workspace",
        )
    elif overlap > 1:
        yield Finding.warning(
            "overlap",
            f"each record is shown until {overlap} annotators have answered it: as many answers buy fewer records",
            "for more records, set the minimum of submitted responses to 1 (Argilla allows it while nobody answered)",
        )
    elif needed > 1:
        yield Finding.ok(
            "overlap",
            f"one answer per record; up to {needed} for those that are asked again. Records with enough answers stay "
            "in the queue, behind all others",
        )
    else:
        yield Finding.ok("overlap", "a record is done after one answer; none can be asked again")


def _lanes(dataset: Json, properties: set[str], people: Sequence[Person]) -> Iterator[Finding]:
    lost = [person.name for person in people if person.lane not in properties]
    if lost:
        yield Finding.error(
            "queue",
            f"no queue of their own yet: {', '.join(lost)}; their records come in Argilla's order, which is random",
            "start the service, or wait until it has seen them: nextlabel run",
        )
    else:
        yield Finding.ok("queue", f"each of {len(people)} users has a queue")
    guidelines = dataset.get("guidelines") or ""
    unlinked = [person.name for person in people if f"sort=metadata.{person.lane}." not in guidelines]
    if unlinked:
        yield Finding.warning(
            "links",
            f"the guidelines lack the link to the queue of {', '.join(unlinked)}: without it Argilla's order is random",
            "start the service, which writes them, or hand them out: nextlabel status shows them",
        )
    else:
        yield Finding.ok("links", "everybody's link is in the guidelines")


def _records(client: Client, dataset_id: str) -> Iterator[Finding]:
    total, poisoned = 0, []
    for item in Rows(client, dataset_id).walk(include=("responses",)):
        total += 1
        poisoned += [one["id"] for one in item.get("responses") or () if one["values"] is None]
    found = int(client.get(f"/api/v1/datasets/{dataset_id}/progress")["total"])  # in the search index
    if found < total:
        yield Finding.error(
            "index",
            f"the search engine lacks {total - found} of {total} records: no annotator sees them",
            f"on Argilla's machine: python -m argilla_server search-engine reindex --dataset-id {dataset_id}",
        )
    else:
        yield Finding.ok("index", f"annotators can see all {total} records")
    if poisoned:
        yield Finding.error(
            "poisoned",
            f"{len(poisoned)} responses were discarded without values ({', '.join(poisoned[:NAMED])}): Argilla 2.8 "
            "fails on whatever changes their records",
            f"for each: curl -X PUT {client.url}/api/v1/responses/ID -H 'X-Argilla-Api-Key: KEY' "
            """-H 'Content-Type: application/json' -d '{"status": "discarded", "values": {}}'""",
        )
    else:
        yield Finding.ok("poisoned", "no response makes Argilla fail")


# -- webhooks --------------------------------------------------------------------------------------------------------


def _hooks(client: Client, webhooks: Webhooks, backend: BackendAddress | None, owner: bool) -> Iterator[Finding]:
    """What the webhooks of the server do for us, and to us. ``owner``: whether we may look."""
    if not owner:
        yield Finding.warning(
            "webhook", "webhooks can't be looked at with this key: they are for owners", "use the API key of an owner"
        )
        return
    hooks = webhooks.hooks()
    yield from _strays(webhooks, hooks, backend)
    yield _storm(hooks)
    if backend is not None:
        yield from _ours(client, hooks, backend)


def _ours(client: Client, hooks: Sequence[Json], backend: BackendAddress) -> Iterator[Finding]:
    url = hook_url(backend)
    here = [hook for hook in hooks if same_address(hook["url"], url)]
    if not here:
        full = f"; the server has {len(hooks)} webhooks and takes no more" if len(hooks) >= MOST else ""
        yield Finding.error(
            "webhook",
            f"Argilla announces no answers to {url}; until the next poll they go unseen{full}",
            "delete some webhooks, then start the service" if full else "start the service, which hooks itself up",
        )
        return
    hook = here[0]
    if is_right(hook):
        yield Finding.ok("webhook", "answers are announced to the service")
    else:
        state = "is disabled" if not hook["enabled"] else f"hears of {', '.join(hook['events'])}"
        yield Finding.error("webhook", f"the webhook to {url} {state}", "start the service, which repairs it")
    yield _delivery(client, hook)


def _delivery(client: Client, hook: Json) -> Finding:
    """Try the way from here and from there. From here first: a ping that hangs stops the whole server meanwhile."""
    code, url = "webhook-delivery", hook["url"]
    try:
        status = _signed_ping(hook)
    except httpx.TimeoutException:
        return Finding.error(
            code,
            f"{url} does not answer within {ANSWER_S} seconds",
            "start the service; check that nothing else has its address",
        )
    except httpx.HTTPError:
        status = None  # the address may be one that only Argilla's machine knows
    try:
        client.request("POST", f"/api/v1/webhooks/{hook['id']}/ping", timeout=PING_S)
    except PlatformUnavailable as error:
        return Finding.error(
            code,
            f"Argilla can't reach {url}: {error}",
            "start the service; NEXTLABEL_PUBLIC_URL must be an address that Argilla's machine reaches",
        )
    if status == 401:
        return Finding.error(
            code,
            f"what answers at {url} refuses Argilla's signature",
            "start the service with this Argilla's address and an owner's key; check the clocks",
        )
    if status is not None and status != 200:
        return Finding.error(code, f"what answers at {url} says {status}", "start the service for this dataset there")
    return Finding.ok(code, f"Argilla reaches {url}")


def _signed_ping(hook: Json) -> int:
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
    return httpx.post(hook["url"], content=body, headers=headers, timeout=ANSWER_S, verify=trusted()).status_code


def _strays(webhooks: Webhooks, hooks: Sequence[Json], backend: BackendAddress | None) -> Iterator[Finding]:
    url = hook_url(backend) if backend else None
    elsewhere = [hook for hook in hooks if url and webhooks.mine(hook) and not same_address(hook["url"], url)]
    strays = elsewhere + [hook for hook in hooks if webhooks.orphaned(hook)]
    if strays:
        yield Finding.warning(
            "webhook-stray",
            f"webhooks of earlier runs: {', '.join(hook['url'] for hook in strays)}; the worker tries each answer "
            "there four times",
            "start the service, which removes them",
        )


def _storm(hooks: Sequence[Json]) -> Finding:
    hearing = [hook for hook in hooks if any(event.startswith("record.") for event in hook["events"])]
    loud = [hook["url"] for hook in hearing if hook["enabled"]]
    if not loud:
        return Finding.ok("webhook-storm", "no webhook asks for events of records")
    return Finding.warning(
        "webhook-storm",
        f"webhooks ask for events of records ({', '.join(loud)}): each queue that we write makes one for every record "
        "that changed, and answers wait behind them",
        "take record.updated out of their events, or give the worker more processes",
    )


# -- the worker ------------------------------------------------------------------------------------------------------


def diagnose_jobs(redis_url: str) -> Iterator[Finding]:
    """Whether a worker runs, and whether deliveries pile up or were given up. Raises MissingExtra.

    A delivery is a job of RQ in the queue "high". One that fails is tried again after 10, 60 and 180 seconds and then
    kept for a year among the failed ones.
    """
    try:
        from redis import Redis, RedisError
    except ImportError:
        raise MissingExtra("redis", "argilla") from None
    try:
        with Redis.from_url(
            redis_url, socket_connect_timeout=REDIS_S, socket_timeout=REDIS_S, decode_responses=True
        ) as redis:
            yield _worker(redis)
            yield from _jobs(redis)
    except (RedisError, ValueError) as error:  # ValueError: no address of a Redis
        yield Finding.warning(
            "redis",
            f"the Redis of Argilla can't be read: {type(error).__name__}",  # its words may hold the password
            "set NEXTLABEL_ARGILLA_REDIS_URL to what the Argilla server has as ARGILLA_REDIS_URL",
        )


def _worker(redis: Redis) -> Finding:
    listed = cast(set[str], redis.smembers(f"rq:workers:{QUEUE}"))
    workers = cast(int, redis.exists(*listed)) if listed else 0  # one that was killed stays listed, without a heartbeat
    if workers:
        return Finding.ok("worker", f"{workers} workers deliver events")
    return Finding.error(
        "worker", "no worker of Argilla runs: no event is delivered", "start it: python -m argilla_server worker"
    )


def _jobs(redis: Redis) -> Iterator[Finding]:
    waiting = cast(int, redis.llen(f"rq:queue:{QUEUE}"))
    if waiting >= LONG:
        yield Finding.warning(
            "worker-busy",
            f"{waiting} deliveries wait for the worker: answers arrive late",
            "see whether a webhook asks for record.* events; start more workers",
        )
    else:
        yield Finding.ok("worker-busy", f"{waiting} deliveries wait for the worker")
    failed = cast(list[str], redis.zrange(f"rq:failed:{QUEUE}", 0, -1))
    lost = sum((redis.hget(f"rq:job:{job}", "description") or "").startswith(JOB) for job in failed)
    if lost:
        yield Finding.warning(
            "lost-events",
            f"deliveries that the worker has given up: {lost}; nextlabel finds by polling what they told, others don't",
            "deliver them now, on Argilla's machine, once the receivers are up: "
            f'rq requeue --queue {QUEUE} --all --url "$ARGILLA_REDIS_URL"',
        )
    else:
        yield Finding.ok("lost-events", "no delivery was given up")
