"""What the store knows of a project, read once and never written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from nextlabel.backend.annotators.opinions import Opinions, from_annotations
from nextlabel.backend.models.registry import SPACE_IN_USE
from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.questions import question_of
from nextlabel.backend.store import LogRow, ModelRow, Store
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling


@dataclass(frozen=True, slots=True)
class Gathered:
    """The answers as the loop sees them, and what was made of them.

    ``training`` int64 [m]: positions of the records that models learn from, in the order of their first answers;
    ``audited`` int64 [n]: of the answered audit slice. ``records`` are those to label: no copies, none that is gone.
    ``models``: oldest first. ``trained``: version of the trained encoder in use, empty for the recipe's own.
    ``opinions``: who said what, None where the question does not have one label per record.
    """

    pool: PoolState
    training: Positions
    audited: Positions
    records: int
    answers: int
    skips: int
    people: int
    first: datetime
    last: datetime
    models: tuple[ModelRow, ...]
    trained: str
    opinions: Opinions | None

    @property
    def labeling(self) -> Labeling:
        """The question."""
        return self.pool.labeling


def gather(store: Store, labeling: Labeling) -> Gathered:
    """Read the store. Raises ConfigError if it holds no answer to a record that is still there."""
    pool, touched, moments = PoolState(labeling), store.touched(0), _first_answers(store)
    known = store.get_remote(list(touched))
    stored = list(known.values())
    # Whether a record is embedded is of no matter here, so each gets a row; the loop's own rules do the rest.
    pool.add(stored, np.arange(len(stored), dtype=np.int64))
    pool.answer(touched)
    training, audited = pool.training(), pool.audited()
    if not len(training) and not len(audited):
        raise ConfigError("no record has a label yet, so there is nothing to report; label some and try again")
    current = [one for answers in touched.values() for one in answers]
    given = [one for one in current if one.status is AnnotationStatus.SUBMITTED]
    times = [one.updated_at for one in given]
    rank = {known[remote_id].position: at for at, remote_id in enumerate(moments) if remote_id in known}
    counts = store.counts()
    return Gathered(
        pool=pool,
        training=np.array(sorted(training.tolist(), key=lambda at: rank.get(at, len(rank))), np.int64),
        audited=audited,
        records=max(counts.records - counts.duplicates - counts.gone, len(training) + len(audited)),
        answers=len(given),
        skips=sum(one.status is AnnotationStatus.SKIPPED for one in current),
        people=len({one.annotator for one in given}),
        first=min(times),
        last=max(times),
        models=tuple(reversed(store.models())),
        trained=store.get_meta(SPACE_IN_USE) or "",
        opinions=_opinions(labeling, given, {remote: one.position for remote, one in known.items()}),
    )


def _first_answers(store: Store) -> dict[str, int]:
    """Remote id -> log row of its first submitted answer, in that order."""
    found: dict[str, int] = {}
    for row in _log(store):
        one = row.annotation
        if one is not None and one.status is AnnotationStatus.SUBMITTED:
            found.setdefault(one.remote_id, row.seq)
    return found


def _log(store: Store) -> Iterator[LogRow]:
    since = 0
    while rows := store.log_rows(since):
        yield from rows
        since = rows[-1].seq


def _opinions(labeling: Labeling, given: list[Annotation], position: dict[str, int]) -> Opinions | None:
    if not question_of(labeling).compares:
        return None
    return from_annotations(given, position, max(position.values(), default=-1) + 1, labeling.labels)
