"""What is trained for a question, and what came of it: which candidate is best, whether it goes live, and its card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.activation import SOFTMAX, Targets
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.evaluation import wilson_interval
from nextlabel.backend.evaluation.comparison import Pair, Verdict, best_candidate, judge
from nextlabel.backend.metrics import right
from nextlabel.backend.models.card import Figure, JobKind, ModelCard, data_hash, label_counts, library_versions
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import HEAD_FILE, TRAINING_FILE
from nextlabel.backend.pool.pool import Positions
from nextlabel.backend.questions import question_of
from nextlabel.backend.training.jobs import MODEL, PREDICTIONS, Job, TrainingJob
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling

from .answers import Labelled
from .plan import Candidate, TrainingPlan

MEASURED = (
    "The held-out texts are a random share of the labelled ones, the same in every training of the project; they chose "
    "when to stop and among the candidates. The audit texts are a random share of all, shown to annotators without a "
    "suggestion, and chose nothing."
)
LEAST_A_LABEL = 2
"""Answers that two labels at least must have, one to train on and one to spare."""


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """What is trained, and where. ``reason`` says why nothing can be; empty if it can.

    ``encoder``: the recipe's own. ``rungs``: what may be trained of it, the cheapest first. ``work`` holds a training
    while it runs, ``models`` those that it made.
    """

    project: str
    labeling: Labeling
    encoder: EncoderSpec
    spec: TrainingSpec
    work: Path
    models: Path
    reason: str = ""
    rungs: tuple[JobKind, ...] = ("few-shot", "fine-tune")

    def of(self, version: str) -> EncoderSpec:
        """The encoder of a trained model, read in the same way; of an empty ``version`` the recipe's own."""
        return replace(self.encoder, name=str(self.models / version)) if version else self.encoder


class Answered(NamedTuple):
    """Texts, as the encoder reads them, and the answers to them, as PoolState has them."""

    texts: Sequence[Readable]
    targets: Targets


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidate that did best, the gate's verdict on it, and what its card says of it."""

    candidate: int
    verdict: Verdict
    figures: tuple[Figure, ...]


class Training(Protocol):
    """How the models of one kind of question are trained and judged."""

    def too_few(self, labelled: Labelled) -> str:
        """Why nothing can be trained on these answers yet; empty if it can."""
        ...

    def job(self, candidate: Candidate, train: Answered, held_out: Answered, predict: Sequence[Readable]) -> Job:
        """What a worker is to do: train on ``train``, and say what it then thinks of the texts ``predict``."""
        ...

    def choose(self, plan: TrainingPlan, finished: Mapping[int, Path], labelled: Labelled) -> Choice:
        """The candidate that does best on the held-out answers, the first in doubt, and the gate's verdict on it.

        ``finished``: candidate -> its training's folder. Answers that were changed since the training began count as
        they are now.
        """
        ...

    def card(self, folder: Path, candidate: Candidate, choice: Choice) -> ModelCard:
        """The card of the model that the training in ``folder`` made."""
        ...


