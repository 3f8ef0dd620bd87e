"""Answers that people gave elsewhere, put on records as theirs; and accounts for those who have none.

Argilla takes responses of any user with a record, and replaces what that user had answered there: so what is there is
looked at just before. It tells nobody by webhook, and moves no date, so what it has then is read back at once.
When an answer was given it doesn't let anybody say.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import structlog

from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.argilla.config import QUESTIONS, Form
from nextlabel.connectors.argilla.rows import Rows
from nextlabel.connectors.basics import Json, batched
from nextlabel.connectors.bulk import Narrowing
from nextlabel.connectors.errors import ConnectorError, LabelingMismatch, PlatformError
from nextlabel.connectors.records import AnnotationStatus, Changes, GivenAnswer, as_text, check_labels

log = structlog.get_logger(__name__)

BATCH = 250
"""Answers in one request at most."""
GONE = "the record was deleted"


def give(
    rows: Rows,
    form: Form,
    look: Callable[[Collection[str]], Changes],
    answers: Sequence[GivenAnswer],
    given: Callable[[Changes], object],
) -> dict[str, str]:
    """See :meth:`~nextlabel.connectors.base.Connector.give`. ``look`` reads all that was answered to some records."""
    refused: dict[str, str] = {}
    narrowing = Narrowing()
    for batch in batched(answers, BATCH):
        items = rows.fetch(list({one.remote_id for one in batch}), ("responses",))
        wanted: dict[str, list[GivenAnswer]] = defaultdict(list)
        bodies: dict[str, Json] = {}
        for one in batch:
            item = items.get(one.remote_id)
            if item is None:
                if rows.is_gone(one.remote_id):  # what was pushed just now, the search may lack: that is asked again
                    refused[one.key] = GONE
            elif one.annotator not in {str(had["user_id"]) for had in item["responses"] or ()}:
                try:
                    response = write_response(form, one, item["fields"])
                except LabelingMismatch as error:
                    refused[one.key] = str(error)
                    continue
                wanted[one.remote_id].append(one)
                bodies.setdefault(one.remote_id, {"id": one.remote_id, "responses": []})["responses"].append(response)
        narrowing.send(bodies, lambda part: rows.upsert(list(part.values())))
        for record, why in narrowing.refused.items():
            refused |= {one.key: why for one in wanted.get(record, ())}
        given(look(items.keys()))
    if narrowing.gave_up:
        raise PlatformError(
            f"Argilla takes hardly any of these answers: {next(iter(narrowing.refused.values()))}", status=422
        )
    return refused


def write_response(form: Form, one: GivenAnswer, fields: Mapping[str, Any]) -> Json:
    """An answer as Argilla takes it with the record. Raises LabelingMismatch where it has no way to keep it."""
    if one.status is AnnotationStatus.SKIPPED:
        return {"user_id": one.annotator, "values": {}, "status": "discarded"}
    check_labels(form.labeling, one.value)
    if parents := [part for part in one.value if part in form.labeling.tree.parents]:
        raise LabelingMismatch(
            f"{parents[0]!r} is a parent of labels, and options stand side by side on Argilla: give one of its labels"
        )
    asked = QUESTIONS[form.labeling.kind]
    written = asked.write(form, one.value, (), 1.0)
    if written is None:
        raise LabelingMismatch(
            f"{form.question!r} takes no empty answer on Argilla; give it an option none_of_these, which stands for it"
        )
    value = asked.placed({"value": written[0], "score": None}, as_text(fields.get(form.target)))["value"]
    if form.target and len(value) < len(one.value):
        raise LabelingMismatch(
            "Argilla can't keep all of its spans: they overlap where the question forbids it, or stand near the end of "
            "a text with emoji"
        )
    return {"user_id": one.annotator, "values": {form.question: {"value": value}}, "status": "submitted"}


def accounts(client: Client) -> dict[str, str]:
    """Id -> name of every user of the server; empty where the key is no owner's."""
    try:
        return {str(user["id"]): str(user["username"]) for user in client.items("/api/v1/users")}
    except ConnectorError as error:
        log.info("only an owner's key sees all users; those of the workspace are known", reason=str(error))
        return {}


def make_accounts(client: Client, names: Collection[str], known: Mapping[str, str]) -> dict[str, str]:
    """Name -> id of an account. ``known``: name -> id of those that are there.

    They are in no workspace: who is in it gets a share of the queue, and these people may be gone.
    """
    made: dict[str, str] = {}
    for name in names:
        if name in known:
            made[name] = known[name]
            continue
        body = {"username": name, "first_name": name, "role": "annotator", "password": secrets.token_urlsafe(24)}
        try:
            made[name] = str(client.request("POST", "/api/v1/users", body=body)["id"])
        except ConnectorError as error:
            raise PlatformError(
                f"Argilla makes no account for {name!r} ({error}): use an owner's key, or say which account is theirs "
                f"with --as '{name}=USERNAME'",
                status=getattr(error, "status", 0) or 0,
            ) from None
        log.info("account made", name=name, id=made[name])
    return made
