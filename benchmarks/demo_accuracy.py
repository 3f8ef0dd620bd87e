"""The demo's accuracy at 200 labels, offline: the queue that learns against the same learner in random order.

Replays the demo with its own parts: recipe, encoder, embedding cache, pool, probe, strategy, audit share. Three
simulated annotators hold a record each and one of them is wrong in 10 of 100 answers; after every answer the probe
is refitted and the queue made anew. What is not there is Label Studio. Accuracy is the true one, on every record
without a label. ``--strategies`` compares several; the random twin is always run.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from rich.progress import Progress

from benchmarks.reporting import publish
from nextlabel.backend.demo.annotators import noisy
from nextlabel.backend.encoders.base import label_anchors
from nextlabel.backend.evaluation import accuracy, wilson_interval
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.questions import question_of
from nextlabel.backend.questions.choice import ChoiceHead
from nextlabel.backend.queue.ranking import Ranker
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.retraining.embedding_space import OWN, EmbeddingSpace
from nextlabel.backend.retraining.model import Model
from nextlabel.backend.selection import get_strategy
from nextlabel.backend.service.opening import open_cache, open_encoder
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import StoredRecord
from nextlabel.connectors.records import Annotation, AnnotationStatus
from nextlabel.recipes.bbc_news import recipe as bbc_news

ERROR_RATES = (0.0, 0.0, 0.1)
STEPS = (20, 50, 100, 150, 200)
GOAL = 0.955
QUEUE = 20  # places looked at after each refit: held records are passed over, and the next answer makes a new queue


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    recipe: Recipe
    records: list[StoredRecord]
    truth: list[str]
    space: EmbeddingSpace
    rows: Any
    share: float

    def targets(self) -> Any:
        """True classes, int64 [n]."""
        return np.array([self.recipe.labels.index(label) for label in self.truth])


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="demo_accuracy", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--strategies", nargs="+", default=[bbc_news.strategy])
    parser.add_argument("--max-length", type=int, default=bbc_news.max_length, help="tokens of a text that are read")
    options = parser.parse_args(argv)
    bench = _open(bbc_news.model_copy(update={"max_length": options.max_length}))
    names = [*options.strategies, "random"]
    with Progress(transient=True) as progress:
        work = progress.add_task("runs", total=len(names) * options.seeds)
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for seed in range(options.seeds):
            for name in names:
                runs[name].append(_run(bench, name, seed))
                progress.advance(work)
    summary = {name: _summary(found, runs["random"]) for name, found in runs.items()}
    columns = ["strategy", *(f"{step}" for step in STEPS), "over random", "better in", "audit holds truth", "goal"]
    rows = [
        [
            name,
            *(f"{mean:.3f} ± {sd:.3f}" for mean, sd in zip(s["mean"], s["sd"], strict=True)),
            f"{s['over_random']:+.3f}",
            f"{s['wins']} of {options.seeds}",
            f"{s['covered']} of {options.seeds}",
            f">= {GOAL}",
        ]
        for name, s in summary.items()
    ]
    result = {"seeds": options.seeds, "steps": STEPS, "max_length": options.max_length, "strategies": summary}
    return publish("demo_accuracy", result, columns, rows)


def _summary(found: list[dict[str, Any]], twins: list[dict[str, Any]]) -> dict[str, Any]:
    curves, last = [one["accuracy"] for one in found], [one["accuracy"][-1] for one in found]
    gains = [here - twin["accuracy"][-1] for here, twin in zip(last, twins, strict=True)]
    return {
        "mean": [statistics.mean(values) for values in zip(*curves, strict=True)],
        "sd": [statistics.stdev(values) if len(found) > 1 else 0.0 for values in zip(*curves, strict=True)],
        "over_random": statistics.mean(gains),
        "wins": sum(gain > 0 for gain in gains),
        "covered": sum(one["audit"][0] <= one["accuracy"][-1] <= one["audit"][1] for one in found),
    }


def _open(recipe: Recipe) -> Bench:
    """Records without their exact copies, embedded."""
    settings = Settings()
    encoder = open_encoder(recipe, settings)
    cache = open_cache(recipe, settings, encoder)
    answers, labeling = recipe.truth(), recipe.labeling()
    first = {record.content_hash(): record for record in reversed(list(recipe.read()))}
    unique = sorted(first.values(), key=lambda record: record.uid)
    with Progress(transient=True) as progress:
        work = progress.add_task("encoding", total=len(unique))
        texts = [labeling.content(record) for record in unique]
        rows = cache.ensure(texts, encoder, lambda done, total: progress.update(work, completed=done, total=total))
    records = [StoredRecord(at, record, str(at), None, 0.0, False, False) for at, record in enumerate(unique)]
    truth = [answers[record.uid] for record in unique]
    space = EmbeddingSpace(OWN, encoder, cache, label_anchors(labeling, encoder))
    return Bench(recipe, records, truth, space, rows, settings.audit_share)


def _run(bench: Bench, strategy: str, seed: int) -> dict[str, Any]:
    """One replay: accuracy on the unlabelled rest at each step, and the audit interval at the end."""
    rng = np.random.default_rng([seed, 2])
    labeling, size = bench.recipe.labeling(), len(bench.records)
    pool = PoolState(question_of(labeling))
    lots = np.random.default_rng([seed, 3]).uniform(size=size)
    pool.add([_with_lot(one, lot, bench.share) for one, lot in zip(bench.records, lots, strict=True)], bench.rows)
    ranker = Ranker(get_strategy(strategy), bench.share)
    targets, probe = bench.targets(), None
    desks: list[int | None] = [None] * len(ERROR_RATES)  # what each annotator holds
    found = []
    for label in range(STEPS[-1] + 1):
        probe = _fit(bench, pool, probe)
        if label in STEPS:
            rest = np.setdiff1d(np.arange(size), np.concatenate([pool.training(), pool.audited()]))
            found.append(accuracy(probe.predict_proba(bench.space.cache.take(bench.rows[rest])), targets[rest]))
        queue = ranker.rank(
            pool, Model("probe", ChoiceHead(probe), label, bench.space, pool.question), QUEUE, rng, pushed_only=True
        ).tolist()
        for desk, held in enumerate(desks):
            if held is None:
                desks[desk] = next(at for at in queue if at not in desks)
        who = int(rng.integers(len(desks)))
        at = desks[who]
        assert at is not None
        answer = noisy(bench.truth[at], list(bench.recipe.labels), ERROR_RATES[who], rng)
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=label)
        pool.answer(
            {str(at): [Annotation(str(label), str(at), str(who), (answer,), AnnotationStatus.SUBMITTED, moment)]}
        )
        desks[who] = None
    audited = pool.audited()
    predicted = probe.predict_proba(bench.space.cache.take(bench.rows[audited])).argmax(axis=1) if probe else audited
    return {
        "accuracy": found,
        "audit": wilson_interval(int((predicted == pool.targets(audited)).sum()), len(audited)),
    }


def _with_lot(one: StoredRecord, lot: float, share: float) -> StoredRecord:
    return StoredRecord(one.position, one.record, one.remote_id, None, lot, lot < share, gone=False)


def _fit(bench: Bench, pool: PoolState, warm: Probe | None) -> Probe:
    rows = pool.training()
    vectors = bench.space.cache.take(bench.rows[rows])
    return bench.space.fit(vectors, pool.targets(rows), len(bench.recipe.labels), warm=warm)
