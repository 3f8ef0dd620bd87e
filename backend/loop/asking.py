"""Asking other annotators about records that were answered before: who may be asked about, and what to tell whom."""

from __future__ import annotations

from collections.abc import Sequence

from nextlabel.backend.store import Store, StoredRecord
from nextlabel.connectors.base import Connector
from nextlabel.connectors.errors import ConfigError

NAMED = 3
"""Records named in a complaint."""


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
    found = {item.record.uid: item for item in store.get(uids)}
    troubles = [trouble for uid in uids if (trouble := _trouble(uid, found.get(uid)))]
    if troubles:
        more = f"; and {len(troubles) - NAMED} more" if len(troubles) > NAMED else ""
        raise ConfigError("; ".join(troubles[:NAMED]) + more + "; nobody was asked")
    connector.ask_again([str(item.remote_id) for item in found.values()], opinions)
    store.ask_again(found, opinions)
    return [item.position for item in found.values()]


def _trouble(uid: str, item: StoredRecord | None) -> str:
    if item is None:
        return f"there is no record {uid!r}; `nextlabel export` lists them"
    if item.duplicate_of is not None:
        return f"{uid!r} is a copy of {item.duplicate_of!r}; ask about that one"
    if item.gone:
        return f"{uid!r} was deleted on the platform"
    return "" if item.remote_id else f"{uid!r} is not on the platform yet; nobody has answered it"
