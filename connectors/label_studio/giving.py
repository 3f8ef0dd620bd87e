"""Answers that people gave elsewhere, put on tasks as theirs; and accounts for those who have none.

Label Studio lets its API say who completed an annotation, and takes one ``unique_id`` once: sent again, after a lost
reply or by two processes, it answers 409 and has one. When an answer was given it doesn't let anybody say.
"""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from nextlabel.connectors.basics import Json, batched
from nextlabel.connectors.bulk import REFUSING
from nextlabel.connectors.errors import LabelingMismatch, PlatformError
from nextlabel.connectors.label_studio.client import Client
from nextlabel.connectors.label_studio.config import Form
from nextlabel.connectors.label_studio.listing import is_in
from nextlabel.connectors.label_studio.payloads import read_annotations, read_found, write_result
from nextlabel.connectors.label_studio.tasks import Tasks
from nextlabel.connectors.records import AnnotationStatus, Changes, Found, GivenAnswer, sorted_out

log = structlog.get_logger(__name__)

BATCH = 100
"""Answers between two looks at what the tasks have already; all of them are told together."""
SENDERS = 2
"""Requests at once: more only wait for each other, as each writes."""
NAMESPACE = uuid.UUID("6f0a4d52-3c0b-5f0e-9d61-7b1c8c5f2a10")
"""Of the unique ids that our keys become."""
NO_MAIL = "nextlabel.invalid"
"""Where people have their address who are known by a name alone; no mail goes there."""
LISTED = "id,annotations,completed_by,result,was_cancelled,ground_truth,updated_at"
GONE = "the task was deleted"


def give(
    client: Client, tasks: Tasks, form: Form, answers: Sequence[GivenAnswer], given: Callable[[Changes], object]
) -> dict[str, str]:
    """See :meth:`~nextlabel.connectors.base.Connector.give`."""
    refused: dict[str, str] = {}
    with ThreadPoolExecutor(SENDERS, thread_name_prefix="given") as senders:
        for batch in batched(answers, BATCH):
            there = _there(tasks, form, {one.remote_id for one in batch})
            found: list[Found] = []
            missing: list[GivenAnswer] = []
            for one in batch:
                if one.remote_id not in there:
                    refused[one.key] = GONE
                elif (had := there[one.remote_id].get(one.annotator)) is not None:
                    found.append(had)
                else:
                    missing.append(one)
            for one, result in zip(missing, senders.map(lambda one: _post(client, form, one), missing), strict=True):
                if isinstance(result, str):
                    refused[one.key] = result
                else:
                    found.append(result)
            readable, unreadable = sorted_out(found)
            given(Changes(readable, unreadable=unreadable))
    return refused


def embedded(form: Form, answers: Sequence[GivenAnswer]) -> list[Json]:
    """Answers as they may be imported with their task: a hundred times as fast as one by one.

    Without those that can't be written; they are refused when they are given.
    """
    found: list[Json] = []
    for one in answers:
        try:
            result = _result(form, one)
        except LabelingMismatch:
            continue
        # What is imported is taken for the truth, unless it says otherwise.
        by = {"completed_by": int(one.annotator), "ground_truth": False}
        found.append({**by, "result": result, "was_cancelled": one.status is AnnotationStatus.SKIPPED})
    return found


def _result(form: Form, one: GivenAnswer) -> list[Json]:
    """The regions of an answer. Raises LabelingMismatch where the project has no way to keep it."""
    parents = [part for part in one.value if part in form.labeling.tree.parents]
    if parents and not form.asks.keeps_parents:
        raise LabelingMismatch(
            f"{parents[0]!r} is a parent of labels, and {form.control!r} lists labels side by side: give one of its "
            "labels, or ask with nested Choices or a Taxonomy"
        )
    return write_result(form, one.value)


def _there(tasks: Tasks, form: Form, ids: Collection[str]) -> dict[str, dict[str, Found]]:
    """Task -> annotator -> what they answered, of those of these tasks that are there. A skip comes after an answer."""
    listed = tasks.list([is_in("id", sorted(map(int, ids)))], LISTED, fields="all")
    there: dict[str, dict[str, Found]] = {}
    for task in listed:
        here = there.setdefault(str(task["id"]), {})
        for one in read_annotations(form, task):
            here.setdefault(one.annotator, one)
    return there


def _post(client: Client, form: Form, one: GivenAnswer) -> Found | str:
    """The annotation, as it is there now; or why Label Studio does not take it. Raises ConnectorError."""
    try:
        result = _result(form, one)
    except LabelingMismatch as error:
        return str(error)
    body: Json = {
        "result": result,
        "completed_by": int(one.annotator),
        "was_cancelled": one.status is AnnotationStatus.SKIPPED,
        "unique_id": str(uuid.uuid5(NAMESPACE, one.key)),
    }
    path = f"/api/tasks/{one.remote_id}/annotations/"
    try:
        made = client.request("POST", path, body=body, again=True)
    except PlatformError as error:
        if error.status == 409:  # an earlier request got there, whose answer was lost
            return _posted(client, form, one)
        if error.status == 404:
            return GONE
        if error.status not in REFUSING:
            raise
        return error.body or str(error)
    return read_found(form, made, one.remote_id)


def _posted(client: Client, form: Form, one: GivenAnswer) -> Found | str:
    """What this annotator has on the task: it was sent before. Deleted since, if it is not there."""
    task = client.find(f"/api/tasks/{one.remote_id}/", {"resolve_uri": "false"})
    found = [had for had in read_annotations(form, task or {}) if had.annotator == one.annotator]
    return found[0] if found else "it was on the platform once, and was deleted there"


def make_accounts(client: Client, names: Collection[str], known: Mapping[str, str]) -> dict[str, str]:
    """Name -> id of an account. ``known``: email -> id of those that are there."""
    made: dict[str, str] = {}
    for name in names:
        email = name if "@" in name else f"{_local(name)}@{NO_MAIL}"
        if email.lower() in known:
            made[name] = known[email.lower()]
            continue
        # What is sent as a password is kept as it is, and so opens nothing: it has to be set anew.
        body = {"email": email, "username": email, "first_name": name[:100], "password": secrets.token_urlsafe(24)}
        try:
            made[name] = str(client.request("POST", "/api/users/", body=body)["id"])
        except PlatformError as error:
            raise PlatformError(
                f"Label Studio makes no account for {name!r} ({error.body}): invite them, and say which account is "
                f"theirs with --as '{name}=EMAIL'",
                status=error.status,
                body=error.body,
            ) from None
        log.info("account made", name=name, email=email, id=made[name])
    return made


def _local(name: str) -> str:
    """``name`` as the part of an email address before the @; another name gives another one."""
    plain = re.sub("[^a-z0-9_.]+", "-", name.lower()).strip("-.")
    return plain if plain == name.lower() else f"{plain or 'annotator'}-{uuid.uuid5(NAMESPACE, name).hex[:6]}"
