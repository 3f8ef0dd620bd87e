"""What annotators are called. The platform's ids stand in the log; their names are kept beside it, for every page."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

import structlog

from nextlabel.backend.store import Store
from nextlabel.backend.store.answers import NAMES_KEY
from nextlabel.connectors.base import Connector
from nextlabel.connectors.errors import ConnectorError

log = structlog.get_logger(__name__)


def annotator_names(store: Store) -> dict[str, str]:
    """Id -> name, as far as known. No two have the same; who is not in it goes by the id."""
    return store.annotator_names()


def names_of(people: Collection[str], store: Store, connector: Connector) -> dict[str, str]:
    """The names that are known, after a look at the platform if one of ``people`` (ids) is not among them.

    Never raises ConnectorError: who has no name goes by the id.
    """
    if not annotator_names(store).keys() >= set(people):
        try:
            note_names(store, connector.annotator_names())
        except ConnectorError as error:
            log.warning("no names for annotators yet", reason=str(error))
    return annotator_names(store)


def note_names(store: Store, found: Mapping[str, str]) -> None:
    """Keep these names; those of people who are gone from the platform stay."""
    known: dict[str, str] = json.loads(store.get_meta(NAMES_KEY) or "{}")
    merged = {**known, **found}
    if known != merged:
        store.set_meta(NAMES_KEY, json.dumps(merged, ensure_ascii=False))
