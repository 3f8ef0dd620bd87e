"""What silently breaks the loop on Argilla, looked for one by one. Changes nothing on the platform."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from nextlabel.connectors.argilla import config
from nextlabel.connectors.argilla import dataset as datasets
from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.argilla.diagnose_hooks import diagnose_hooks
from nextlabel.connectors.argilla.people import Person
from nextlabel.connectors.argilla.rows import Rows
from nextlabel.connectors.argilla.webhooks import Webhooks
from nextlabel.connectors.base import BackendAddress, Finding, Severity
from nextlabel.connectors.diagnosis import examine, server_findings
from nextlabel.connectors.errors import LabelingMismatch

TRIED = (2, 8)
"""The oldest Argilla that this was tried with."""
NAMED = 3
"""Ids that a finding lists."""
OK, WARNING, ERROR = Severity.OK, Severity.WARNING, Severity.ERROR

Json = dict[str, Any]


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
