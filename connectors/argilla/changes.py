"""What annotators did since the last look, pulled from Argilla, because no webhook is sure to arrive.

Argilla can't be asked which responses changed after some moment: neither a record's time of change nor the search knows
of them. So a look reads every response, when the dataset's last activity moved, and now and then without cause: owners
may write responses in bulk, which moves nothing. What was read before is compared in memory.

Which records were made or written to since some moment, the search does know. Places in queues and suggestions are
writings too: what we wrote is read back once, found to say what it said, and leads to nothing.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.payloads import NOT_SHOWN, STATUSES, read_record, read_responses
from nextlabel.connectors.argilla.rows import PAGE, Rows
from nextlabel.connectors.basics import Json, batched
from nextlabel.connectors.errors import ConnectorError
from nextlabel.connectors.http import server_time
from nextlabel.connectors.records import Annotation, Changes, Found, RemoteRecord, Unreadable, sorted_out

ANYWAY_S = 60.0
"""Seconds after which responses are read though nothing seems to have happened."""
DEEP_S = 600.0
"""Seconds after which every record is read from the database: of a response whose saving ended in an error, the search
engine may know nothing."""
SHARE = 0.1
"""Of the time, the most that may be spent reading responses."""
QUICK_S = 0.5
"""Shorter readings are not rationed."""
INDEXED = timedelta(seconds=30)
"""How long a bulk of records may take from when it is dated to where the search finds it."""
MARGIN = timedelta(seconds=3)
"""How long a response may take from the dataset's last activity to where the search finds it."""

Times: TypeAlias = Mapping[str, datetime | None]
"""Annotation -> when it was changed; None for one that could not be read, which is told at every reading."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a cursor says.

    ``activity`` is the last one that was read, empty if it has to be read again; ``records`` is the server's time as of
    the last look for records that were made or corrected; ``look`` counts what was told, so that a cursor handed back
    shows whether it arrived. ``latest`` is the last activity that was ever seen, read or not.
    """

    activity: str = ""
    records: str = ""
    look: int = 0
    latest: str = ""

    @classmethod
    def read(cls, cursor: str | None) -> Mark | None:
        """Raises ValueError on a cursor that is not ours."""
        if cursor is None:
            return None
        try:
            return cls(**json.loads(cursor))
        except (ValueError, TypeError):
            raise ValueError(f"not a cursor of Argilla: {cursor!r}") from None

    def write(self) -> str:
        """The cursor."""
        return json.dumps(asdict(self))


