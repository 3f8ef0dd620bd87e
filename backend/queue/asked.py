"""What came of asking about records again: what their answers said when somebody asked, and what they say now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nextlabel.backend.questions import Question
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Annotation, AnnotationStatus, Span

NOTED = "asked_by_hand"
"""Where the store keeps what records said when somebody asked about them again: uid -> digest, and the answers."""


@dataclass(frozen=True, slots=True)
class AskedAgain:
    """Of the records that somebody asked about again: how many ``records``, and with an answer since (``answered``).

    ``changed``: what its answers come to is another than before. ``kept``: it is the same.
    """

    records: int
    answered: int
    changed: int

    @property
    def kept(self) -> int:
        """How many were answered, and say what they said."""
        return self.answered - self.changed

    def to_json(self) -> dict[str, int]:
        """Plain values."""
        return {"asked": self.records, "answered": self.answered, "changed": self.changed, "kept": self.kept}


def said_now(store: Store, question: Question, uids: Sequence[str]) -> dict[str, Any]:
    """What these records say now, for :func:`note_asked`: to be taken before anybody is asked."""
    items = {item.record.uid: item for item in store.get(uids)}
    answers = store.answers_on([item.remote_id for item in items.values() if item.remote_id])
    given = {uid: answers.get(item.remote_id or "", []) for uid, item in items.items()}
    return {
        uid: {"said": _said(question, here), "seen": sorted(map(_key, _submitted(here)))} for uid, here in given.items()
    }


def note_asked(store: Store, notes: Mapping[str, Any]) -> None:
    """Keep ``notes`` of records that were asked about. Of one that waits since an earlier time, the earlier stays.

    Those of records that are gone since are dropped.
    """
    kept: dict[str, Any] = json.loads(store.get_meta(NOTED) or "{}")
    here = {item.record.uid for item in store.get(list(kept)) if not item.gone}
    kept = {uid: note for uid, note in kept.items() if uid in here}
    news = {uid: note for uid, note in notes.items() if uid not in kept or kept[uid]["seen"] != note["seen"]}
    store.set_meta(NOTED, json.dumps(kept | news, ensure_ascii=False))


def asked_again(store: Store, question: Question) -> AskedAgain:
    """What came of it so far. Records that are gone since are left out."""
    noted: dict[str, Any] = json.loads(store.get_meta(NOTED) or "{}")
    items = [item for item in store.get(list(noted)) if not item.gone and item.remote_id]
    answers = store.answers_on([item.remote_id for item in items if item.remote_id])
    answered = changed = 0
    for item in items:
        given, note = answers.get(item.remote_id or "", []), noted[item.record.uid]
        if _since(note, given):
            answered += 1
            changed += _said(question, given) != note["said"]
    return AskedAgain(len(items), answered, changed)


def _since(note: dict[str, Any], given: Iterable[Annotation]) -> bool:
    """Whether somebody has answered, or changed their answer, since the ``note`` was made."""
    return bool({_key(one) for one in _submitted(given)} - set(note["seen"]))


def _submitted(given: Iterable[Annotation]) -> list[Annotation]:
    return [one for one in given if one.status is AnnotationStatus.SUBMITTED]


def _key(one: Annotation) -> str:
    return f"{one.id} {one.updated_at.isoformat()}"


def _said(question: Question, given: Iterable[Annotation]) -> str:
    """A digest of what these answers come to, "" for nothing: what a mark's text says is nobody's business here."""
    decided = question.consensus(one for one in given if question.answers(one))
    if decided is None:
        return ""
    plain = [[one.start, one.end, one.label] if isinstance(one, Span) else one for one in decided]
    return hashlib.blake2b(json.dumps(plain).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
