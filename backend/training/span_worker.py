"""The process that fine-tunes for spans: ``python -m nextlabel.backend.training.span_worker WORK``.

It may be killed at any moment, and goes on as training.worker does. What it leaves is judged by what the loop would do
with it: a probe on the vectors of the fine-tuned tokens, fitted on the training texts, marks the texts asked about.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from nextlabel.backend.data.span_examples import SpanExamples
from nextlabel.backend.encoders.base import usable_cores
from nextlabel.backend.encoders.model_folder import find_model
from nextlabel.backend.models.label_names import LABELS_FILE
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.models.spans.encoder import SpanEncoder, load_span_encoder
from nextlabel.backend.models.spans.metrics import all_right, span_f1
from nextlabel.backend.models.spans.probe import SpanProbe
from nextlabel.backend.models.spans.token_vectors import Layer, TokenVectors, set_layer
from nextlabel.connectors.content import write_beside

from .process import MODEL
from .progress import ProgressReport
from .span_jobs import SPANS_FILE, SpanTrainingJob, write_found
from .spans import SpanTrainer
from .worker import Stop, in_chunks, main


def train(work: Path, report: ProgressReport, stop: Stop) -> None:
    """Do what is left to do of the job in ``work``. Raises NextlabelError."""
    job, trained = SpanTrainingJob.load(work), work / "trained"
    if not trained.is_dir():
        SpanTrainer(checkpoint_seconds=job.checkpoint_seconds).train(
            find_model(job.encoder, max_length=job.max_length),
            job.examples,
            job.held_out,
            job.spec,
            trained,
            scratch=work / "scratch",
            report=report,
            stop=stop,
        )
    encoder, probe = _best_layer(job, trained, report, stop)
    probe.save(trained / HEAD_FILE)
    labels = json.dumps({"labels": list(job.examples.labels), "kind": "spans"}, indent=1, ensure_ascii=False)
    (trained / LABELS_FILE).write_text(labels + "\n", encoding="utf-8")
    found = probe.predict(_read(job.predict, encoder, report, stop))
    write_found(work / SPANS_FILE, [one.spans for one in found])
    shutil.rmtree(work / "scratch", ignore_errors=True)
    trained.rename(work / MODEL)


def _best_layer(
    job: SpanTrainingJob, trained: Path, report: ProgressReport, stop: Stop
) -> tuple[SpanEncoder, SpanProbe]:
    """The trained encoder, read from the layer on which a probe gets most held-out texts right, and that probe.

    The last one is trained most, but not always best: after 200 texts of restaurant8k a probe found spans with F1 0.77
    on the middle layer of MiniLM and 0.73 on the last. In doubt, and without held-out texts, it is the middle one,
    whose vectors cost half as much.
    """
    threads, apart = max(1, usable_cores() - 1), job.examples.without_overlaps()[0]
    layers: tuple[Layer, ...] = ("middle", "last")
    best: tuple[tuple[float, float], Layer, SpanEncoder, SpanProbe] | None = None
    for layer in layers if job.held_out else layers[:1]:
        set_layer(trained, layer)
        encoder = load_span_encoder(str(trained), max_length=job.max_length, cache_dir=job.cache_dir, threads=threads)
        probe = SpanProbe.fit(_read(_strings(apart), encoder, report, stop), apart.spans, apart.labels)
        mark = (0.0, 0.0)
        if job.held_out:
            predicted = probe.predict(_read(_strings(job.held_out), encoder, report, stop))
            found = [one.spans for one in predicted]
            mark = (float(all_right(found, job.held_out.spans).sum()), span_f1(found, job.held_out.spans))
        if best is None or mark > best[0]:
            best = (mark, layer, encoder, probe)
    assert best is not None  # noqa: S101  # there is a layer at least
    set_layer(trained, best[1])
    return best[2], best[3]


def _strings(examples: SpanExamples) -> list[str]:
    """The texts with their contexts, as SpanEncoder reads them."""
    contexts = examples.contexts or ("",) * len(examples)
    return [write_beside(text, context) for text, context in zip(examples.texts, contexts, strict=True)]


def _read(texts: Sequence[str], encoder: SpanEncoder, report: ProgressReport, stop: Stop) -> list[TokenVectors]:
    """The token vectors of every text."""
    return [one for part in in_chunks(texts, report, stop) for one in encoder.tokens(part).texts()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], train))
