"""Encoding many texts in a process of its own, into the cache that the service reads.

What is encoded is in the cache within a second, so a job that was killed needs no checkpoint: whoever starts the next
one leaves out what is there already.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.encoders.base import Engine
from nextlabel.backend.store.atomic import write_atomically
from nextlabel.connectors.errors import LearningError

from .jobs import JOB_FILE, read_lines, readable_errors, write_lines
from .process import TrainingProcess

FORMAT = "nextlabel-embedding-1"
TEXTS_FILE, DONE = "texts.jsonl", "embedded"


@dataclass(frozen=True, slots=True)
class EmbeddingJob:
    """Encode ``texts`` into the EmbeddingCache in the folder ``embeddings``; with ``spans``, into the TokenCache there.

    ``encoder``, ``engine``, ``max_length``, ``windows``, ``cache_dir`` and ``images`` as for load_encoder; with
    ``spans`` those that load_span_encoder has. ``texts`` may be a generator; it is read once, by ``save``.
    """

    encoder: str
    engine: Engine
    max_length: int | None
    windows: int
    cache_dir: Path
    embeddings: Path
    texts: Iterable[str]
    images: ImageRules | None = None
    spans: bool = False

    def save(self, work: Path) -> None:
        """See Job."""
        with readable_errors(work):
            work.mkdir(parents=True, exist_ok=True)
            count = write_lines(work / TEXTS_FILE, self.texts)
            told = {
                "format": FORMAT,
                "encoder": self.encoder,
                "engine": self.engine,
                "max_length": self.max_length,
                "windows": self.windows,
                "cache_dir": str(self.cache_dir.absolute()),
                "embeddings": str(self.embeddings.absolute()),
                "images": None if self.images is None else self.images.told(),
                "spans": self.spans,
                "count": count,
            }
            write_atomically(work / JOB_FILE, json.dumps(told, indent=1).encode())

    @classmethod
    def load(cls, work: Path) -> tuple[EmbeddingJob, int]:
        """What ``save`` wrote, and how many texts there are; they are read from disk as they are used.

        Raises LearningError if it isn't there or isn't whole.
        """
        try:
            told: dict[str, Any] = json.loads((work / JOB_FILE).read_bytes())
            if told.pop("format") != FORMAT:
                raise LearningError(f"{work / JOB_FILE} is of another version; remove {work}")
            count, rules = int(told.pop("count")), told.pop("images")
            told |= {name: Path(told[name]) for name in ("cache_dir", "embeddings")}
            images = None if rules is None else ImageRules.from_told(rules)
            return cls(texts=read_lines(work / TEXTS_FILE), images=images, **told), count
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LearningError(f"the job in {work} can't be read: {error}; remove the folder") from error


class EmbeddingProcess(TrainingProcess):
    """An embedding in a process of its own. ``work/embedded`` appears when all is in the cache."""

    WORKER: ClassVar[str] = "nextlabel.backend.training.embedding_worker"
    RESULT: ClassVar[str] = DONE
    WORD: ClassVar[str] = "encoding of the records"
