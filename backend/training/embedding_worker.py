"""The process that encodes: ``python -m nextlabel.backend.training.embedding_worker WORK``, by EmbeddingProcess.

Nice and with all cores but one, as the one that trains.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from nextlabel.backend.encoders.base import Encoder, usable_cores
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.models.spans.encoder import load_span_encoder
from nextlabel.backend.models.spans.token_cache import TokenCache
from nextlabel.backend.store.atomic import write_atomically

from .embedding_jobs import DONE, EmbeddingJob, EmbeddingProcess
from .progress import ProgressReport, TrainingCancelled, TrainingProgress
from .worker import Stop, main


def embed(work: Path, report: ProgressReport, stop: Stop) -> None:
    """Do the job in ``work``. Raises NextlabelError."""
    started = time.monotonic()
    job, count = EmbeddingJob.load(work)

    def progress(done: int, total: int) -> None:
        if stop():
            raise TrainingCancelled(f"the {EmbeddingProcess.WORD} was stopped")
        report(TrainingProgress("embedding", done, total, seconds=time.monotonic() - started))

    progress(0, count)
    encoder = _encoder(job)
    kind = TokenCache if job.spans else EmbeddingCache
    cache = kind(job.embeddings, encoder.fingerprint, encoder.dimension)
    cache.ensure(job.texts, encoder, progress, total=count)
    write_atomically(work / DONE, b"")


def _encoder(job: EmbeddingJob) -> Encoder:
    threads = max(1, usable_cores() - 1)
    if job.spans:
        return load_span_encoder(job.encoder, max_length=job.max_length, cache_dir=job.cache_dir, threads=threads)
    return load_encoder(
        job.encoder,
        job.engine,
        max_length=job.max_length,
        cache_dir=job.cache_dir,
        threads=threads,
        windows=job.windows,
        images=job.images,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], embed, EmbeddingProcess.WORD))
