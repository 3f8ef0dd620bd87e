"""A training as files, so that a process of its own can do it, and another one can go on after it was killed.

``job.json``            everything but texts and numbers; written last, so a job without it is not one
``*.jsonl``             one text per line, as a JSON string
``arrays.safetensors``  targets, weights and groups
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.encoders.base import Engine
from nextlabel.backend.models.card import JobKind
from nextlabel.backend.store.atomic import atomic_path, write_atomically
from nextlabel.connectors.errors import LearningError, StoreError, StoreFull

from .loop import CHECKPOINT_SECONDS
from .spec import TrainingSpec


def write_lines(file: Path, values: Iterable[Any]) -> int:
    """Write ``values`` to ``file``, all or none of them; return how many there are."""
    count = 0
    with atomic_path(file) as temporary, temporary.open("w", encoding="ascii") as stream:
        for value in values:
            stream.write(json.dumps(value) + "\n")
            count += 1
    return count


def read_lines(file: Path) -> Iterator[Any]:
    """What ``write_lines`` wrote, read as it is used."""
    with file.open(encoding="ascii") as stream:
        for line in stream:
            yield json.loads(line)


FORMAT = "nextlabel-training-2"

JOB_FILE, ARRAYS_FILE = "job.json", "arrays.safetensors"

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What a worker is to do: train, then predict with the new model.

    ``encoder``, ``engine``, ``max_length``, ``prompt``, ``windows`` and ``cache_dir`` as for load_encoder: training
    starts from the encoder and reads as much of a text as it, and the new one is used with the engine.
    ``predict``: texts whose probabilities are wanted. ``checkpoint_seconds`` is the time between two checkpoints, the
    most that a kill costs. ``images`` as for load_encoder. Making a job costs nothing: no model is loaded.
    """

    kind: JobKind
    encoder: str
    examples: Examples
    spec: TrainingSpec
    cache_dir: Path
    held_out: Examples | None = None
    engine: Engine = "auto"
    max_length: int | None = None
    prompt: str | None = None
    predict: Sequence[str] = field(default=())
    windows: int = 1
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    images: ImageRules | None = None

    def save(self, work: Path) -> None:
        """Write it into ``work``. Raises StoreFull and StoreError."""
        with readable_errors(work):
            work.mkdir(parents=True, exist_ok=True)
            arrays: dict[str, Any] = {}
            for name, part in (("examples", self.examples), ("held_out", self.held_out)):
                if part is not None:
                    write_lines(work / f"{name}.jsonl", part.texts)
                    columns = {"targets": part.targets, "weights": part.weights, "groups": part.groups}
                    arrays |= {f"{name}.{key}": np.ascontiguousarray(c) for key, c in columns.items() if c is not None}
            write_lines(work / "predict.jsonl", self.predict)
            from safetensors.numpy import save

            write_atomically(work / ARRAYS_FILE, save(arrays))
            told = {
                "format": FORMAT,
                "kind": self.kind,
                "encoder": self.encoder,
                "engine": self.engine,
                "max_length": self.max_length,
                "prompt": self.prompt,
                "windows": self.windows,
                "images": None if self.images is None else self.images.told(),
                "checkpoint_seconds": self.checkpoint_seconds,
                "cache_dir": str(self.cache_dir.absolute()),
                "labels": list(self.examples.labels),
                "held_out": self.held_out is not None,
                "spec": self.spec.model_dump(),
            }
            write_atomically(work / JOB_FILE, json.dumps(told, indent=1).encode())

    @classmethod
    def load(cls, work: Path) -> TrainingJob:
        """Read what ``save`` wrote. Raises LearningError if it isn't there or isn't whole."""
        from safetensors.numpy import load_file

        try:
            told = json.loads((work / JOB_FILE).read_bytes())
            if told.get("format") != FORMAT:
                raise LearningError(f"{work / JOB_FILE} is of another version; start the training anew")
            arrays = load_file(work / ARRAYS_FILE)
            parts: dict[str, Examples | None] = {"examples": None, "held_out": None}
            for name in ("examples", *(["held_out"] if told["held_out"] else [])):
                columns = (arrays.get(f"{name}.{key}") for key in ("weights", "groups"))
                texts = tuple(read_lines(work / f"{name}.jsonl"))
                parts[name] = Examples(texts, arrays[f"{name}.targets"], tuple(told["labels"]), *columns)
            examples = parts["examples"]
            assert examples is not None  # noqa: S101  # the loop above has just read it
            return cls(
                told["kind"],
                told["encoder"],
                examples,
                TrainingSpec(**told["spec"]),
                Path(told["cache_dir"]),
                held_out=parts["held_out"],
                engine=told["engine"],
                max_length=told["max_length"],
                prompt=told["prompt"],
                windows=told["windows"],
                images=None if told["images"] is None else ImageRules.from_told(told["images"]),
                checkpoint_seconds=told["checkpoint_seconds"],
                predict=list(read_lines(work / "predict.jsonl")),
            )
        except FileNotFoundError as error:
            raise LearningError(f"{work} holds no training job ({error.filename} is missing); start one") from error
        except LearningError:
            raise
        except Exception as error:  # not JSON, not safetensors, or with something missing
            raise LearningError(f"the training job in {work} can't be read: {error}; start it anew") from error


@contextmanager
def readable_errors(folder: Path) -> Iterator[None]:
    """Turn what the disk says into StoreFull and StoreError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(f"no space is left for the training in {folder}; free some and start it again") from error
        raise StoreError(f"the training can't use the folder {folder}: {error}") from error