class TextTraining(Training):
    """Trainings for labels of whole texts."""

    def __init__(self, setup: TrainingSetup) -> None:
        self._setup = setup

    @override
    def too_few(self, labelled: Labelled) -> str:
        counts = question_of(self._setup.labeling).count(labelled.targets).values()
        if sum(count >= LEAST_A_LABEL for count in counts) >= min(2, len(self._setup.labeling.labels)):
            return ""
        return f"two labels with {LEAST_A_LABEL} answers each are needed before anything can be trained"

    @override
    def job(
        self, candidate: Candidate, train: Answered, held_out: Answered, predict: Sequence[Readable]
    ) -> TrainingJob:
        setup, labels = self._setup, self._setup.labeling.labels
        return TrainingJob(
            kind=candidate.rung,
            encoder=setup.of(candidate.start),
            examples=Examples(tuple(train.texts), train.targets, labels),
            spec=setup.spec,
            held_out=Examples(tuple(held_out.texts), held_out.targets, labels),
            predict=predict,
        )

    @override
    def choose(self, plan: TrainingPlan, finished: Mapping[int, Path], labelled: Labelled) -> Choice:
        kept, held_out = among(plan.held_out, labelled.training)
        audit_kept, audit = among(plan.audit, labelled.audited)
        n = len(plan.held_out)
        said = {number: _predictions(folder / PREDICTIONS) for number, folder in finished.items()}
        answers, audit_answers = labelled.majority[held_out], labelled.audit_targets[audit]
        hits = {number: right(said[number][:n][kept], answers) for number in finished}
        best = best_candidate(hits)
        before, cache = _before(labelled, held_out, said[best].shape[1]), labelled.space.cache
        old, old_audit = (
            before.predict_proba(cache.take(rows)) for rows in (labelled.rows[held_out], labelled.audit_rows[audit])
        )
        verdict = judge(
            Pair(right(old, answers), hits[best]),
            Pair(right(old_audit, audit_answers), right(said[best][n:][audit_kept], audit_answers)),
        )
        return Choice(best, verdict, accuracies(verdict))

    @override
    def card(self, folder: Path, candidate: Candidate, choice: Choice) -> ModelCard:
        examples = TrainingJob.load(folder).examples
        return replace(
            card_of(folder, candidate, self._setup, choice),
            activation=examples.activation,
            data_hash=data_hash(examples),
            counts=label_counts(examples),
            temperature=Probe.load(folder / MODEL / HEAD_FILE).temperature,
        )


def _before(labelled: Labelled, held_out: Positions, classes: int) -> Probe:
    """The model in use, had it learned from the same answers as the candidates."""
    rest = np.setdiff1d(np.arange(len(labelled.training)), held_out)
    vectors = labelled.space.cache.take(labelled.rows[rest])
    return labelled.space.fit(vectors, labelled.targets[rest], classes)


def among(wanted: Sequence[int], positions: Positions) -> tuple[npt.NDArray[np.bool_], Positions]:
    """Which of the wanted are still among ``positions``, bool [len(wanted)], and where those are, int64 [k]."""
    place = {at: index for index, at in enumerate(positions.tolist())}
    kept = np.array([at in place for at in wanted], dtype=np.bool_)
    return kept, np.array([place[at] for at in wanted if at in place], dtype=np.int64)


def _predictions(file: Path) -> npt.NDArray[np.float32]:
    """What a worker said of the texts it was asked about, float32 [n, c]. Raises LearningError if it can't be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return np.asarray(load_file(file)["probabilities"], np.float32)
    except (SafetensorError, OSError, KeyError) as error:
        raise LearningError(f"{file} can't be read: {error}; train anew") from error


def card_of(folder: Path, candidate: Candidate, setup: TrainingSetup, choice: Choice) -> ModelCard:
    """What is the same on all cards of models that the loop trains. Raises LearningError."""
    file = folder / MODEL / TRAINING_FILE
    try:
        trained = json.loads(file.read_bytes())
        device, seconds = str(trained["device"]), float(trained["seconds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LearningError(f"{file} can't be read: {error}; train anew") from error
    reason = choice.verdict.reason
    return ModelCard(
        version="",
        project=setup.project,
        rung=candidate.rung,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        base=setup.encoder.name,
        parent=candidate.start,
        labels=setup.labeling.labels,
        activation=SOFTMAX,
        figures=choice.figures,
        measured=f"{MEASURED} {reason[:1].upper()}{reason[1:]}.",
        temperature=trained.get("temperature", 1.0),
        max_length=setup.encoder.max_length or 0,
        windows=setup.encoder.windows,
        spec=setup.spec.model_dump(mode="json"),
        seeds=(setup.spec.seed,),
        libraries=library_versions(),
        device=device,
        seconds=seconds,
    )


def accuracies(verdict: Verdict) -> tuple[Figure, ...]:
    """Accuracy with its Wilson interval on whatever it was measured on."""
    found = []
    for where, name in (("held-out", "held_out"), ("audit", "audit")):
        if n := int(verdict.figures.get(f"{name}_n", 0)):
            value = verdict.figures[f"{name}_accuracy"]
            found.append(Figure("accuracy", value, *wilson_interval(round(value * n), n), n, where))
    return tuple(found)
