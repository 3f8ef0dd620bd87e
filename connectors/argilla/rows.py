"""Records of one dataset: reading and updating them in bulk, and pushing so that none is lost, doubled, or touched.

Argilla takes half a character (what is left of an emoji that was cut in two) in metadata, and from then on refuses
whatever would show it. Such a record is left out, and costs no other; Argilla tells nobody its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TypeAlias
from urllib.parse import quote

import structlog

from nextlabel.connectors.answers import mapping
from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.payloads import can_be_stored, read_record, write_record
from nextlabel.connectors.base import Progress
from nextlabel.connectors.basics import Json, batched, weighed
from nextlabel.connectors.bulk import Narrowing, read_apart, rejected
from nextlabel.connectors.errors import PlatformError, PlatformUnavailable, RecordsRejected
from nextlabel.connectors.http import IMPORT_TIMEOUT_S, prepared
from nextlabel.connectors.image_addresses import ImageAddresses, image_fields
from nextlabel.connectors.records import Record, RemoteRecord, as_text

log = structlog.get_logger(__name__)

Page: TypeAlias = tuple[list[Json], int]
"""Records, and how many there are in all."""

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
TURNED = 50
"""Records that are read at a time to be changed: people wait for no more than a second."""
BATCH_BYTES = 16 * 2**20
"""JSON a request; images may come as data."""
HALF_A_CHARACTER = "surrogates not allowed"
"""What Argilla says of a page with a record that it can't show."""
LOOK_UP = 500
"""Up to so many uids are looked up by name; more are found by listing the dataset once."""


