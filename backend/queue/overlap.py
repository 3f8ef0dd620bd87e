"""Asking other annotators about records that were answered before: who may be asked about, and what to tell whom."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence

import numpy as np
import structlog

from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.questions import is_settled
from nextlabel.backend.store import Store, StoredRecord
from nextlabel.connectors.base import Connector
from nextlabel.connectors.errors import ConfigError, NextlabelError
from nextlabel.connectors.records import AnnotationStatus

log = structlog.get_logger(__name__)

NAMED = 3
"""Records named in a complaint."""
ASKED = "asked_by_strategy"
"""Where the store keeps which records the strategy wants other opinions on: position -> answers in all."""
WISH = "overlap_wished"
"""Where the store keeps the overlap from before we first asked for more opinions, and how many those were."""
CLOSED = "closed_as_settled"
"""Where the store keeps for which settled records the platform was told to ask nobody else: their positions."""
RETRY_S = 60.0
"""Seconds until a platform that did not ask is told again: it may never do it."""


def ask_platform_again(store: Store, connector: Connector, uids: Sequence[str], opinions: int) -> list[int]:
    """Have each record answered by ``opinions`` annotators in all; return the records' positions.

    First the platform, then the store: after a crash in between nobody was told that it worked, and the same call
    does the rest. Raises ConfigError if a record can't be asked about, or ``opinions`` is what everybody is asked for
    anyway; ConnectorError if the platform doesn't do it.
    """
    if opinions <= connector.overlap:
        raise ConfigError(
            f"each record goes to {connector.overlap} annotator(s) anyway; ask for at least {connector.overlap + 1} "
            "opinions"
        )
    found = check_known(store, uids)
    _note_wish(store, connector, opinions)
    connector.ask_again([str(item.remote_id) for item in found.values()], opinions)
    store.ask_again(found, opinions)
    return [item.position for item in found.values()]


def one_more(store: Store, connector: Connector, uids: Sequence[str]) -> dict[int, list[str]]:
    """Answers in all -> these records: one more than people have answered each, and than each record goes to anyway.

    The most answers come first: where the platform allows no more, nobody has been asked about the others.
    """
    remote = {item.record.uid: item.remote_id for item in store.get(uids) if item.remote_id}
    given = store.answers_on(remote.values())
    wanted: dict[int, list[str]] = {}
    for uid in uids:
        here = given.get(remote.get(uid, ""), [])
        people = len({one.annotator for one in here if one.status is AnnotationStatus.SUBMITTED})
        wanted.setdefault(1 + max(connector.overlap, people), []).append(uid)
    return {opinions: wanted[opinions] for opinions in sorted(wanted, reverse=True)}


def check_known(store: Store, uids: Sequence[str]) -> dict[str, StoredRecord]:
    """These records by uid. Raises ConfigError if one of them can't be asked about again."""
    found = {item.record.uid: item for item in store.get(uids)}
    given = store.answers_on(item.remote_id for item in found.values() if item.remote_id)
    settled = {remote_id for remote_id, here in given.items() if is_settled(here)}
    troubles = [trouble for uid in uids if (trouble := _trouble(uid, found.get(uid), settled))]
    if troubles:
        more = f"; and {len(troubles) - NAMED} more" if len(troubles) > NAMED else ""
        raise ConfigError("; ".join(troubles[:NAMED]) + more + "; nobody was asked")
    return found


def _note_wish(store: Store, connector: Connector, opinions: int) -> None:
    noted = json.loads(store.get_meta(WISH) or "{}") or {"overlap": connector.overlap, "asked": []}
    if opinions not in noted["asked"]:
        noted["asked"].append(opinions)
        store.set_meta(WISH, json.dumps(noted))


def keep_wish(store: Store, connector: Connector) -> None:
    """Have ``connector`` go by the overlap that its project had before we asked for more opinions.

    A platform may count for the whole project: then what it has now is what we set, and not what a team wishes.
    """
    noted = json.loads(store.get_meta(WISH) or "{}")
    if noted and connector.overlap in noted["asked"]:
        connector.overlap = noted["overlap"]


