"""The doctor's look at the webhooks of an Argilla server: is ours there, does it get through, what do others cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.argilla.webhooks import Webhooks, hook_url, is_right, same_address
from nextlabel.connectors.base import BackendAddress, Finding, Severity
from nextlabel.connectors.errors import PlatformUnavailable

OK, WARNING, ERROR = Severity.OK, Severity.WARNING, Severity.ERROR

ANSWER_S = 5
"""Seconds that the service has to answer us."""
PING_S = 30
"""Argilla gives a ping 20 seconds."""
MOST = 10
"""The most webhooks that Argilla takes."""


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