class Rows:
    """The records of one dataset.

    ``unshown``: of those that were asked for by their ids, which can't be shown, and why. ``hidden``: the same of
    those that were listed, by their places: 0 for the record created first.
    """

    def __init__(self, client: Client, dataset_id: str) -> None:
        self._client = client
        self._path = f"/api/v1/datasets/{dataset_id}"
        self.unshown: dict[str, str] = {}
        self.hidden: Mapping[int, str] = {}
        self._weight = PAGE_BYTES / 100  # bytes per record, of what was read last; the first page is short

    def now(self) -> datetime:
        """The server's time."""
        return self._client.now()

    def room(self, limit: int) -> int:
        """How many records to ask for at once, ``limit`` at most."""
        return max(1, min(limit, int(PAGE_BYTES / self._weight)))

    def properties(self) -> dict[str, str]:
        """Metadata that the dataset has a type for: name -> "terms", "integer" or "float"."""
        return {one["name"]: one["settings"]["type"] for one in self._properties()}

    def drop_properties(self, which: Callable[[str], bool]) -> int:
        """Remove the metadata properties whose names are ``which``; how many. Values that records have stay there."""
        gone = [one["id"] for one in self._properties() if which(one["name"])]
        for one in gone:
            self._client.request("DELETE", f"/api/v1/metadata-properties/{one}")
        return len(gone)

    def _properties(self) -> list[Json]:
        return self._client.items(self._path.replace("/v1/", "/v1/me/", 1) + "/metadata-properties")

    def total(self) -> int:
        """How many records the database has."""
        return self._page(0, 1, ())[1]

    def listed(self) -> int:
        """How many records the search finds: as :meth:`total`, without reading one, which may hold an image."""
        return int(self._client.get(f"{self._path}/progress")["total"])

    def answered(self) -> int:
        """How many records the search finds that somebody has submitted an answer to."""
        submitted = {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["submitted"]}
        return self._search([submitted], (), 1, 0, ())[1]

    def records(self, form: Form, *, newest_first: bool = False) -> Iterator[RemoteRecord]:
        """Every record, in the order in which they were created, or the other way round."""
        for item in self._walk_back() if newest_first else self.walk():
            yield read_record(form, item)

    def read_again(self, form: Form) -> Iterator[RemoteRecord]:
        """What can be shown by now where records were hidden."""
        for place in sorted(self.hidden):
            yield from (read_record(form, item) for item in self._page(place, 1, ())[0])

    def image_addresses(self, form: Form, most: int) -> list[str]:
        """What the newest ``most`` records have for images."""
        names = image_fields(form.labeling)
        items = islice(self._walk_back(), most) if names else ()
        return [text for item in items for name in names if (text := as_text(mapping(item.get("fields")).get(name)))]

    def turn_images(self, form: Form, images: ImageAddresses, progress: Progress) -> int:
        """Give every record the addresses that ``images`` has for its images; how many had others.

        Fields can only be replaced all together, so they are read right before: what somebody corrects meanwhile stays.
        """
        names, turned, start, total = image_fields(form.labeling), 0, 0, 1
        while names and start < total:
            page, total = self._page(start, TURNED, ("responses",))
            changed: list[Json] = []
            for item in page:
                held = mapping(item.get("fields"))
                found = {name: text for name in names if isinstance(text := held.get(name), str) and text}
                wanted = {name: images.shown(images.known(text)) for name, text in found.items()}
                if wanted != found and can_be_stored(item):
                    changed.append({"id": item["id"], "fields": {**held, **wanted}})
            for chunk in weighed(changed, lambda item: _bytes(("", item)), BATCH_BYTES):
                self.upsert(chunk)
            turned, start = turned + len(changed), start + TURNED
            progress(min(start, total), total)
        return turned

    def _walk_back(self) -> Iterator[Json]:
        """From the record created last to the first, in a small page and then in large ones."""
        end, size = self.total(), SMALL_PAGE
        while end > 0:
            start = max(0, end - size)
            yield from reversed(self._page(start, end - start, ())[0])
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
                page, total = self._page(start, size, include)
                for item in page:
                    if item["id"] not in seen:
                        seen.add(item["id"])
                        yield item
                start += size
            if len(seen) + len(self.hidden) >= total:
                return

    def written(self, since: datetime) -> Iterator[Json]:
        """Records that were made or written to since then, by the search; the latest first, some perhaps twice.

        What is written to meanwhile comes to the front of the list, so it makes a later page skip none.
        """
        when = {"entity": "record", "property": "updated_at"}
        moment = since.astimezone(UTC).replace(tzinfo=None).isoformat()
        return self.search_all([{"type": "range", "scope": when, "ge": moment}], [{"scope": when, "order": "desc"}])

    def placed(self, lane: str, limit: int) -> list[str]:
        """Ids of ``limit`` records with a number in this lane, as far as the search finds them."""
        scope = {"entity": "metadata", "metadata_property": lane}
        return [str(item["id"]) for item in self.search([{"type": "range", "scope": scope, "ge": 0}], limit=limit)]

    def named(self, uids: Sequence[str]) -> dict[str, str]:
        """External id -> record id of those of ``uids`` that the search finds."""
        chunks = batched(uids, TERMS)
        found = (item for chunk in chunks for item in self.search([_in("external_id", chunk)], limit=TERMS))
        return {item["external_id"]: str(item["id"]) for item in found}

    def fetch(self, ids: Sequence[str], include: Sequence[str] = ("responses", "suggestions")) -> dict[str, Json]:
        """Record id -> record of those of ``ids`` that are there and can be shown."""
        found: dict[str, Json] = {}

        def read(part: Sequence[str]) -> Sequence[Json | None]:
            return self._searched([_in("id", part)], (), len(part), 0, include)[0]

        def lost(record: str, error: Exception) -> None:
            self.unshown[record] = str(error)

        left = list(dict.fromkeys(ids))
        while left:
            chunk, left = left[: (size := self.room(TERMS))], left[size:]
            for record in chunk:
                self.unshown.pop(record, None)
            shown = read_apart(chunk, read, lost, _holds_half_a_character)
            found |= {str(item["id"]): item for item in shown if item is not None}
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
        return self._search(filters, sort, limit, offset, include)[0]

    def search_all(self, filters: Sequence[Json], sort: Sequence[Json], include: Sequence[str] = ()) -> Iterator[Json]:
        """All records that :meth:`search` finds, page by page: it may miss some while others come and go."""
        start, total = 0, 1
        while start < total:
            size = self.room(PAGE)
            page, total = self._search(filters, sort, size, start, include)
            yield from page
            start += size

    def missing(self, records: Iterable[str]) -> tuple[str, ...]:
        """Those of these records that are gone: the search lacks them, and each is not in the database either."""
        doubted: list[str] = []
        for chunk in batched(dict.fromkeys(records), TERMS):
            if self._search([_in("id", chunk)], (), 1, 0, ())[1] < len(chunk):
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

    def _page(self, offset: int, limit: int, include: Sequence[str]) -> Page:
        def read(start: int, size: int) -> Page:
            params = {"offset": start, "limit": size, **_included(include)}
            return self._read("GET", f"{self._path}/records", params, None)

        items, total, lost = _shown(read, offset, limit)
        elsewhere = {
            place: why
            for place, why in self.hidden.items()
            if place < total and place not in range(offset, offset + limit)
        }
        self.hidden = elsewhere | lost
        return items, total

    def _search(
        self, filters: Sequence[Json], sort: Sequence[Json], limit: int, offset: int, include: Sequence[str]
    ) -> Page:
        items, total, _ = _shown(lambda start, size: self._searched(filters, sort, size, start, include), offset, limit)
        return items, total

    def _searched(
        self, filters: Sequence[Json], sort: Sequence[Json], limit: int, offset: int, include: Sequence[str]
    ) -> Page:
        body: Json = {}
        if filters:
            body["filters"] = {"and": list(filters)}
        if sort:
            body["sort"] = list(sort)
        params = {"offset": offset, "limit": limit, **_included(include)}
        found, total = self._read("POST", f"{self._path}/records/search", params, body)
        return [item["record"] for item in found], total

    def _read(self, method: str, path: str, params: Json, body: Json | None) -> Page:
        answer = self._client.respond(method, path, params=params, body=body, again=True)
        found = answer.json()
        if found["items"]:
            self._weight = len(answer.content) / len(found["items"])
        return found["items"], int(found["total"])


