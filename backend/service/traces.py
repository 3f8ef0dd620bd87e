"""What we change in a project: told before it is changed for the first time, and taken out again when a team asks."""

from __future__ import annotations

import json
from collections.abc import Sequence

import structlog

from nextlabel.backend.queue.overlap import WISH
from nextlabel.backend.store import Store
from nextlabel.connectors.base import Connector, Progress, no_progress

from .image_copies import ImageCopies

log = structlog.get_logger(__name__)

BEFORE = "settings_before"
"""Where the store keeps what the project had for the settings that we change; empty when we are out of it."""


def tell_first_changes(store: Store, connector: Connector) -> None:
    """Before anything is changed for the first time: keep the settings as they are, and tell what becomes of them."""
    if store.get_meta(BEFORE):
        return
    store.set_meta(BEFORE, json.dumps(dict(connector.settings())))
    for change in connector.survey().changes:
        log.info("nextlabel changes the project; nextlabel detach takes it back", change=change)


def detach(
    store: Store, connector: Connector, images: ImageCopies | None = None, progress: Progress = no_progress
) -> Sequence[str]:
    """Take everything that is ours, but records, out of the project; return what was done. May be repeated.

    With ``images`` their addresses, which end with us, become the images themselves again. What we know stays, so the
    next start goes on where this one was. Raises ConnectorError.
    """
    put_back = _put_back(connector, images, progress) if images is not None and images.used else []
    before = json.loads(store.get_meta(BEFORE) or "{}")
    asked = [item.remote_id for item in store.records() if item.opinions and item.remote_id and not item.gone]
    done = connector.detach(before, asked, progress)
    store.forget_suggestions()
    store.set_meta(BEFORE, "")
    store.set_meta(WISH, "")
    return [*put_back, *done]


def _put_back(connector: Connector, images: ImageCopies, progress: Progress) -> list[str]:
    connector.images = images.inside()
    turned = connector.turn_images(progress)
    images.clear()  # a copy that is wanted again is made from the store
    return [f"{turned:,} records hold their images themselves again"] if turned else []
