"""The audit slice: which records are kept apart, to tell how good a model is. Drawn once, and never moved.

A record's lot, a hash of the store's seed and its content, decides. Those below the threshold are shown blind, unless
``seen`` says why they can't be: "answered" when they were first known, or by an answer from elsewhere that was
imported, or "used" (learned from, or shown with our suggestion) before the slice was drawn. Where next to nothing was
open when it was drawn, the answered ones below the threshold are held out: never learned from either, and measured by
themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from . import codec
from .database import chunks
from .meta import MetaPart, look_up, put
from .schema import annotation_log as log
from .schema import generations, imported_answers, meta, models, record_names, records

AUDIT_KEY = "audit_threshold"
HELD_OUT_KEY = "audit_held_out"
SEED_KEY = "seed"
ANSWERED, USED = "answered", "used"
LEAST_HELD_OUT = 20
"""Answers below which nothing is held out: no figure would ever be told of them."""


class AuditPart(MetaPart):
    """Drawing the slice, and asking which side a record is on."""

    def draw_audit(self, share: float, most: int) -> None:
        """Fix the slice: ``share`` of the records that can be shown blind, ``most`` of them about; once, for ever.

        Does nothing while there is no record, nor for a share of 0.
        """
        with self._write() as connection:
            if not share or look_up(connection, meta, AUDIT_KEY) is not None:
                return
            _note_used(connection)
            count = sa.select(records.c.seen, sa.func.count()).where(records.c.duplicate_of.is_(None))
            counts: dict[str | None, int] = {
                row[0]: row[1] for row in connection.execute(count.group_by(records.c.seen))
            }
            if not counts:
                return
            blind, answered = counts.get(None, 0), counts.get(ANSWERED, 0)
            threshold, held_out = min(share, most / max(blind, 1)), min(share, most / max(answered, 1))
            if blind * threshold < 1 and answered * held_out >= LEAST_HELD_OUT:
                threshold = held_out
                put(connection, meta, HELD_OUT_KEY, "yes")
            put(connection, meta, AUDIT_KEY, repr(threshold))

    def set_audit_threshold(self, threshold: float) -> float:
        """Make the records with a lot below ``threshold`` the audit slice. Returns the threshold in force.

        The first call decides for ever: a slice that moved would have been trained on.
        """
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"the audit share must lie between 0 and 1, not at {threshold}")
        with self._write() as connection:
            put(connection, meta, AUDIT_KEY, repr(float(threshold)), keep=True)
            return threshold_of(connection)

    def blind(self, asked: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of ``asked`` (uid and content hash, as :class:`~.identity.Rule` has it) shown without a suggestion.

        Also of records that are not stored yet: those with the content of one that is will stand where that one does.
        """
        with self._read() as connection:
            drawn = {row.key: row.value for row in connection.execute(_DRAWN)}
            threshold, seed = float(drawn.get(AUDIT_KEY, 0)), drawn.get(SEED_KEY, "")
            if not threshold:
                return set()
            found: set[tuple[str, str]] = set()
            for chunk in chunks(asked):
                uids, contents = map(list, zip(*chunk, strict=True))
                rows = connection.execute(_SIDES, {"uids": uids, "contents": contents})
                sides = {(row.way, row.key): row.lot < threshold and row.seen is None for row in rows}
                for uid, content in chunk:
                    by_lot = codec.lot(seed, uid) < threshold
                    if sides.get(("name", uid), sides.get(("content", content), by_lot)):
                        found.add((uid, content))
            return found


def threshold_of(connection: Connection) -> float:
    """Lots below this are kept apart; 0 before the slice is drawn."""
    return float(look_up(connection, meta, AUDIT_KEY) or 0.0)


def holds_out(connection: Connection) -> bool:
    """Whether what was answered before we came, and is below the threshold, is held out."""
    return look_up(connection, meta, HELD_OUT_KEY) is not None


def note_answered(connection: Connection, remote_ids: Iterable[str]) -> set[str]:
    """Those of ``remote_ids`` (at most a chunk), just become known, that have an answer, are not blind: nor are copies.

    Returns the uids of all records of which that is news.
    """
    answered = sa.select(log.c.remote_id).where(log.c.kind == "answer", log.c.remote_id.in_(list(remote_ids)))
    return _mark(connection, records.c.remote_id.in_(answered), ANSWERED)


def note_imported(connection: Connection, uids: Collection[str]) -> None:
    """Those of ``uids`` (at most a chunk) that have an imported answer are not blind, unless that was asked for."""
    wanted = sa.select(imported_answers.c.uid).where(
        imported_answers.c.uid.in_(uids), imported_answers.c.audit.is_(False)
    )
    _mark(connection, records.c.uid.in_(wanted), ANSWERED)


def _note_used(connection: Connection) -> None:
    """What was suggested, answered or learned from before there was a slice."""
    learned = connection.execute(sa.select(models.c.number).limit(1)).first() is not None
    published = connection.execute(sa.select(generations.c.number).limit(1)).first() is not None
    answered = sa.select(log.c.remote_id).where(log.c.kind == "answer")
    _mark(connection, records.c.suggested.is_(True), USED)
    _mark(connection, records.c.remote_id.in_(answered), USED if learned or published else ANSWERED)


def _mark(connection: Connection, chosen: sa.ColumnElement[bool], seen: str) -> set[str]:
    """Note of the ``chosen`` records and their copies why they are not blind; returns the uids that it is new of."""
    first = sa.func.coalesce(records.c.duplicate_of, records.c.uid)
    firsts = connection.execute(sa.select(first).where(chosen, records.c.seen.is_(None))).scalars().all()
    news: set[str] = set()
    for chunk in chunks(firsts):
        for group in (records.c.uid.in_(chunk), records.c.duplicate_of.in_(chunk)):
            changed = sa.update(records).where(group, records.c.seen.is_(None)).values(seen=seen)
            news.update(connection.execute(changed.returning(records.c.uid)).scalars())
    return news


def _sides() -> sa.CompoundSelect[Any]:
    """What decides about the records that are called like one of ``uids``, or the first with one of ``contents``.

    Of several rows for one key the last counts: a record's own uid before another's name, and the earliest record.
    """
    uids: sa.BindParameter[list[str]] = sa.bindparam("uids", expanding=True)
    contents: sa.BindParameter[list[str]] = sa.bindparam("contents", expanding=True)

    def by(key: sa.Column[str], way: str, rank: int) -> sa.Select[Any]:
        told: list[sa.ColumnElement[Any]] = [sa.literal_column(f"'{way}'").label("way")]
        told += [sa.literal_column(str(rank)).label("rank"), key.label("key")]
        return sa.select(*told, records.c.position, records.c.lot, records.c.seen)

    content = by(records.c.content_hash, "content", 0).where(records.c.content_hash.in_(contents))
    name = by(record_names.c.name, "name", 1).where(record_names.c.name.in_(uids))
    own = by(records.c.uid, "name", 2).where(records.c.uid.in_(uids))
    of_name = name.join_from(record_names, records, records.c.uid == record_names.c.uid)
    every = sa.union_all(content.where(records.c.duplicate_of.is_(None)), of_name, own)
    return every.order_by("rank", sa.desc("position"))


# Made once: they are asked for every prediction.
_SIDES = _sides()
_DRAWN = sa.select(meta).where(meta.c.key.in_((AUDIT_KEY, SEED_KEY)))
