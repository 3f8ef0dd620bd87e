"""What we have put into a dataset, taken out again. Answers stay, and so does whatever others put there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nextlabel.connectors.argilla.client import Client, min_submitted
from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.payloads import can_be_stored, is_lane, is_ours
from nextlabel.connectors.argilla.rows import BATCH, Rows
from nextlabel.connectors.argilla.webhooks import Webhooks
from nextlabel.connectors.base import Progress
from nextlabel.connectors.basics import Json, batched
from nextlabel.connectors.bulk import Narrowing
from nextlabel.connectors.errors import PlatformError, Unauthorized


class Traces:
    """What there is of ours in one dataset, for one question."""

    def __init__(self, client: Client, dataset_id: str, form: Form, rows: Rows) -> None:
        self._client, self._form, self._rows = client, form, rows
        self._path = f"/api/v1/datasets/{dataset_id}"

    def remove(self, webhooks: Webhooks, before: Mapping[str, Any], progress: Progress) -> list[str]:
        """Take everything out; return what was done. See :meth:`~nextlabel.connectors.base.Connector.detach`."""
        done = [self._webhook(webhooks), *self._records(progress)]
        webhooks.guidelines({})
        lanes = self._rows.drop_properties(self._is_mine)
        done += ["links removed from the guidelines", f"{lanes} metadata properties removed"]
        return [*done, *self._settings(before)]

    def _webhook(self, webhooks: Webhooks) -> str:
        try:
            return f"{webhooks.disconnect()} webhooks removed"
        except Unauthorized:
            return "webhooks can't be looked at with this key: an owner's removes ours, if there is one"

    def _records(self, progress: Progress) -> Iterator[str]:
        """Remove our suggestions and places. What has neither is left alone, and so is what Argilla can't store."""
        total, suggestions, narrowing = self._rows.total(), 0, Narrowing()
        places: dict[str, Json] = {}
        for number, row in enumerate(self._rows.walk(("suggestions", "responses")), 1):
            mine = [one["id"] for one in row["suggestions"] or () if self._is_suggestion(one)]
            if mine:
                self._rows.delete_suggestions(row["id"], mine)
                suggestions += len(mine)
            metadata = row["metadata"] or {}
            kept = {name: value for name, value in metadata.items() if not self._is_mine(name)}
            if kept != metadata and can_be_stored(row):
                places[row["id"]] = {"id": row["id"], "metadata": kept}
            progress(number, total)
        for batch in batched(places.items(), BATCH):
            narrowing.send(dict(batch), lambda part: self._rows.upsert(list(part.values())))
        yield f"{suggestions:,} suggestions removed"
        yield f"places in queues removed from {len(places) - len(narrowing.refused):,} records"
        if narrowing.refused:
            record, why = next(iter(narrowing.refused.items()))
            yield f"{len(narrowing.refused):,} records stay as they are, for instance {record}: {why}"

    def _settings(self, before: Mapping[str, Any]) -> Iterator[str]:
        most = before.get("min_submitted")
        if most in (None, min_submitted(self._client.get(self._path))):
            return
        body = {"distribution": {"strategy": "overlap", "min_submitted": most}}
        try:
            self._client.request("PATCH", self._path, body=body, again=True)
            yield f"the minimum of submitted responses is {most} again"
        except PlatformError as error:
            yield f"the minimum of submitted responses, which was {most}, stays: {error.body or error}"

    def _is_mine(self, name: str) -> bool:
        """Whether this metadata is a place in a queue of this question."""
        return is_lane(name, self._form.apart)

    def _is_suggestion(self, one: Mapping[str, Any]) -> bool:
        return str(one["question_id"]) == self._form.question_id and is_ours(one)