class Poll:
    """Finds changed answers, and records that were made or corrected, of one dataset."""

    def __init__(self, client: Client, rows: Rows, dataset_id: str) -> None:
        self._client = client
        self._rows = rows
        self._path = f"/api/v1/datasets/{dataset_id}"
        self._written = Written(rows)
        self._answers: dict[str, Times] = {}  # record -> what it had at the last reading
        self._heard: set[str] = set()  # records that were looked up since
        self._told: str | None = None  # the cursor that was given out last
        self.went_back = False  # whether the dataset is as it was before an activity that we saw
        self._read_at = 0.0
        self._deep_at = time.monotonic()
        self._rest_until = 0.0
        self._lock = threading.Lock()
        self._hearing = threading.Lock()  # of its own: events don't wait for a reading

    def note(self, records: Iterable[str]) -> None:
        """These records were looked up between two readings: what the next one finds of them is told in any case."""
        with self._hearing:
            self._heard.update(records)

    def since(self, cursor: str | None, form: Form) -> Changes:
        """Every answer given, changed or deleted after ``cursor``, every record made or corrected, and the next cursor.

        ``complete`` holds the records whose answers came or went. Raises ValueError on a cursor that is not ours.
        """
        mark = Mark.read(cursor)
        answer = self._client.respond("GET", self._path, again=True)
        activity, now = str(answer.json()["last_activity_at"]), server_time(answer)
        with self._lock:
            fresh = cursor is None or cursor != self._told  # a new process, or what was told last got lost
            seen, look = ("", 0) if mark is None else (mark.activity, mark.look)
            found = Changes()
            if fresh or self._is_due(moved=seen != activity):
                found = self._look(form, fresh, missed=fresh and mark is not None and seen != activity)
                seen = activity if _is_settled(activity, now) else ""
                look += 1
            found, records = self._with_records(found, mark, now or self._client.now(), form, fresh)
            self.went_back = mark is not None and activity < mark.latest  # it only ever moves on
            self._told = Mark(seen, records, look, activity).write()
        return replace(found, cursor=self._told, gap=self.went_back)

    def _with_records(
        self, found: Changes, mark: Mark | None, now: datetime, form: Form, fresh: bool
    ) -> tuple[Changes, str]:
        """``found``, and the records that were written to since ``mark``; and up to when these are known.

        Where they can't be read, the answers that were found are told all the same.
        """
        if mark is None or not mark.records:
            return found, now.isoformat()
        try:
            written = self._written.since(min(now, datetime.fromisoformat(mark.records)), form, anew=fresh)
        except ConnectorError as error:
            return replace(found, missed=str(error)), mark.records
        return replace(found, records=written), now.isoformat()

    def everything(self, form: Form) -> Iterator[Changes]:
        """Every record that has answers, with all of them, from the database, page by page."""
        for page in batched(self._rows.walk(("responses",)), PAGE):
            here = {str(item["id"]): read_responses(form, item) for item in page if item.get("responses")}
            yield Changes.listed(here)

    def each(self, wanted: Mapping[str, str | None], form: Form) -> Changes:
        """The records of these annotations (id -> record), asked for by themselves, with all their answers.

        Argilla gives no response by its id. Records that could not be looked up, or are none of this dataset's, are
        left out; those that are not there have no answers. What is found is remembered for the next reading.
        """
        records = [record for record in dict.fromkeys(wanted.values()) if record is not None]
        items = self._rows.fetch(records, ("responses",))
        found = {record: read_responses(form, item) for record, item in items.items()}
        found |= {record: [] for record in records if record not in found and self._rows.is_gone(record)}
        self.note(found)
        return Changes.listed(found)

    def _is_due(self, *, moved: bool) -> bool:
        now = time.monotonic()
        return now >= self._rest_until and (moved or now - self._read_at >= ANYWAY_S)

    def _look(self, form: Form, fresh: bool, missed: bool) -> Changes:
        """Read the responses and compare with what was told, which is nothing if ``fresh``.

        ``missed``: records may have lost their responses while nobody looked, so what each of them has is told.
        """
        start = time.monotonic()
        deep = missed or start - self._deep_at >= DEEP_S
        known = {} if fresh else self._answers
        with self._hearing:
            heard, self._heard = self._heard, set()
        try:
            items = self._rows.walk(("responses",)) if deep else self._answered()
            found = {str(item["id"]): read_responses(form, item) for item in items}
            silent = [record for record in (*known, *(heard - known.keys())) if record not in found]
            for record, item in self._rows.fetch(silent, ("responses",)).items():
                found[record] = read_responses(form, item)
        except BaseException:
            self.note(heard)
            raise
        self._answers = {record: {one.id: _time(one) for one in here} for record, here in found.items() if here}
        self._read_at = time.monotonic()
        if deep:
            self._deep_at = self._read_at
        took = self._read_at - start
        self._rest_until = self._read_at + (took / SHARE if took > QUICK_S else 0.0)
        unshown = (Unreadable("", one, "", why, NOT_SHOWN) for one in silent if (why := self._rows.unshown.get(one)))
        changes = _difference(known, found, tell=set(found) if missed else heard)
        return replace(changes, unreadable=(*changes.unreadable, *unshown))

    def _answered(self) -> Iterator[Json]:
        """Every record with a response, with all its responses. A page may miss some while others come and go."""
        status = {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": list(STATUSES)}
        order = {"scope": {"entity": "record", "property": "inserted_at"}, "order": "asc"}
        return self._rows.search_all([status], [order], include=("responses",))


class Written:
    """Finds records that were made or written to, by whomever. What a record says is told once for each writing."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._told: dict[str, str] = {}  # record -> when it was written to, of those that a next look may find again

    def since(self, moment: datetime, form: Form, *, anew: bool) -> tuple[RemoteRecord, ...]:
        """Records written to after ``moment``, as they are now. ``anew``: what was told before may have got lost."""
        known = {} if anew else self._told
        found = {str(item["id"]): item for item in self._rows.written(moment - INDEXED)}
        self._told = {record: item["updated_at"] for record, item in found.items()}
        return tuple(
            read_record(form, item) for record, item in found.items() if known.get(record) != item["updated_at"]
        )


def _time(one: Found) -> datetime | None:
    return one.updated_at if isinstance(one, Annotation) else None


def _difference(known: Mapping[str, Times], found: Mapping[str, list[Found]], tell: set[str]) -> Changes:
    """What is new, and what can't be read; ``complete`` holds the records whose answers came or went, and ``tell``."""
    changed: list[Found] = []
    complete: dict[str, frozenset[str]] = {}
    for record, here in found.items():
        before = known.get(record, {})
        ids = frozenset(one.id for one in here)
        changed += [one for one in here if _time(one) is None or before.get(one.id) != _time(one)]
        if ids != before.keys() or record in tell:
            complete[record] = ids
    annotations, unreadable = sorted_out(changed)
    return Changes(annotations, complete, unreadable=unreadable)


def _is_settled(activity: str, now: datetime | None) -> bool:
    """Whether every response up to this activity is where the search finds it."""
    return now is not None and now - datetime.fromisoformat(activity).replace(tzinfo=UTC) > MARGIN