def _trouble(uid: str, item: StoredRecord | None, settled: Collection[str]) -> str:
    if item is None:
        return f"there is no record {uid!r}; `nextlabel export` lists them"
    if item.is_copy:
        return f"{uid!r} is a copy of {item.duplicate_of!r}; ask about that one"
    if item.gone:
        return f"{uid!r} was deleted on the platform"
    if item.remote_id in settled:
        return f"{uid!r} is settled for good; whoever settled it can change that answer on the platform"
    return "" if item.remote_id else f"{uid!r} is not on the platform yet; nobody has answered it"


class OverlapRequests:
    """The second opinions that the loop itself asks for: known across restarts, and told from those asked by hand.

    What is wanted is written down first, then the platform is asked, then the store notes it: after a crash at any
    point, or if the platform doesn't do it, the rest is done with one of the next queues. Belongs to one thread.
    """

    def __init__(self, store: Store, connector: Connector, pool: PoolState) -> None:
        self._store, self._connector, self._pool = store, connector, pool
        self._wanted = {int(at): int(n) for at, n in json.loads(store.get_meta(ASKED) or "{}").items()}
        self._closed: set[int] = set(json.loads(store.get_meta(CLOSED) or "[]"))
        self._not_before = self._not_closed_before = 0.0
        self.trouble = ""

    def own(self) -> Positions:
        """int64: positions of records that wait for another opinion by the strategy's wish, asked or still to ask."""
        at = np.array(sorted(self._wanted), np.int64)
        at = at[at < len(self._pool)]
        wanted = np.array([self._wanted[one] for one in at.tolist()], np.int64)
        waits = self._pool.is_pushed(at) & ~self._pool.is_settled(at)
        return at[waits & (self._pool.tally(at)[0] < wanted)]

    def by_hand(self, positions: Positions) -> None:
        """Somebody asks about these: they are theirs now."""
        if taken := self._wanted.keys() & set(positions.tolist()):
            self._wanted = {at: opinions for at, opinions in self._wanted.items() if at not in taken}
            self._save()

    def ask(self, positions: Positions) -> Positions:
        """Have the platform ask for one more opinion on each of these; return those that are not asked about.

        Never raises ConnectorError: the queue goes out without them, and they are asked about a minute later.
        """
        if not len(positions):
            self.trouble = ""
        if not len(positions) or time.monotonic() < self._not_before:
            return positions
        answers, _ = self._pool.tally(positions)
        kept = {at: self._wanted[at] for at in self.own().tolist()}
        news = dict(zip(positions.tolist(), (answers + 1).tolist(), strict=True))
        self._wanted = {**news, **kept}
        self._save()
        left = set(news)
        try:
            for opinions in sorted({self._wanted[at] for at in left}):
                group = [at for at in news if self._wanted[at] == opinions]
                uids = [item.record.uid for item in self._store.at(group)]
                ask_platform_again(self._store, self._connector, uids, opinions)
                self._pool.ask_again(np.array(group, np.int64), opinions)
                left -= set(group)
                log.info("another opinion is asked for", records=uids, opinions=opinions)
            self.trouble = ""
        except NextlabelError as error:
            self._not_before = time.monotonic() + RETRY_S
            self.trouble = f"no second opinions: {type(error).__name__}: {error}"
            log.warning("the platform does not ask again", error=str(error))
        return np.array(sorted(left), np.int64)

    def close_settled(self) -> None:
        """Have the platform ask nobody else about what is settled, and go on asking about what is so no more.

        Never raises ConnectorError: it is tried again a minute later.
        """
        early, closed = self._pool.settled_early(), np.array(sorted(self._closed), np.int64)
        closed = closed[closed < len(self._pool)]
        new = early[~np.isin(early, closed)]
        over = closed[self._pool.is_pushed(closed) & ~self._pool.is_settled(closed)]
        if not len(new) + len(over) or time.monotonic() < self._not_closed_before:
            return
        try:
            if len(new):
                self._connector.settle(self._pool.remote_ids(new))
            wanted = self._pool.wanted(over)
            for opinions in np.unique(wanted).tolist():
                self._connector.ask_again(self._pool.remote_ids(over[wanted == opinions]), opinions)
        except NextlabelError as error:
            self._not_closed_before = time.monotonic() + RETRY_S
            log.warning("the platform goes on asking about what is settled", error=str(error))
            return
        self._closed = {*new.tolist(), *closed[~np.isin(closed, over)].tolist()}
        self._store.set_meta(CLOSED, json.dumps(sorted(self._closed)))

    def _save(self) -> None:
        self._store.set_meta(ASKED, json.dumps(self._wanted))
