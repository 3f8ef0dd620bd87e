"""Pushing records so that none is lost, none doubled, and none touched that is there already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import structlog

from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.payloads import write_record
from nextlabel.connectors.argilla.rows import BATCH, Rows
from nextlabel.connectors.base import Progress
from nextlabel.connectors.batches import weighed
from nextlabel.connectors.errors import LabelingMismatch, PlatformError, PlatformUnavailable, RecordsRejected
from nextlabel.connectors.http import dump
from nextlabel.connectors.records import Record

log = structlog.get_logger(__name__)

Json = dict[str, Any]

BATCH_BYTES = 16 * 2**20
"""JSON a request; images may come as data."""
LOOK_UP = 500
"""Up to so many uids are looked up by name; more are found by listing the dataset once."""
REFUSALS = 50
"""Refused records after which a push gives up: something is wrong with all of them."""
NAMED = 5
"""Refused records that an error names."""


class Push:
    """One push into one dataset. ``created`` are the ids of the records that it made, also if it fails."""

    def __init__(self, rows: Rows, form: Form) -> None:
        self.created: list[str] = []
        self._rows = rows
        self._form = form
        self._refused: dict[str, str] = {}  # uid -> why

    def push(self, records: Sequence[Record], progress: Progress) -> dict[str, str]:
        """uid -> record id of each of ``records``, created where they were missing.

        What is there already is left alone. Raises RecordsRejected: before anything is sent if one uid stands for two
        different records; at the end, with all others stored, if Argilla refuses some.
        """
        wanted = self._prepared(records)
        found = self._existing(list(wanted))
        progress(len(found), len(wanted))
        new = [item for uid, item in wanted.items() if uid not in found]
        for batch in weighed(new, _bytes, BATCH_BYTES, BATCH):
            made = self._create(batch)
            self.created += made.values()
            found |= made
            progress(len(found), len(wanted))
            if len(self._refused) >= REFUSALS:
                break
        missing = len(wanted.keys() - found.keys() - self._refused.keys())
        if self._refused or missing:
            named = "; ".join(f"{uid!r}: {why}" for uid, why in islice(self._refused.items(), NAMED))
            rest = f"then {missing} were not tried" if missing else "all others are stored"
            raise RecordsRejected(
                f"{len(self._refused)} of {len(records)} records can't be stored, {rest}. {named}",
                sent=len(records),
                stored=len(found),
            )
        return {uid: found[uid] for uid in wanted}

    def _prepared(self, records: Sequence[Record]) -> dict[str, Json]:
        """uid -> what to create; what can't be sent is noted as refused."""
        wanted: dict[str, Json] = {}
        seen: dict[str, Record] = {}
        for record in records:
            if not record.uid or seen.setdefault(record.uid, record) != record:
                raise RecordsRejected(
                    f"the uid {record.uid!r} is empty or stands for two different records; nothing was pushed",
                    sent=len(records),
                    stored=0,
                )
            try:
                item = write_record(self._form, record)
                dump(item)
            except LabelingMismatch as error:
                self._refused[record.uid] = str(error)
            except (UnicodeEncodeError, TypeError, ValueError) as error:
                self._refused[record.uid] = f"it can't be sent as JSON: {error}"
            else:
                wanted[record.uid] = item
        return wanted

    def _existing(self, uids: Sequence[str]) -> dict[str, str]:
        """uid -> record id of those that are there."""
        if not uids or self._rows.total() == 0:
            return {}
        return self._rows.named(uids) if len(uids) <= LOOK_UP else self._listed(uids)

    def _listed(self, uids: Iterable[str]) -> dict[str, str]:
        wanted = set(uids)
        return {item["external_id"]: str(item["id"]) for item in self._rows.walk() if item["external_id"] in wanted}

    def _create(self, batch: Sequence[Json]) -> dict[str, str]:
        """Create one batch; what Argilla refuses is narrowed down to single records, and noted."""
        try:
            return self._rows.create(batch)
        except PlatformUnavailable as error:
            log.warning("push in doubt, looking what arrived", records=len(batch), reason=str(error))
        except PlatformError as error:
            if "same external id" not in error.body:
                return self._create_halves(batch, error.body)
        found = self._listed(item["external_id"] for item in batch)
        self._rows.upsert([{"id": record} for record in found.values()])  # the search index may lack them
        missing = [item for item in batch if item["external_id"] not in found]
        return found | self._rows.create(missing) if missing else found

    def _create_halves(self, batch: Sequence[Json], why: str) -> dict[str, str]:
        if len(batch) == 1:
            self._refused[batch[0]["external_id"]] = why
            return {}
        found: dict[str, str] = {}
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            if len(self._refused) < REFUSALS:
                found |= self._create(half)
        return found


def _bytes(item: Json) -> int:
    return sum(4 * len(text) for text in item["fields"].values())
