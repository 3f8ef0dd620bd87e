"""What suggesters say of a pool's records, and how right they are, by the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nextlabel.backend.questions import Agreeing, Proposal, Voices
from nextlabel.backend.store import Store, StoredRecord
from nextlabel.backend.suggesters import content_keys

from .pool import PoolState, Positions

SUGGESTERS = "suggesters"
"""Where the store keeps the suggesters of its project: name -> the key that what they say is kept under."""


def note_suggesters(store: Store, keys: Mapping[str, str]) -> None:
    """These are the project's suggesters from now on; what others said is forgotten."""
    written = json.dumps(dict(keys), ensure_ascii=False)
    if (store.get_meta(SUGGESTERS) or "{}") != written:
        store.set_meta(SUGGESTERS, written)
        store.forget_proposals({one for one in store.suggesters() if one.partition(" ")[0] not in keys.values()})


def known_suggesters(store: Store) -> dict[str, str]:
    """Name -> key."""
    found: dict[str, str] = json.loads(store.get_meta(SUGGESTERS) or "{}")
    return found


def filter_key(key: str, required: Sequence[str] = ()) -> str:
    """What it is kept under whether a suggester wants a record to be taken in, for the labels that are ``required``."""
    return " ".join((key, "only", *required))


def proposals_of(store: Store, key: str, contents: Sequence[str]) -> dict[str, Proposal | None]:
    """Content -> what the suggester of this ``key`` says; without those that it was not asked about."""
    found = store.proposals(key, contents)
    return {content: None if said is None else Proposal.from_json(said) for content, said in found.items()}


def hear(store: Store, pool: PoolState, stored: Sequence[StoredRecord]) -> None:
    """Take into ``pool`` what the store's suggesters have said of these records. Without suggesters nothing."""
    known = known_suggesters(store)
    if not known or not stored:
        return
    pool.listen(list(known))
    contents = content_keys(pool.labeling, [item.record for item in stored])
    positions = [item.position for item in stored]
    for name, key in known.items():
        said = proposals_of(store, key, contents)
        asked = [(at, said[one]) for at, one in zip(positions, contents, strict=True) if one in said]
        pool.note_proposals(name, [at for at, _ in asked], [one for _, one in asked])


def figures(pool: PoolState) -> dict[str, dict[str, Any]]:
    """Of each suggester: ``coverage``, the share of the records that it says something of; and by answers so far.

    ``agreeing``: how often people say what it says, ``accuracy`` with its interval; ``blind``: the same on the audit
    slice, where nobody was shown a suggestion. ``asked``: of how many ``records`` it was asked.
    """
    voices = pool.voices
    if voices is None:
        return {}
    open_to, training, blind = pool.embedded(), pool.training(), pool.audited()
    agreeing, unseen = _agreeing(pool, voices, training), _agreeing(pool, voices, blind)
    found = {}
    for number, name in enumerate(voices.names):
        places = voices.places(name, open_to)
        asked, said = int((places > -2).sum()), int((places >= 0).sum())
        found[name] = {
            "records": len(open_to),
            "asked": asked,
            "coverage": said / asked if asked else None,
            "agreeing": agreeing[number].to_json(),
            "blind": unseen[number].to_json(),
        }
    return found


def _agreeing(pool: PoolState, voices: Voices, positions: Positions) -> list[Agreeing]:
    at = np.asarray(positions, np.int64)
    return pool.question.voicing.agreeing(voices.block(at), pool.targets(at))
