"""What the store knows of a project, read once and never written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from nextlabel.backend.annotators.names import annotator_names
from nextlabel.backend.annotators.opinions import Opinions, from_annotations
from nextlabel.backend.annotators.quality import krippendorff, pair_agreement
from nextlabel.backend.intervals import NOTHING, Counts, Interval, Scores, interval_of, leave_out, units_of
from nextlabel.backend.loop.marks import fitted
from nextlabel.backend.models.card import SLIPS
from nextlabel.backend.models.registry import SPACE_IN_USE
from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.pool.voices import figures, hear
from nextlabel.backend.questions import Question, newest_answers, question_of
from nextlabel.backend.store import ModelRow, Store
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling

LEAST_REPEATED = 20  # records with two answers, below which no share is worth its interval


@dataclass(frozen=True, slots=True)
class Slips:
    """Answers of the audit slice that the newest model takes for slips of whoever gave them.

    ``people``: name -> how many of these, and answers to the slice in all; ``uids``: of some of the records.
    """

    answers: int
    people: dict[str, tuple[int, int]]
    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gathered:
    """The answers as the loop sees them, and what was made of them.

    ``training`` int64 [m]: positions of the records that models learn from, in the order of their first answers;
    ``audited`` int64 [n]: of the answered audit slice; ``held_out`` of the answers from before the first start that are
    kept from training. ``records`` are those to label: no copies, none that is gone.
    ``drawn_from`` of them were open when the audit slice was drawn, or came later, so it speaks of these; ``before``
    int64 [k]: positions of ``training`` that were answered by then. ``models``: oldest first. ``trained``: version of
    the trained encoder in use, empty for the recipe's own. ``opinions``: who said what, None where the question does
    not have one label per record. ``suggesters``: name -> what answers say of it, see pool's ``figures``.
    """

    pool: PoolState
    training: Positions
    audited: Positions
    held_out: Positions
    records: int
    drawn_from: int
    before: Positions
    answers: int
    skips: int
    people: int
    first: datetime
    last: datetime
    models: tuple[ModelRow, ...]
    trained: str
    opinions: Opinions | None
    suggesters: dict[str, dict[str, Any]] = field(default_factory=dict)
    slips: Slips | None = None
    marks: Agreement | None = None

    @property
    def labeling(self) -> Labeling:
        """The question."""
        return self.pool.labeling


def gather(store: Store, labeling: Labeling) -> Gathered:
    """Read the store. Raises ConfigError if it holds no answer to a record that is still there."""
    pool, moments = PoolState(question_of(labeling)), _first_answers(store)
    touched, _ = fitted(store, pool.question, store.touched(0))
    known = store.get_remote(list(touched))
    stored = list(known.values())
    # Whether a record is embedded is of no matter here, so each gets a row; the loop's own rules do the rest.
    pool.add(stored, np.arange(len(stored), dtype=np.int64))
    hear(store, pool, stored)
    pool.answer(touched)
    training, audited, held_out = pool.training(), pool.audited(), pool.held_out()
    if not len(training) + len(audited) + len(held_out):
        raise ConfigError("no record has a label yet, so there is nothing to report; label some and try again")
    current = [one for answers in touched.values() for one in answers]
    given = [one for one in current if one.status is AnnotationStatus.SUBMITTED]
    times = [one.updated_at for one in given]
    rank = {known[remote_id].position: at for at, remote_id in enumerate(moments) if remote_id in known}
    counts = store.counts()
    records = max(counts.records - counts.duplicates - counts.gone, len(training) + len(audited) + len(held_out))
    seen = {item.position for item in stored if item.seen}
    before = np.array([at for at in training.tolist() if at in seen], np.int64)
    return Gathered(
        pool=pool,
        training=np.array(sorted(training.tolist(), key=lambda at: rank.get(at, len(rank))), np.int64),
        audited=audited,
        held_out=held_out,
        records=records,
        drawn_from=max(records - counts.seen, len(training) - len(before) + len(audited)),
        before=before,
        answers=len(given),
        skips=sum(one.status is AnnotationStatus.SKIPPED for one in current),
        people=len({one.annotator for one in given}),
        first=min(times),
        last=max(times),
        models=tuple(reversed(store.models())),
        trained=store.get_meta(SPACE_IN_USE) or "",
        opinions=_opinions(labeling, given, {remote: one.position for remote, one in known.items()}, store),
        suggesters=figures(pool),
        slips=_slips(store),
        marks=mark_agreement(pool.question, touched.values()) if pool.question.reads_tokens else None,
    )


def _slips(store: Store) -> Slips | None:
    """What the newest model that was looked at so noted; None for nothing, or nothing that can be read."""
    found: Any = next((row.metrics[SLIPS] for row in store.models() if SLIPS in row.metrics), None)
    try:
        doubted = {str(one): (int(some), int(given)) for one, (some, given) in found["people"].items() if some}
        records = store.get_remote([str(one) for one in found["records"]])
        answers = int(found["answers"])
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    names = annotator_names(store)
    people = {names.get(one, one): counts for one, counts in doubted.items()}
    return Slips(answers, people, tuple(one.record.uid for one in records.values() if not one.gone)) if people else None


def _first_answers(store: Store) -> dict[str, int]:
    """Remote id -> log row of its first submitted answer, in that order."""
    found: dict[str, int] = {}
    since = 0
    while rows := store.log_rows(since):
        for row in rows:
            if row.annotation is not None and row.annotation.status is AnnotationStatus.SUBMITTED:
                found.setdefault(row.annotation.remote_id, row.seq)
        since = rows[-1].seq
    return found


def _opinions(labeling: Labeling, given: list[Annotation], position: dict[str, int], store: Store) -> Opinions | None:
    if not question_of(labeling).compares:
        return None
    size, names = max(position.values(), default=-1) + 1, annotator_names(store)
    return from_annotations(given, position, size, labeling.labels, names, store.adjudicators())


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over ``records`` that have two answers or more.

    ``pairs``: how often two people who answered the same record said the same. ``alpha``: Krippendorff's alpha for
    nominal data, 1 for full agreement and 0 for that of chance; nan where all answers are the same. Where people mark
    parts of texts (``of_marks``), ``pairs`` is the F1 of two people's marks, and there is no alpha.
    """

    records: int
    pairs: Interval
    alpha: Interval
    of_marks: bool = False


