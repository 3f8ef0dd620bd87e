"""Seeds in the loop: what matches them is asked first, and no record is asked twice."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from nextlabel.backend.encoders.base import label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.questions import question_of
from nextlabel.backend.queue.ranking import Ranker
from nextlabel.backend.retraining.embedding_space import OWN, EmbeddingSpace
from nextlabel.backend.retraining.model import fitted
from nextlabel.backend.selection import Seeds, get_strategy
from nextlabel.backend.store import StoredRecord
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind, Record

LABELING = Labeling(LabelKind.SINGLE, ("book", "other"))
BOOKS = {7, 90, 133, 170, 214, 260, 281}


def text(number: int) -> str:
    return f"reading the novel Dune in room {number}" if number in BOOKS else f"the bus {number} was late again"


def test_a_search_starts_from_its_seeds_and_asks_nothing_twice(tmp_path: Path) -> None:
    encoder = load_encoder("hashing")
    cache = EmbeddingCache.open(tmp_path, encoder)
    space = EmbeddingSpace(OWN, encoder, cache, label_anchors(LABELING, encoder))
    pool, rng = PoolState(question_of(LABELING)), np.random.default_rng(0)
    strategy = get_strategy("rare", positive=0, likely=1.0, uncertain=0.0, random=0.0, enough=3)
    ranker = Ranker(strategy, 0.2, Seeds(keywords=("novel",)))
    sampling_keys = rng.random(300)
    stored = [
        StoredRecord(n, Record(str(n), {"text": text(n)}), str(n), None, sampling_keys[n], n % 10 == 5, gone=False)
        for n in range(300)
    ]
    rows = cache.ensure([text(n) for n in range(300)], encoder)
    pool.add(stored, rows)
    ranker.note_seeds(pool, stored, rows, space)
    assert set(np.flatnonzero(pool.seeds)) == BOOKS

    asked: list[int] = []
    now = datetime.now(UTC)
    for round_ in range(12):
        model = fitted(pool, f"m{round_}", round_, space)
        batch = ranker.rank(pool, model, 25, rng, pushed_only=True).tolist()
        if round_ == 0:
            chosen = [at for at in batch if at % 10 != 5]
            assert set(chosen[: len(BOOKS)]) == BOOKS
        asked += batch
        pool.answer(
            {
                str(at): [
                    Annotation(
                        str(at), str(at), "1", (LABELING.labels[at not in BOOKS],), AnnotationStatus.SUBMITTED, now
                    )
                ]
                for at in batch
            }
        )
    assert sorted(asked) == list(range(300))


def test_without_seeds_nothing_is_noted(tmp_path: Path) -> None:
    encoder = load_encoder("hashing")
    cache = EmbeddingCache.open(tmp_path, encoder)
    pool = PoolState(question_of(LABELING))
    stored = [StoredRecord(0, Record("0", {"text": "novel"}), "0", None, 0.5, False, gone=False)]
    rows = cache.ensure(["novel"], encoder)
    pool.add(stored, rows)
    space = EmbeddingSpace(OWN, encoder, cache, np.zeros((2, 1), np.float32))
    Ranker(get_strategy("rare"), 0.0).note_seeds(pool, stored, rows, space)
    assert pool.seeds.tolist() == [0]
