"""Records with a picture that can't be read: told, and looked at again, for servers come back and hosts get allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import structlog

from nextlabel.backend.data.image_rules import ImageProblem
from nextlabel.backend.encoders.base import Encoder
from nextlabel.backend.encoders.multimodal import MultimodalEncoder
from nextlabel.backend.pool.pool import Positions
from nextlabel.backend.store import Notice, Store, StoredRecord
from nextlabel.connectors.content import Readable

log = structlog.get_logger(__name__)

PICTURE = "picture"
"""The kind of notices about pictures that can't be read."""
SOONEST_S, LATEST_S = 60.0, 1800.0
"""Seconds until pictures are asked for again: soon after news, and then twice as long each time in vain."""
AGAIN = "it is tried again within minutes, and at every start; until then nothing is suggested or learned here"


class UnreadPictures:
    """What there is of such records. ``note`` belongs to one thread, ``look`` may come from another."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._told = {one.key: one.message for one in store.notices(kind=PICTURE)}
        self._waiting: dict[str, Readable] = {}  # uid -> what its encoder reads of it
        self._pause = SOONEST_S

    def note(self, batch: Sequence[StoredRecord], texts: Sequence[Readable], rows: Positions, encoder: Encoder) -> None:
        """Take in that these records have ``rows`` of embeddings now, -1 for none, and tell what is news in that."""
        unread = [at for at in np.flatnonzero(rows < 0).tolist() if not (batch[at].gone or batch[at].is_copy)]
        missing = {batch[at].record.uid: texts[at] for at in unread}
        self.forget(item.record.uid for item in batch if item.record.uid not in missing)
        self._waiting = self._waiting | missing
        told = [_notice(batch[at], _problem(encoder, texts[at])) for at in unread]
        if news := [one for one in told if self._told.get(one.key) != one.message]:
            self._pause = SOONEST_S
            log.warning("pictures can't be read", records=len(news), first=news[0].message)
            self._store.notify(*news)
            self._told |= {one.key: one.message for one in news}

    def forget(self, uids: Iterable[str]) -> None:
        """These records can be read now, or are gone."""
        left = set(uids)
        if not left.isdisjoint(self._waiting):
            self._waiting = {uid: text for uid, text in self._waiting.items() if uid not in left}
        if over := self._told.keys() & {_key(uid) for uid in left}:
            self._store.dismiss(over)
            self._told = {key: said for key, said in self._told.items() if key not in over}

    def look(self, encoder: Encoder, stopping: Callable[[], bool]) -> tuple[list[str], float]:
        """Ask again for what is missing. The uids of records of which something else is known now, and when to go on.

        That is in seconds.
        """
        waiting = dict(self._waiting)
        if not isinstance(encoder, MultimodalEncoder) or not waiting:
            return [], SOONEST_S
        before = {uid: encoder.problem(text) for uid, text in waiting.items()}
        encoder.look_again(waiting.values(), stopping)
        after = {uid: encoder.problem(text) for uid, text in waiting.items()}
        found = [uid for uid, problem in after.items() if problem is None]
        if found:
            log.info("pictures can be read now", records=len(found), missing=len(waiting) - len(found))
        pause, self._pause = self._pause, SOONEST_S if found else min(2 * self._pause, LATEST_S)
        return [uid for uid in waiting if before[uid] != after[uid] or after[uid] is None], pause


def _problem(encoder: Encoder, text: Readable) -> ImageProblem | None:
    return encoder.problem(text) if isinstance(encoder, MultimodalEncoder) else None


def _notice(item: StoredRecord, problem: ImageProblem | None) -> Notice:
    uid, reason = item.record.uid, "" if problem is None else f": {problem}"
    fix = AGAIN if problem is None else f"{problem.fix}; {AGAIN}"  # None: it was read a moment ago
    return Notice(_key(uid), PICTURE, f"the picture of record {uid!r} can't be read{reason}", fix, item.remote_id or "")


def _key(uid: str) -> str:
    return f"{PICTURE} {uid}"
