"""Which model of a project is in use: choose another one, or go back. What runs on the store follows.

The store keeps two things: the current model, which answers until the loop fits the next probe, and the trained model
in whose vectors that probe is to be fitted (empty: the recipe's own encoder). They are changed together here.
"""

from __future__ import annotations

from pathlib import Path

from nextlabel.backend.learning.registry import ModelStore, is_trained, unknown_version
from nextlabel.backend.store import ModelRow, Store
from nextlabel.connectors.errors import LearningError

CHOSEN_SPACE = "space"
"""Where the store keeps the version of the trained model that was chosen; empty: the recipe's own encoder."""
SPACE_IN_USE = "space_in_use"
"""The same of the model that the loop works with: it follows once all records are encoded for the chosen one."""


def line_of(row: ModelRow) -> str:
    """The trained model whose vectors ``row`` reads, itself if it is one; empty for the recipe's own encoder."""
    return row.version if is_trained(row.version) else row.base


def choose_version(store: Store, models: ModelStore, version: str) -> ModelRow:
    """Put ``version`` into use, once its weights are known to be there and whole.

    Raises LearningError if the project has no such model, or its files are gone or damaged. Nothing changes then.
    """
    rows = {row.version: row for row in store.models()}
    if version not in rows:
        raise LearningError(unknown_version(version, list(rows)))
    row = rows[version]
    if line_of(row):
        models.get(line_of(row))
    if not Path(row.path).exists():
        raise LearningError(f"the weights of {version} are no longer there ({row.path}); choose another version")
    store.set_meta(CHOSEN_SPACE, line_of(row))
    store.set_current(version)
    return row


def roll_back(store: Store, models: ModelStore) -> str:
    """Go back to what was in use before the trained model that is in use now.

    Returns the version, or nothing if it is the recipe's own encoder: no probe of it is left, and the loop fits one at
    its next start or label. Raises LearningError if nothing was in use before, or none of it is left.
    """
    current = store.current_model()
    if current is None:
        raise LearningError("no model is in use yet, so there is none to go back to")
    line, rows = store.get_meta(CHOSEN_SPACE) or "", store.models()
    stood_on = {row.base for row in rows} | {line}  # a trained model without probes on it was kept, but never used
    used = [row for row in rows if not is_trained(row.version) or row.version in stood_on]
    start = line or current.version
    older = used[next((at + 1 for at, row in enumerate(used) if row.version == start), 0) :]
    for before in dict.fromkeys(line_of(row) for row in older if line_of(row) != line):
        for row in older:
            if line_of(row) == before:
                try:
                    return choose_version(store, models, row.version).version
                except LearningError:
                    continue  # its files are gone; an older one's may not be
        if not before:
            store.set_meta(CHOSEN_SPACE, before)
            return before
    raise LearningError(f"nothing that was in use before {start} is left; choose with: nextlabel models promote")