def _shown(read: Callable[[int, int], Page], offset: int, limit: int) -> tuple[list[Json], int, dict[int, str]]:
    """The records in ``limit`` places from ``offset`` on that can be shown, how many there are in all places.

    And place -> why, of those that can't be shown. ``read`` is given a place and how many to read from there.
    """
    totals: list[int] = []
    lost: dict[int, str] = {}

    def part(places: Sequence[int]) -> Sequence[Json | None]:
        items, total = read(places[0], len(places))
        totals.append(total)
        return items

    def lose(place: int, error: Exception) -> None:
        lost[place] = str(error)

    end = offset + limit
    items = read_apart(range(offset, end), part, lose, _holds_half_a_character)
    while not totals:  # none of these can be shown: the next one that can be, or the end, comes with the total
        read_apart(range(end, end + 1), part, lose, _holds_half_a_character)
        end += 1
    return [item for item in items if item is not None], totals[-1], lost


def _holds_half_a_character(error: PlatformError | PlatformUnavailable) -> bool:
    return isinstance(error, PlatformError) and HALF_A_CHARACTER in error.body


def _in(what: str, values: Iterable[str]) -> Json:
    return {"type": "terms", "scope": {"entity": "record", "property": what}, "values": list(values)}


def _included(include: Sequence[str]) -> Mapping[str, str]:
    return {"include": ",".join(include)} if include else {}


# -- push ------------------------------------------------------------------------------------------------------------


class Push:
    """One push into one dataset."""

    def __init__(self, rows: Rows, form: Form) -> None:
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
        self._found |= made

    def _create_missing(self, batch: Mapping[str, Json]) -> dict[str, str]:
        found = self._listed(batch)
        if found:
            self._rows.upsert([{"id": record} for record in found.values()])  # the search index may lack them
        missing = [item for uid, item in batch.items() if uid not in found]
        return found | self._rows.create(missing) if missing else found


def _bytes(item: tuple[str, Json]) -> int:
    return sum(4 * len(text) for text in item[1]["fields"].values() if isinstance(text, str))
