"""Records of one dataset: reading and updating them in bulk, and pushing so that none is lost, doubled, or touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import structlog

from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.payloads import read_record, write_record
from nextlabel.connectors.base import Progress
from nextlabel.connectors.basics import Json, batched, weighed
from nextlabel.connectors.bulk import Narrowing, rejected
from nextlabel.connectors.errors import PlatformError, PlatformUnavailable, RecordsRejected
from nextlabel.connectors.http import IMPORT_TIMEOUT_S, prepared
from nextlabel.connectors.records import Record, RemoteRecord

log = structlog.get_logger(__name__)

BATCH = 500
"""The most records that Argilla takes at once."""
PAGE = 1000
"""The most records that Argilla lists at once."""
SMALL_PAGE = 100
"""Records in the first page for whoever wants the newest only."""
PAGE_BYTES = 32 * 2**20
"""JSON an answer, about: records may hold images as data."""
TERMS = 250
"""The most values that a filter may have."""
BATCH_BYTES = 16 * 2**20
"""JSON a request; images may come as data."""
LOOK_UP = 500
"""Up to so many uids are looked up by name; more are found by listing the dataset once."""


class Rows:
    """The records of one dataset."""

    def __init__(self, client: Client, dataset_id: str) -> None:
        self._client = client
        self._path = f"/api/v1/datasets/{dataset_id}"
        self._weight = PAGE_BYTES / 100  # bytes per record, of what was read last; the first page is short

    def now(self) -> datetime:
        """The server's time."""
        return self._client.now()

    def room(self, limit: int) -> int:
        """How many records to ask for at once, ``limit`` at most."""
        return max(1, min(limit, int(PAGE_BYTES / self._weight)))

    def properties(self) -> dict[str, str]:
        """Metadata that the dataset has a type for: name -> "terms", "integer" or "float"."""
        found = self._client.items(self._path.replace("/v1/", "/v1/me/", 1) + "/metadata-properties")
        return {one["name"]: one["settings"]["type"] for one in found}

    def total(self) -> int:
        """How many records the database has."""
        return int(self._page(0, 1, ())["total"])

    def answered(self) -> int:
        """How many records the search finds that somebody has submitted an answer to."""
        submitted = {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["submitted"]}
        return int(self._search([submitted], (), 1, 0, ())["total"])

    def records(self, form: Form, *, newest_first: bool = False) -> Iterator[RemoteRecord]:
        """Every record, in the order in which they were created, or the other way round."""
        for item in self._walk_back() if newest_first else self.walk():
            yield read_record(form, item)

    def _walk_back(self) -> Iterator[Json]:
        """From the record created last to the first, in a small page and then in large ones."""
        end, size = self.total(), SMALL_PAGE
        while end > 0:
            start = max(0, end - size)
            yield from reversed(self._page(start, end - start, ())["items"])
            end, size = start, self.room(PAGE)

    def walk(self, include: Sequence[str] = ()) -> Iterator[Json]:
        """Every record in the database once.

        Pages are counted, so records deleted meanwhile could hide others: then the list is walked once more.
        """
        seen: set[str] = set()
        for _ in range(3):
            start, total = 0, 1
            while start < total:
                size = self.room(PAGE)
                page = self._page(start, size, include)
                total = page["total"]
                for item in page["items"]:
                    if item["id"] not in seen:
                        seen.add(item["id"])
                        yield item
                start += size
            if len(seen) >= total:
                return

    def newest(self) -> tuple[int, str, str]:
        """How many records the search finds, and the time and id of the newest; empty if there is none."""
        order = {"scope": {"entity": "record", "property": "inserted_at"}, "order": "desc"}
        found = self._search((), [order], 1, 0, ())
        last = found["items"][0]["record"] if found["items"] else {"inserted_at": "", "id": ""}
        return int(found["total"]), str(last["inserted_at"]), str(last["id"])

    def named(self, uids: Sequence[str]) -> dict[str, str]:
        """External id -> record id of those of ``uids`` that the search finds."""
        chunks = batched(uids, TERMS)
        found = (item for chunk in chunks for item in self.search([_in("external_id", chunk)], limit=TERMS))
        return {item["external_id"]: str(item["id"]) for item in found}

    def fetch(self, ids: Sequence[str], include: Sequence[str] = ("responses", "suggestions")) -> dict[str, Json]:
        """Record id -> record of those of ``ids`` that are there."""
        found: dict[str, Json] = {}
        left = list(dict.fromkeys(ids))
        while left:
            chunk, left = left[: (size := self.room(TERMS))], left[size:]
            for item in self.search([_in("id", chunk)], limit=size, include=include):
                found[str(item["id"])] = item
        return found

    def search(
        self,
        filters: Sequence[Json] = (),
        sort: Sequence[Json] = (),
        *,
        limit: int,
        offset: int = 0,
        include: Sequence[str] = (),
    ) -> list[Json]:
        """The records that fulfil all ``filters``, in the order of ``sort``, ``limit`` (1 to 1000) from ``offset``."""
        return [item["record"] for item in self._search(filters, sort, limit, offset, include)["items"]]

    def missing(self, records: Iterable[str]) -> tuple[str, ...]:
        """Those of these records that are gone: the search lacks them, and each is not in the database either."""
        doubted: list[str] = []
        for chunk in batched(dict.fromkeys(records), TERMS):
            if self._search([_in("id", chunk)], (), 1, 0, ())["total"] < len(chunk):
                here = self.fetch(chunk, include=())
                doubted += [record for record in chunk if record not in here]
        return tuple(record for record in doubted if self.is_gone(record))

    def is_gone(self, record: str) -> bool:
        """Whether the database, asked for exactly this record, has none; False where it can't be told."""
        try:
            self._client.request("GET", f"/api/v1/records/{quote(record, safe='')}")
        except PlatformError as error:
            return error.status == 404
        except PlatformUnavailable as error:
            log.debug("a record could not be looked up, it counts as there", record=record, reason=str(error))
        return False

    # -- write -------------------------------------------------------------------------------------------------------

    def create(self, items: Sequence[Json]) -> dict[str, str]:
        """External id -> record id of up to 500 new records, created all or none.

        Raises PlatformError if Argilla refuses one of them, or has one with the same external id; RecordsRejected if
        it stored fewer and did not say so.
        """
        body = {"items": list(items)}
        answer = self._client.request("POST", f"{self._path}/records/bulk", body=body, timeout=IMPORT_TIMEOUT_S)
        found = {item["external_id"]: str(item["id"]) for item in answer["items"]}
        if found.keys() != {item["external_id"] for item in items}:
            raise RecordsRejected(
                f"Argilla stored {len(found)} of {len(items)} records and said nothing",
                sent=len(items),
                stored=len(found),
            )
        return found

    def upsert(self, items: Sequence[Json]) -> None:
        """Change up to 500 records, all or none: each item has an ``id`` and what is to be replaced.

        Never send back fields or responses that were read: people may have changed them meanwhile. Raises PlatformError
        if Argilla refuses one of them, RecordsRejected if it took fewer and did not say so.
        """
        body = {"items": list(items)}
        answer = self._client.request(
            "PUT", f"{self._path}/records/bulk", body=body, again=True, timeout=IMPORT_TIMEOUT_S
        )
        if (stored := len(answer["items"])) != len(items):
            raise RecordsRejected(
                f"Argilla took {stored} of {len(items)} records and said nothing", sent=len(items), stored=stored
            )

    def delete_suggestions(self, remote_id: str, ids: Sequence[str]) -> None:
        """Take suggestions away from a record. Those that are gone already are no failure."""
        path = f"/api/v1/records/{remote_id}/suggestions"
        self._client.request("DELETE", path, params={"ids": ",".join(ids)}, again=True)

    def _page(self, offset: int, limit: int, include: Sequence[str]) -> Any:
        params = {"offset": offset, "limit": limit, **_included(include)}
        return self._read("GET", f"{self._path}/records", params, None)

    def _search(
        self, filters: Sequence[Json], sort: Sequence[Json], limit: int, offset: int, include: Sequence[str]
    ) -> Any:
        body: Json = {}
        if filters:
            body["filters"] = {"and": list(filters)}
        if sort:
            body["sort"] = list(sort)
        params = {"offset": offset, "limit": limit, **_included(include)}
        return self._read("POST", f"{self._path}/records/search", params, body)

    def _read(self, method: str, path: str, params: Json, body: Json | None) -> Any:
        answer = self._client.respond(method, path, params=params, body=body, again=True)
        found = answer.json()
        if found["items"]:
            self._weight = len(answer.content) / len(found["items"])
        return found


