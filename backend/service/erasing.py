"""What was deleted on the platform is erased here: texts and images within hours, vectors once nobody has them open."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.encoders.cache import digests
from nextlabel.backend.encoders.cache_use import forget
from nextlabel.backend.encoders.multimodal import TOWERS, kept_parts
from nextlabel.backend.retraining.embedding_space import learned_positions
from nextlabel.backend.store import ModelRow, Store, StoredRecord
from nextlabel.connectors.content import text_of
from nextlabel.connectors.records import Labeling, Record

from .image_copies import ImageCopies

log = structlog.get_logger(__name__)

EMBEDDINGS = "embeddings"
"""The folder of the home in which vectors are kept, by encoder."""
ENCODERS = "encoders"
"""The folder of the home with what is made once for a model."""
ERASE_AFTER = timedelta(hours=1)
"""So long a record has to be gone: somebody may put it back at once."""
EVERY_S = 600.0


class Eraser:
    """Erases texts of the running service's store, now and then."""

    def __init__(self, store: Store, labeling: Labeling, rules: ImageRules, images: ImageCopies | None = None) -> None:
        self._store, self._labeling, self._rules, self._images = store, labeling, rules, images
        self._next = 0.0
        self._flushed = True

    def tick(self) -> None:
        """Erase what has been gone for long enough, if it is time to look."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY_S
        known_by = partial(digests_of, self._labeling, self._rules)
        erased = self._store.erase_gone(known_by, datetime.now(UTC) - ERASE_AFTER)
        if erased:
            log.info("what records say that the platform deleted is erased", records=len(erased))
            if self._images is not None and self._images.used:
                self._images.fill()
        if erased or not self._flushed:
            self._flushed = self._store.flush_erased()


def digests_of(labeling: Labeling, rules: ImageRules, record: Record) -> list[bytes]:
    """What the caches of vectors know a record by: as a whole, and what it says and shows each alone."""
    content = labeling.content(record)
    return digests([content, *kept_parts(content, rules)])


def remove_vectors(store: Store, labeling: Labeling, home: Path) -> tuple[int, list[Path]]:
    """Remove the vectors of what was erased from every cache; how many went, and the caches that somebody uses.

    Those of other projects' records that say the same go too, and of images that other records show: they are encoded
    again when they are wanted.
    """
    erased = set(store.erased_digests())
    if not erased:
        return 0, []
    there = (labeling.content(item.record) for item in store.records() if item.record.fields)
    wanted = erased.difference(digests(part for content in there for part in (content, text_of(content))))
    removed, busy = 0, []
    caches = (home / EMBEDDINGS, home / ENCODERS / TOWERS)
    for folder in sorted(path.parent for place in caches for path in place.glob("*/keys")):
        if (gone := forget(folder, wanted)) is None:
            busy.append(folder)
        else:
            removed += gone
    if not busy:
        store.note_removed(erased)  # and not what was erased meanwhile
    return removed, busy


def learned_from(store: Store, found: Sequence[StoredRecord], home: Path) -> list[str]:
    """Versions of the models that may have learned from answers to these records, newest first."""
    first = {item.position: store.first_answer(item.remote_id) for item in found if item.remote_id and not item.audit}
    answered = {position: seq for position, seq in first.items() if seq is not None}

    def has_learned(model: ModelRow) -> bool:
        trained = learned_positions(home / "models" / model.version)
        return any(
            seq <= model.log_seq and (trained is None or position in trained) for position, seq in answered.items()
        )

    return [model.version for model in store.models() if has_learned(model)]
