"""The slow step without a loop's threads and without a trainer: each tick is the test's, and takes a moment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.evaluation.comparison import Verdict
from nextlabel.backend.models.card import ModelCard
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import HEAD_FILE, save_head
from nextlabel.backend.questions import question_of
from nextlabel.backend.retraining.candidates import Candidate, Choice, Training, TrainingPlan
from nextlabel.backend.retraining.embedding_space import OWN, EmbeddingSpace, EmbeddingSpaces
from nextlabel.backend.training.jobs import JOB_FILE, MODEL
from nextlabel.connectors.records import Labeling, LabelKind
from tests.backend.memory_loop import LABELS, Trained

LABELING = Labeling(LabelKind.SINGLE, LABELS)


def spaces_in(folder: Path, labeling: Labeling = LABELING) -> EmbeddingSpaces:
    """The spaces of the models in ``folder / "models"``."""
    return EmbeddingSpaces(
        question_of(labeling),
        lambda model: load_encoder("hashing") if model is None else Trained(model),
        lambda encoder: EmbeddingCache.open(folder / "embeddings", encoder),
        folder / "models",
    )


class Loop:
    """Stands for the Controller: it moves when the test says so, or says why it can't (``refusal``)."""

    def __init__(self, space: EmbeddingSpace, labels: int = 40) -> None:
        self.space, self.model, self.move_error = space, None, ""
        self.pool = SimpleNamespace(revision=0)
        self.refusal = ""
        self.labels = labels
        self._next: EmbeddingSpace | None = None

    def move_to(self, space: EmbeddingSpace) -> None:
        self.move_error, self._next = "", space

    def go(self) -> None:
        """A tick of the loop."""
        target, self._next = self._next, None
        if target is not None and self.refusal:
            self.move_error = self.refusal
        elif target is not None:
            self.space = target

    def label(self, labels: int) -> None:
        """So many records are labelled now."""
        self.labels = labels
        self.pool.revision += 1

    def labelled(self) -> Any:
        at = np.arange(self.labels)
        targets = at % len(LABELS)
        return SimpleNamespace(
            log_seq=self.labels, training=at, sampling_keys=at / 60, audited=at[:0], targets=targets, majority=targets
        )


class Process:
    """A trainer that has ended at the first look, as ``outcome`` says: ``made``, ``fails``, or it ``runs``."""

    outcome = "made"
    started: ClassVar[list[Path]] = []
    killed, pid = False, None

    def __init__(self, work: Path) -> None:
        self.work, self.cancelled = work, False
        Process.started.append(work)

    @classmethod
    def start(cls, work: Path, job: Any) -> Process:
        work.mkdir(parents=True, exist_ok=True)
        (work / JOB_FILE).write_text('{"job": "texts"}')
        return cls.resume(work)

    @classmethod
    def resume(cls, work: Path) -> Process:
        if cls.outcome == "made":
            write_model(work / MODEL, LABELS)
        return cls(work)

    def poll(self) -> str:
        if (self.work / MODEL).exists():
            return "done"
        return "running" if Process.outcome == "runs" and not self.cancelled else "failed"

    @property
    def error(self) -> str:
        return "no space is left" if self.poll() == "failed" else ""

    def progress(self) -> None:
        return None

    def cancel(self, grace_s: float = 10) -> None:
        self.cancelled = True


class Trainings(Training):
    """Whether the next model goes live is ``live``; what can't be read is ``broken``."""

    def __init__(self) -> None:
        self.live, self.few = True, ""
        self.broken: Exception | None = None

    def too_few(self, labelled: Any) -> str:
        return self.few

    def job(self, candidate: Candidate, train: Any, held_out: Any, predict: Sequence[Any]) -> Any:
        return None

    def choose(self, plan: TrainingPlan, finished: Mapping[int, Path], labelled: Any) -> Choice:
        if self.broken is not None:
            raise self.broken
        return Choice(min(finished), Verdict(self.live, "it is the test's wish", {}), ())

    def card(self, folder: Path, candidate: Candidate, choice: Choice) -> ModelCard:
        return ModelCard("", "animals", candidate.rung, "2026-01-01", "tiny", LABELS, activation=SOFTMAX)


def write_model(folder: Path, labels: tuple[str, ...]) -> None:
    """The folder of a trained model whose head knows nothing."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    width = load_encoder("hashing").dimension
    head = Probe(np.zeros((len(labels), width), np.float32), np.zeros(len(labels), np.float32), SOFTMAX)
    save_head(folder, head, labels, {"device": "cpu", "seconds": 1.0})


def add_model(folder: Path, version: str, head: Probe | None = None, labels: tuple[str, ...] = LABELS) -> None:
    """A trained model in the registry at ``folder``, with ``head`` for ``labels``."""
    write_model(folder / version, labels)
    if head is not None:
        replace(head, names=labels).save(folder / version / HEAD_FILE)


__all__ = ["LABELING", "OWN", "Loop", "Process", "Trainings", "add_model", "spaces_in", "write_model"]