def _in(what: str, values: Iterable[str]) -> Json:
    return {"type": "terms", "scope": {"entity": "record", "property": what}, "values": list(values)}


def _included(include: Sequence[str]) -> Mapping[str, str]:
    return {"include": ",".join(include)} if include else {}


# -- push ------------------------------------------------------------------------------------------------------------


class Push:
    """One push into one dataset. ``created`` are the ids of the records that it made, also if it fails."""

    def __init__(self, rows: Rows, form: Form) -> None:
        self.created: list[str] = []
        self._rows = rows
        self._form = form
        self._found: dict[str, str] = {}  # uid -> record id of those that are there

    def push(self, records: Sequence[Record], progress: Progress) -> dict[str, str]:
        """uid -> record id of each of ``records``, created where they were missing.

        What is there already is left alone. Raises RecordsRejected: before anything is sent if one uid stands for two
        different records; at the end, with all others stored, if Argilla refuses some.
        """
        write = partial(write_record, self._form, properties=self._rows.properties())
        wanted, refused = prepared(records, write)
        self._found = self._existing(list(wanted))
        progress(len(self._found), len(wanted))
        narrowing = Narrowing()
        new = [(uid, item) for uid, item in wanted.items() if uid not in self._found]
        for batch in weighed(new, _bytes, BATCH_BYTES, BATCH):
            narrowing.send(dict(batch), self._create)
            progress(len(self._found), len(wanted))
        refused |= narrowing.refused
        if refused or len(self._found) < len(wanted):
            raise rejected(refused, self._found, len(wanted.keys() | refused.keys()))
        return {uid: self._found[uid] for uid in wanted}

    def _existing(self, uids: Sequence[str]) -> dict[str, str]:
        """uid -> record id of those that are there."""
        if not uids or self._rows.total() == 0:
            return {}
        return self._rows.named(uids) if len(uids) <= LOOK_UP else self._listed(uids)

    def _listed(self, uids: Iterable[str]) -> dict[str, str]:
        wanted = set(uids)
        return {item["external_id"]: str(item["id"]) for item in self._rows.walk() if item["external_id"] in wanted}

    def _create(self, batch: Mapping[str, Json]) -> None:
        """Create one batch. Raises PlatformError if Argilla refuses a record of it; then none of it is stored."""
        try:
            made = self._rows.create(list(batch.values()))
        except PlatformUnavailable as error:
            log.warning("push in doubt, looking what arrived", records=len(batch), reason=str(error))
            made = self._create_missing(batch)
        except PlatformError as error:
            if "same external id" not in error.body:
                raise
            made = self._create_missing(batch)
        self.created += made.values()
        self._found |= made

    def _create_missing(self, batch: Mapping[str, Json]) -> dict[str, str]:
        found = self._listed(batch)
        if found:
            self._rows.upsert([{"id": record} for record in found.values()])  # the search index may lack them
        missing = [item for uid, item in batch.items() if uid not in found]
        return found | self._rows.create(missing) if missing else found


def _bytes(item: tuple[str, Json]) -> int:
    return sum(4 * len(text) for text in item[1]["fields"].values())
