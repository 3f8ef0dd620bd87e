"""Which records are the same: those of the data, and those that the platform lists.

A record of the data is on the platform already if its uid is there (we pushed it, or somebody gave it that id), if the
platform's record has its id under the key that the data has it under, or if both show the same. What somebody has put
there under another name is known by that name, too (``record_names``), so that it is recognised in either order and
after every restart. Each record stands for one: of copies, each takes up one of the other side.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from nextlabel.connectors.records import Record, RemoteRecord

from . import codec
from .audit import SEED_KEY, note_answered, note_imported
from .database import chunks
from .log import gone_among
from .meta import look_up, upsert
from .schema import meta, record_names, records


@dataclass(frozen=True, slots=True)
class Rule:
    """What tells whether two records are the same.

    ``shown``: the fields that the data has; without any, all fields count. ``id_key``: the key that the data has its
    ids under, empty without.
    """

    shown: Collection[str] = ()
    id_key: str = ""

    def content(self, record: Record) -> str:
        """Equal for records that show the same, as far as the data can tell."""
        return Record("", self._parts(record, inside=True)).content_hash() if self.shown else record.content_hash()

    def besides(self, item: RemoteRecord) -> str:
        """Equal for records that show the same besides; empty where nothing else is shown."""
        others = self._parts(item.record, inside=False) if self.shown else {}
        if not item.unread and not any(others.values()):
            return ""
        return Record("", {**others, "": item.unread}).content_hash()

    def other_id(self, item: RemoteRecord) -> str:
        """The id that the data would have it under; empty if there is none."""
        return item.ids.get(self.id_key, "") if self.id_key else ""

    def _parts(self, record: Record, *, inside: bool) -> dict[str, str]:
        return {name: text for name, text in record.fields.items() if (name in self.shown) is inside}


# -- records of the data -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Taken:
    """Counts of records: ``new`` ones, ``duplicates`` among them, those ``known``, those known with other fields."""

    new: int
    duplicates: int
    known: int
    changed: int


def add_batch(connection: Connection, batch: Sequence[Record]) -> Taken:
    """Store the records of the data that are new; each of the others stands for a record that is there."""
    hashes = [record.content_hash() for record in batch]
    known = {name: row.content_hash for name, row in named(connection, [record.uid for record in batch]).items()}
    theirs = _unclaimed(connection, [one for record, one in zip(batch, hashes, strict=True) if record.uid not in known])
    adding = _Adding(connection, hashes)
    changed = 0
    for record, content in zip(batch, hashes, strict=True):
        if record.uid in known:
            changed += known[record.uid] != content
            continue
        known[record.uid] = content
        if waiting := theirs.get(content):
            uid = waiting.pop(record.uid if record.uid in waiting else next(iter(waiting)))
            upsert(connection, record_names.c.name, {"name": record.uid, "uid": uid})
        else:
            adding.add(record, content)
    adding.flush()
    _claim(connection, [record.uid for record in batch])
    return Taken(len(adding), adding.duplicates, len(batch) - len(adding) - changed, changed)


def _unclaimed(connection: Connection, hashes: Sequence[str]) -> dict[str, dict[str, str]]:
    """Content -> remote id -> uid, of records of the platform that no record of the data stands for."""
    query = sa.select(records.c.content_hash, records.c.remote_id, records.c.uid)
    query = query.where(records.c.content_hash.in_(hashes), records.c.in_file.is_(False))
    found: dict[str, dict[str, str]] = {}
    for row in connection.execute(query.order_by(records.c.position)):
        found.setdefault(row.content_hash, {})[row.remote_id] = row.uid
    return found


def _claim(connection: Connection, uids: Sequence[str]) -> None:
    """A record of the data stands for each of these."""
    others = sa.select(record_names.c.uid).where(record_names.c.name.in_(uids))
    for group in (records.c.uid.in_(uids), records.c.uid.in_(others)):
        connection.execute(sa.update(records).where(group, records.c.in_file.is_(False)).values(in_file=True))


# -- records of the platform -------------------------------------------------------------------------------------------


def take_up(connection: Connection, items: Sequence[RemoteRecord], rule: Rule) -> set[str]:
    """Store what the platform lists, or find out what it is here. Returns the uids of the records that changed."""
    there = sa.select(records.c.remote_id).where(records.c.remote_id.in_([item.remote_id for item in items]))
    known = set(connection.execute(there).scalars())
    news = [item for item in items if item.remote_id not in known]
    if not news:
        return set()
    placed: dict[str, RemoteRecord] = {}  # uid -> what it is on the platform
    contents = {item.remote_id: rule.content(item.record) for item in news}
    adding = _Adding(connection, contents.values())
    left = list(_by_name(connection, news, rule, placed))
    free = _free(connection, contents.values(), placed)
    for item, uid in left:
        content = contents[item.remote_id]
        if waiting := free.get(content):
            found = item.remote_id if item.remote_id in waiting else next(iter(waiting))
            del waiting[found]
            placed[found] = item
        else:
            adding.add(item.record, content, uid=uid, besides=rule.besides(item), item=item)
            placed[uid] = item
    adding.flush()
    set_remote(connection, [(uid, item.remote_id) for uid, item in placed.items()])
    _note_names(connection, placed, rule)
    return set(placed) | note_answered(connection, contents)


def _by_name(
    connection: Connection, items: Sequence[RemoteRecord], rule: Rule, placed: dict[str, RemoteRecord]
) -> Iterator[tuple[RemoteRecord, str]]:
    """Place those that are known by name; yield the others, and the uid that each gets if nothing else is it."""
    wanted = {item.record.uid for item in items} | {rule.other_id(item) for item in items}
    known = named(connection, sorted(wanted))
    new: set[str] = set()
    for item in items:
        own = known.get(item.record.uid)
        rows = [row for row in (own, known.get(rule.other_id(item))) if row is not None]
        uid = next((row.uid for row in rows if is_free(row) and row.uid not in placed), None)
        if uid is not None:
            placed[uid] = item
        elif own is not None or item.record.uid in new:  # somebody has put it there twice
            yield item, f"{item.record.uid}~{item.remote_id}"
        else:
            new.add(item.record.uid)
            yield item, item.record.uid


def _free(connection: Connection, hashes: Iterable[str], placed: Collection[str]) -> dict[str, dict[str, None]]:
    """Content -> uids (a set in order) of records that the platform lacks, but for those ``placed``."""
    query = sa.select(records.c.content_hash, records.c.uid)
    absent = sa.or_(records.c.remote_id.is_(None), records.c.gone.is_(True))
    query = query.where(records.c.content_hash.in_(list(hashes)), absent)
    found: dict[str, dict[str, None]] = {}
    for row in connection.execute(query.order_by(records.c.position)):
        if row.uid not in placed:
            found.setdefault(row.content_hash, {})[row.uid] = None
    return found


def _note_names(connection: Connection, placed: Mapping[str, RemoteRecord], rule: Rule) -> None:
    """Note what else the platform shows of these, and by which other names they are known there."""
    for uid, item in placed.items():
        if besides := rule.besides(item):
            connection.execute(sa.update(records).where(records.c.uid == uid).values(besides=besides))
        for name in {item.record.uid, rule.other_id(item)} - {uid, ""}:
            upsert(connection, record_names.c.name, {"name": name, "uid": uid})


def set_remote(connection: Connection, remote_ids: Sequence[tuple[str, str]]) -> int:
    """Note where the platform holds records, pairs of uid and remote id; how many are known here."""
    gone = gone_among(connection, [remote_id for _, remote_id in remote_ids])
    placed = sa.update(records).where(records.c.uid == sa.bindparam("key"))
    placed = placed.values(remote_id=sa.bindparam("remote"), gone=sa.bindparam("lost"))
    rows = [{"key": uid, "remote": remote, "lost": remote in gone} for uid, remote in remote_ids]
    return int(connection.execute(placed, rows).rowcount)


# -- both --------------------------------------------------------------------------------------------------------------


def named(connection: Connection, names: Sequence[str]) -> dict[str, Row[Any]]:
    """Name -> uid, content hash, remote id, gone: of the records that are called so (at most a chunk of names)."""
    columns = (records.c.uid, records.c.content_hash, records.c.remote_id, records.c.gone)
    other = sa.select(record_names.c.name, *columns).join(records, records.c.uid == record_names.c.uid)
    own = sa.select(records.c.uid.label("name"), *columns)
    found: dict[str, Row[Any]] = {}
    for query in (other.where(record_names.c.name.in_(names)), own.where(records.c.uid.in_(names))):
        found |= {row.name: row for row in connection.execute(query)}
    return found


def is_free(row: Row[Any]) -> bool:
    """Whether the platform lacks the record, so that one that it lists may be it."""
    return row.remote_id is None or bool(row.gone)


def next_position(connection: Connection) -> int:
    """How many records there are."""
    last: int | None = connection.execute(sa.select(sa.func.max(records.c.position))).scalar()
    return 0 if last is None else last + 1


class _Adding:
    """New records, on their way into the table."""

    def __init__(self, connection: Connection, hashes: Iterable[str]) -> None:
        self._connection = connection
        query = sa.select(records.c.content_hash, records.c.besides, records.c.uid)
        query = query.where(records.c.content_hash.in_(list(hashes)), records.c.duplicate_of.is_(None))
        self._firsts = {(row.content_hash, row.besides): row.uid for row in connection.execute(query)}
        self._seed = look_up(connection, meta, SEED_KEY) or ""
        self._start = next_position(connection)
        self._rows: list[dict[str, Any]] = []
        self.duplicates = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self, record: Record, content: str, *, uid: str = "", besides: str = "", item: RemoteRecord | None = None
    ) -> None:
        """A record of the data, or the ``item`` that the platform lists, called ``uid``."""
        uid = uid or record.uid
        first = self._firsts.setdefault((content, besides), uid)
        self.duplicates += first != uid
        self._rows.append(
            {
                "position": self._start + len(self._rows),
                "uid": uid,
                "content_hash": content,
                "besides": besides,
                "fields": record.fields,
                "metadata": record.metadata,
                "lot": codec.lot(self._seed, first),  # equal texts stand on the same side of the audit line
                "duplicate_of": first if first != uid else None,
                "in_file": item is None,
            }
        )

    def flush(self) -> None:
        """Write them."""
        if self._rows:
            self._connection.execute(sa.insert(records), self._rows)
            for chunk in chunks(row["uid"] for row in self._rows):
                note_imported(self._connection, chunk)