def mark_agreement(question: Question, answers: Iterable[Iterable[Annotation]]) -> Agreement | None:
    """How far people mark alike, of all answers to each record; None with fewer than LEAST_REPEATED repeated records.

    See Question.agreement.
    """
    alike = [question.agreement([one.value for one in newest_answers(given).values()]) for given in answers]
    scores = np.array([one for one in alike if one is not None])
    if len(scores) < LEAST_REPEATED:
        return None

    def mean(counts: Counts) -> Scores:
        return np.asarray(counts @ scores / counts.sum(axis=1))[:, None]

    whole, without = mean(np.ones((1, len(scores))))[0], leave_out(mean, units_of(None, len(scores)))
    return Agreement(len(scores), interval_of(whole, without, np.array([len(scores)])), NOTHING, of_marks=True)


def agreement(opinions: Opinions) -> Agreement | None:
    """The agreement, None with fewer than LEAST_REPEATED repeated records."""
    repeated = np.flatnonzero(opinions.per_record > 1)
    if len(repeated) < LEAST_REPEATED:
        return None
    votes = opinions.take(repeated).votes.astype(np.float64)

    def both(counts: Counts) -> Scores:
        """Both in [0, 1]: alpha lies in [-1, 1]."""
        weights = counts.astype(np.float64)
        return np.stack([pair_agreement(votes, weights), (krippendorff(votes, weights) + 1) / 2], axis=1)

    whole, without = both(np.ones((1, len(votes))))[0], leave_out(both, units_of(None, len(votes)))
    records = np.array([len(votes)])
    pairs, alpha = (interval_of(whole[[at]], without[:, [at]], records) for at in (0, 1))
    return Agreement(len(votes), pairs, Interval(*(2 * one - 1 for one in (alpha.mean, alpha.low, alpha.high))))
