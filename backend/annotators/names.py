"""What annotators are called. The platform's ids stand in the log; their names are kept beside it, for every page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

from nextlabel.backend.store import Store

KEY = "annotator names"


def annotator_names(store: Store) -> dict[str, str]:
    """Id -> name, as far as known. No two have the same; who is not in it goes by the id."""
    found: dict[str, str] = json.loads(store.get_meta(KEY) or "{}")
    taken = Counter(found.values())
    return {one: name if taken[name] == 1 else f"{name} ({one})" for one, name in found.items()}


def note_names(store: Store, found: Mapping[str, str]) -> None:
    """Keep these names; those of people who are gone from the platform stay."""
    known: dict[str, str] = json.loads(store.get_meta(KEY) or "{}")
    merged = {**known, **found}
    if known != merged:
        store.set_meta(KEY, json.dumps(merged, ensure_ascii=False))
