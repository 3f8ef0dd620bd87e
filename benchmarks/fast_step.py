"""The fast step after a label: refit on 2,000 labels, score the pool, diversify, rank.

The real parts do it: Probe, EmbeddingCache (a float16 file, mapped into memory), PoolState and Ranker with its audit
share. Only the vectors are made up: five classes, unit length. Each repeat takes one new label, so the probe is
refitted warm; "calibrating" is the refit that finds the temperature anew, once in every 10% of new labels.
On a busy machine look at the CPU time: what the whole step takes when nobody else wants the cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

from benchmarks.reporting import publish
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.questions import question_of
from nextlabel.backend.questions.choice import ChoiceHead
from nextlabel.backend.queue.ranking import Ranker
from nextlabel.backend.retraining.embedding_space import OWN, EmbeddingSpace
from nextlabel.backend.retraining.model import Model
from nextlabel.backend.selection import get_strategy
from nextlabel.backend.store import StoredRecord
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind, Record

GOALS = {100_000: 0.5, 1_000_000: 3.0}  # seconds
CLASSES, DIMENSION = 5, 384
LABELING = Labeling(LabelKind.SINGLE, tuple("abcde"))
BATCH = 50_000


@dataclass
class MadeUp:
    """An encoder of texts that are numbers: the vector of a number is drawn around the centre of its class."""

    name: str = "made-up"
    fingerprint: str = "made-up"
    dimension: int = DIMENSION

    def encode(self, texts: Sequence[Readable]) -> npt.NDArray[np.float32]:
        """Unit vectors that are as hard to tell apart as real ones: the probe gets about nine in ten right."""
        numbers = np.array([int(text_of(text)) for text in texts])
        centres = np.random.default_rng(0).normal(size=(CLASSES, DIMENSION)).astype(np.float32)
        noise = np.random.default_rng([1, int(numbers[0])]).standard_normal((len(texts), DIMENSION), np.float32)
        vectors = 0.12 * centres[truth(numbers)] + noise
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def truth(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The class of each number."""
    return numbers * 7919 % 104_729 % CLASSES


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="fast_step", description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=list(GOALS), help="sizes of the pool")
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--queue", type=int, default=250, help="length of the queue")
    parser.add_argument("--strategy", default="margin-diverse")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args(argv)
    sizes = {str(size): _measure(size, options) for size in options.records}
    columns = [
        "records",
        "refit",
        "calibrating",
        "score, diversify, rank",
        "whole step",
        "CPU time",
        "calibrating step",
        "goal",
    ]
    rows = []
    for size, seconds in sizes.items():
        goal = GOALS.get(int(size))
        shown = [f"{seconds[key]:.3f} s" for key in ("refit", "calibrating", "rank", "step", "cpu", "worst")]
        rows.append([f"{int(size):,}", *shown, "" if goal is None else f"< {goal} s"])
    return publish("fast_step", {"labels": options.labels, "strategy": options.strategy, "s": sizes}, columns, rows)


def _measure(size: int, options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        pool, cache = _pool(size, Path(folder))
        ranker = Ranker(get_strategy(options.strategy), 0.1)
        space = EmbeddingSpace(OWN, MadeUp(), cache, np.zeros((CLASSES, DIMENSION), np.float32))
        rng = np.random.default_rng(0)
        order = rng.permutation(np.flatnonzero(~pool.is_blind(np.arange(size))))
        refits, ranks, steps, busy = [], [], [], []
        probe = _fit(cache, order[: options.labels], None)
        _answer(pool, order[: options.labels])
        for label in range(options.repeats + 1):  # the first warms up
            new = order[: options.labels + label]
            _answer(pool, new[-1:])
            started, worked = time.perf_counter(), time.process_time()
            probe = _fit(cache, new, probe)
            fitted = time.perf_counter()
            ranking = ranker.rank(
                pool,
                Model("probe", ChoiceHead(probe), label, space, pool.question),
                options.queue,
                rng,
                pushed_only=True,
            )
            ended = time.perf_counter()
            assert len(set(ranking.tolist())) == options.queue
            refits.append(fitted - started)
            ranks.append(ended - fitted)
            steps.append(ended - started)
            busy.append(time.process_time() - worked)
        started = time.perf_counter()
        _fit(cache, order[: round(options.labels * 1.2)], probe)
        calibrating = time.perf_counter() - started
    rank = statistics.median(ranks[1:])
    refit, step = statistics.median(refits[1:]), statistics.median(steps[1:])
    cpu = statistics.median(busy[1:])
    return {
        "refit": refit,
        "calibrating": calibrating,
        "rank": rank,
        "step": step,
        "cpu": cpu,
        "worst": calibrating + rank,
    }


def _fit(cache: EmbeddingCache, positions: npt.NDArray[np.int64], warm: Probe | None) -> Probe:
    return Probe.fit(cache.take(positions), truth(positions), CLASSES, warm=warm)


def _answer(pool: PoolState, positions: npt.NDArray[np.int64]) -> None:
    now = datetime.now(UTC)
    for position, label in zip(positions.tolist(), truth(positions), strict=True):
        answer = Annotation(str(position), str(position), "1", ("abcde"[label],), AnnotationStatus.SUBMITTED, now)
        pool.answer({str(position): [answer]})


def _pool(size: int, folder: Path) -> tuple[PoolState, EmbeddingCache]:
    """A pool of ``size`` records, all embedded and on the platform, a tenth (500 at most) in the audit slice."""
    encoder = MadeUp()
    cache = EmbeddingCache.open(folder, encoder)
    pool = PoolState(question_of(LABELING))
    lots = np.random.default_rng(0).uniform(size=size)
    for start in track(range(0, size, BATCH), description=f"{size:,} records"):
        numbers = range(start, min(start + BATCH, size))
        rows = cache.ensure([f"{number:07}" for number in numbers], encoder)
        records = [
            StoredRecord(n, Record(str(n), {}), str(n), None, lots[n], lots[n] < min(0.1, 500 / size), gone=False)
            for n in numbers
        ]
        pool.add(records, rows)
    return pool, cache
