"""Which records the platform has: read from it, and held against those of the data, before anything is pushed.

Everything is read once; from then on only the newest. When the records are first known, the audit slice is drawn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from nextlabel.backend.store import Notice, Rule, Store
from nextlabel.connectors.base import Connector
from nextlabel.connectors.basics import batched
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import Annotation, Changes, Labeling, Record, RemoteRecord

from .news import tell_of_records

log = structlog.get_logger(__name__)

NEWEST = "newest records on the platform"
MARKS = 100
"""So many of the newest records are remembered: the next look goes back to one of these."""
BATCH = 50
"""Records looked at together; a look goes on for at least that many beyond the last news."""
FIRST_BATCH = 1000
UNREAD = "unread record"
"""The kind of notices about records that can't be read."""
UNREAD_FIX = (
    "correct the record, put a text where its address says, or allow the host of the address with "
    "NEXTLABEL_IMAGE_HOSTS: it is tried again"
)


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """``rule`` tells which records are the same; ``audit_share`` of them, about ``audit_size``, are the audit slice."""

    rule: Rule = field(default_factory=Rule)
    audit_share: float = 0.0
    audit_size: int = 0


def take_up(store: Store, connector: Connector, plan: ImportPlan) -> None:
    """Where nothing runs on ``store``: note what the platform has of its records, its answers first.

    Whatever is pushed afterwards is new there.
    """
    store.append(Changes(tuple(one for page in connector.annotated() for one in page.annotations)))
    RecordImport(store, connector, plan, changed=_nobody, lost=lambda _, gone: store.mark_gone(gone)).run(set())


def _nobody(ids: list[str]) -> None:
    """Who hears of records where nothing runs."""


def compared(items: Iterable[Record], store: Store, connector: Connector, plan: ImportPlan) -> tuple[int, int]:
    """How many ``items`` of data there are, and how many of them the platform would get, about.

    Leaves ``store`` as it is: where it knows nothing of the platform yet, both meet in one that is thrown away.
    """
    if store.get_meta(NEWEST) is not None:
        found = store.would_add(items)
        return found.new + found.known + found.changed, found.new - found.duplicates
    with TemporaryDirectory() as folder, Store.open(Path(folder) / "compared.sqlite") as scratch:
        found = scratch.add_records(items)
        RecordImport(scratch, connector, replace(plan, audit_share=0.0), changed=_nobody, lost=_nowhere).run(set())
        counts = scratch.record_counts()
        new = counts["records"] - counts["duplicates"] - counts["pushed"]
        return found.new + found.known + found.changed, new


def _nowhere(remote_ids: Sequence[str], gone: Sequence[str]) -> None:
    """Who hears of lost records where nothing is lost."""


class RecordImport:
    """Takes in the platform's records.

    ``changed`` is told the uids of records that are news, were corrected, or have been replaced; ``lost`` which remote
    ids were asked for by themselves, and which of them are gone; ``listed`` which are there.
    """

    def __init__(
        self,
        store: Store,
        connector: Connector,
        plan: ImportPlan,
        changed: Callable[[list[str]], None],
        lost: Callable[[Sequence[str], Sequence[str]], object],
        listed: Callable[[list[str]], object] = _nobody,
    ) -> None:
        self._store, self._connector, self._plan = store, connector, plan
        self._changed, self._lost, self._listed = changed, lost, listed

    @property
    def are_known(self) -> bool:
        """Whether every record was read once."""
        return self._store.get_meta(NEWEST) is not None

    def run(self, unknown_records: set[str]) -> bool:
        """Records that others put on the platform join the pool; those of the data are recognised.

        The answers that they have should be in the log by now: whoever was answered before is not shown blind.
        The first time every record is read; later on only the newest, back to one that was the newest last time, and
        on until all ``unknown_records`` are found. Returns whether every record was read.
        """
        known = self._store.get_meta(NEWEST)
        if known is None:
            newest = [item.remote_id for item in islice(self._connector.records(newest_first=True), MARKS)]
            for batch in batched(self._connector.records(), FIRST_BATCH):
                self.keep(batch)
            log.info("platform records read", records=self._store.size())
        else:
            newest = self._newest(set(json.loads(known)), unknown_records)
        self._store.draw_audit(self._plan.audit_share, self._plan.audit_size)
        self._store.set_meta(NEWEST, json.dumps(newest))
        self._tell_unread()
        return known is None

    def read_again(self) -> None:
        """Take in the records that could not be read so far and can be now, and have people told of the others."""
        self.keep(list(self._connector.read_again()))
        self._tell_unread()

    def _tell_unread(self) -> None:
        told = {one.key for one in self._store.notices(kind=UNREAD)}
        notices = [
            Notice(f"{UNREAD} {item}", UNREAD, f"record {item} can't be read: {reason}", UNREAD_FIX, item)
            for item, reason in self._connector.unread().items()
        ]
        self._store.notify(*notices)
        self._store.dismiss(told - {one.key for one in notices})

    def _newest(self, marks: set[str], unknown_records: set[str]) -> list[str]:
        """Import back to a batch without news that lies beyond one of ``marks``; return the ids of the newest records.

        A record may be stored a moment after one that says it is newer: hence the batch without news.
        """
        newest: list[str] = []
        reached, added = False, 0
        for batch in batched(self._connector.records(newest_first=True), BATCH):
            ids = [item.remote_id for item in batch]
            newest += ids[: MARKS - len(newest)]
            news = self.keep(batch)
            reached |= not marks.isdisjoint(ids)
            unknown_records = unknown_records.difference(ids)
            added += len(news)
            if reached and not news and not unknown_records:
                break
        if added:
            log.info("records found on the platform", records=added)
        return newest

    def keep(self, listed: Sequence[RemoteRecord], shown: Iterable[Annotation] = ()) -> set[str]:
        """Take in what the platform lists, and what the answers that were ``shown`` with it say of the words they mark.

        What the platform can't show is set aside. Returns the uids of the records that are news, were corrected, or
        have been replaced.
        """
        if not listed:
            return set()
        self._store.set_records_aside(listed)
        items = [item for item in listed if not item.fault]
        began = datetime.now(UTC)
        rule, marked = self._plan.rule, _marked(self._connector.labeling)
        followed = self._store.follow(items, rule, marked, shown)
        if elsewhere := self._store.elsewhere(items):  # deleted and imported again, or there twice: that is asked
            self._lost(elsewhere, self._connector.missing(elsewhere))
        if taken := self._store.add_listed(items, rule):
            followed |= self._store.follow(items, rule, marked, shown)  # the data may have it in other words
        changed = followed | taken
        self._changed(sorted(changed))
        self._listed([item.remote_id for item in listed])
        if followed:
            tell_of_records(self._store, began)
        return changed


def _marked(labeling: Labeling) -> str | None:
    """The field that answers may mark stretches of."""
    try:
        return labeling.marked
    except LabelingMismatch:
        return None
