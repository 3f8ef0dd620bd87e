"""Records that the platform has yet to get. One that it refuses is set aside and told, and stops no other."""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog

from nextlabel.backend.store import ImportedAnswer, Notice, Store
from nextlabel.connectors.base import Connector, Progress, no_progress
from nextlabel.connectors.errors import RecordsRejected
from nextlabel.connectors.records import GivenAnswer, Record

log = structlog.get_logger(__name__)

AGAIN_S = 600.0
"""Seconds until refused records are tried again: what the project takes may have changed."""
REFUSED = "record"
"""The kind of notices about records that the platform does not take."""
FIX = (
    "correct it in the data, or change what the project takes; it is tried again at every start, and every ten minutes"
)


class Pusher:
    """Pushes what the store has and the platform lacks. Belongs to one thread."""

    def __init__(self, store: Store, connector: Connector) -> None:
        self._store, self._connector = store, connector
        self._aside: set[str] = set()
        self._again_at = 0.0

    def is_aside(self, uid: str) -> bool:
        """Whether the platform refused this record a while ago."""
        if time.monotonic() >= self._again_at:
            self._aside.clear()
        return uid in self._aside

    def next(self, size: int) -> list[Record]:
        """Up to ``size`` records to push, without those that were refused a while ago."""
        waiting = self._store.unpushed(size + len(self._aside))
        return [record for record in waiting if not self.is_aside(record.uid)][:size]

    def push(self, batch: list[Record], progress: Progress = no_progress) -> list[str]:
        """Push these; return the uids of those that are there now. Raises ConnectorError if that is not known."""
        try:
            found: Mapping[str, str] = self._connector.push(batch, progress, self._answers(batch))
        except RecordsRejected as error:
            if not error.refused:
                raise
            found = error.found
            self._set_aside({record.uid for record in batch} - found.keys(), error.refused)
            log.warning("records stay behind", reason=str(error))
        self._store.set_remote(found)
        self._store.dismiss(map(_key, found))
        return list(found)

    def _answers(self, batch: list[Record]) -> dict[str, list[GivenAnswer]]:
        """Answers from elsewhere about these records."""
        waiting = self._store.waiting_about(record.uid for record in batch)
        return {uid: [given(self._store.instance, "", one) for one in some] for uid, some in waiting.items()}

    def _set_aside(self, uids: set[str], refused: Mapping[str, str]) -> None:
        self._aside |= uids
        self._again_at = time.monotonic() + AGAIN_S
        told = (
            Notice(_key(uid), REFUSED, f"the platform does not take record {uid!r}: {why}", FIX)
            for uid, why in refused.items()
        )
        self._store.notify(*told)


def given(instance: str, remote_id: str, one: ImportedAnswer) -> GivenAnswer:
    """An imported answer as a connector takes it, under a name that it has for ever."""
    return GivenAnswer(f"{instance}/{one.uid}/{one.annotator}", remote_id, one.annotator, one.value, one.status)


def _key(uid: str) -> str:
    return f"{REFUSED} {uid}"
