"""What is trained for a question, and what came of it: which candidate is best, whether it goes live, and its card.

What one training is to do lies on disk: whoever starts after a crash goes on with the same records and candidates.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Targets
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.evaluation import wilson_interval
from nextlabel.backend.evaluation.comparison import Pair, Verdict, best_candidate, judge
from nextlabel.backend.files import write_atomically
from nextlabel.backend.models.card import Figure, JobKind, ModelCard, library_versions
from nextlabel.backend.models.saving import HEAD_FILE, TRAINING_FILE
from nextlabel.backend.models.spans.decoding import SpanPrediction
from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.questions import Outputs, Question
from nextlabel.backend.training.jobs import MODEL, PREDICTIONS, SPANS_FILE, TrainingJob, read_found
from nextlabel.backend.training.spec import RungName, TrainingSpec
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling

from .embedding_space import EmbeddingSpace
from .model import Model

MEASURED = (
    "The held-out texts are a random share of the labelled ones, the same in every training of the project; they chose "
    "when to stop and among the candidates. The audit texts are a random share of all, shown to annotators without a "
    "suggestion, and chose nothing."
)
FILE = "plan.json"
WHERE = {"held_out": "held-out", "audit": "audit"}
"""Names of what is measured on, in figures -> on cards."""
CONTINUED: tuple[JobKind, ...] = ("fine-tune", "spans")
"""Rungs whose models the next training may go on from."""
ALWAYS: tuple[JobKind, ...] = ("fusion", "spans")
"""Rungs that are trained whatever rung the recipe names: the only one that there is, or one that costs seconds."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to train: the rung, and the trained model to start from; empty for the recipe's own encoder."""

    rung: JobKind
    start: str


def candidates(rungs: Sequence[JobKind], rung: RungName | Literal["auto"], chosen: str) -> list[Candidate]:
    """Each of ``rungs`` that the recipe's ``rung`` wants, from its own encoder; and on from the ``chosen`` model.

    ``chosen`` is a version, empty for the recipe's own encoder. Only what was fine-tuned is gone on from.
    """
    wanted = [Candidate(one, "") for one in rungs if rung in ("auto", one) or one in ALWAYS]
    line = next((one for one in CONTINUED if one in rungs and chosen.startswith(f"{one}-")), None)
    if line is not None and rung in ("auto", "fine-tune"):
        wanted.append(Candidate(line, chosen))
    return wanted


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """``labels`` answers were known at ``log_seq``. Nothing is trained on the positions ``held_out`` and ``audit``.

    ``failed``: index of a candidate -> why there is no model of it. ``names`` and ``kind``: the labels that were asked
    for, in order, and how many of them a record may have; empty in plans from before they were noted.
    """

    log_seq: int
    labels: int
    held_out: tuple[int, ...]
    audit: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    failed: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    kind: str = ""

    @classmethod
    def of(cls, labelled: Labelled, setup: TrainingSetup, chosen: str) -> TrainingPlan:
        """What to do with the answers that are ``labelled``, where the ``chosen`` model (a version) is in use.

        The same records are held out for ever, so that no model was trained on them.
        """
        held_out = labelled.training[labelled.sampling_keys >= 1.0 - setup.spec.held_out]
        labeling = setup.question.labeling
        return cls(
            labelled.log_seq,
            len(labelled.training),
            tuple(held_out.tolist()),
            tuple(labelled.audited.tolist()),
            tuple(candidates(setup.rungs, setup.spec.rung, chosen)),
            names=labeling.labels,
            kind=labeling.kind.value,
        )

    @classmethod
    def read(cls, folder: Path) -> TrainingPlan | None:
        """The plan in ``folder``, None if there is none. Raises LearningError if it can't be read."""
        file = folder / FILE
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            candidates = tuple(Candidate(**one) for one in values.pop("candidates"))
            held_out, audit = (tuple(values.pop(name)) for name in ("held_out", "audit"))
            names = tuple(values.pop("names", ()))
            return cls(candidates=candidates, held_out=held_out, audit=audit, names=names, **values)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LearningError(f"{file} can't be read: {error}; remove {folder} to train anew") from None

    def write(self, folder: Path) -> None:
        """Put the plan into ``folder``."""
        write_atomically(folder / FILE, json.dumps(dataclasses.asdict(self)).encode())

    def is_for(self, labeling: Labeling) -> bool:
        """Whether what it trains answers ``labeling``: its jobs on disk hold answers as numbers of labels."""
        return (self.names, self.kind) == (labeling.labels, labeling.kind.value)

    def without(self, candidate: int, reason: str) -> TrainingPlan:
        """The same plan after ``candidate`` failed."""
        return dataclasses.replace(self, failed={**self.failed, str(candidate): reason})


@dataclass(frozen=True, slots=True)
class Labelled:
    """What was answered when it was asked for: positions, answers, and rows in the cache of ``space``.

    ``sampling_keys`` float64 [m]: those of the training records, see PoolState. ``majority``: what most people said of
    them, by which models are judged, as a model may have had a say in ``targets``. ``settled`` bool [m]: which of them
    are right for good, so that no model doubts them.
    """

    log_seq: int
    space: EmbeddingSpace
    training: Positions
    targets: Targets
    majority: Targets
    settled: npt.NDArray[np.bool_]
    rows: Positions
    sampling_keys: npt.NDArray[np.float64]
    audited: Positions
    audit_targets: Targets
    audit_rows: Positions


class Loop(Protocol):
    """One project's loop as trainings see it; the controller fulfils it. Any thread may call."""

    @property
    def pool(self) -> PoolState:
        """The project's records; only its ``revision`` is read."""
        ...

    @property
    def model(self) -> Model | None:
        """The probe in use; None before the first."""
        ...

    @property
    def space(self) -> EmbeddingSpace:
        """The space that the pool's vectors are of."""
        ...

    @property
    def move_error(self) -> str:
        """Why the loop stays where it was though it was told to move; "" if it moved, or is about to."""
        ...

    def move_to(self, space: EmbeddingSpace) -> None:
        """Work in ``space`` from the next tick on. Its cache should hold all records but a few."""
        ...

    def labelled(self) -> Labelled:
        """A copy of what the loop knows of the answers."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """What is trained, and where. ``reason`` says why nothing can be; empty if it can.

    ``encoder``: the recipe's own. ``rungs``: what may be trained of it, the cheapest first. ``work`` holds a training
    while it runs, ``models`` those that it made.
    """

    project: str
    question: Question
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


class Training:
    """How the models of one project are trained and judged."""

    def __init__(self, setup: TrainingSetup) -> None:
        self._setup, self._question = setup, setup.question

    def too_few(self, labelled: Labelled) -> str:
        """Why nothing can be trained on these answers yet; empty if it can."""
        return self._question.too_few(labelled.targets)

    def job(
        self, candidate: Candidate, train: Answered, held_out: Answered, predict: Sequence[Readable]
    ) -> TrainingJob:
        """What a worker is to do: train on ``train``, and say what it then thinks of the texts ``predict``."""
        return TrainingJob(
            kind=candidate.rung,
            encoder=self._setup.of(candidate.start),
            examples=self._question.examples(*train),
            spec=self._setup.spec,
            held_out=self._question.examples(*held_out),
            predict=predict,
        )

    def choose(self, plan: TrainingPlan, finished: Mapping[int, Path], labelled: Labelled) -> Choice:
        """The candidate that does best on the held-out answers, the first in doubt, and the gate's verdict on it.

        ``finished``: candidate -> its training's folder. Answers that were changed since the training began count as
        they are now.
        """
        question, n = self._question, len(plan.held_out)
        kept, held_out = among(plan.held_out, labelled.training)
        audit_kept, audit = among(plan.audit, labelled.audited)
        truth = {"held_out": labelled.majority[held_out], "audit": labelled.audit_targets[audit]}
        outputs = {number: read_outputs(folder) for number, folder in finished.items()}
        best = self._best({number: found[:n][kept] for number, found in outputs.items()}, truth["held_out"])
        after = {"held_out": outputs[best][:n][kept], "audit": outputs[best][n:][audit_kept]}
        before = self._before(labelled, held_out, audit)
        pairs = {
            name: Pair(question.right(before[name], answers), question.right(after[name], answers))
            for name, answers in truth.items()
        }
        verdict = judge(pairs["held_out"], pairs["audit"])
        finer, on_card = dict(verdict.figures), list(accuracies(verdict))
        for name, answers in truth.items():
            if len(answers):
                finer |= {f"{name}_{key}": one for key, one in question.figures(after[name], answers).items()}
                finer |= {f"{name}_{key}_before": one for key, one in question.figures(before[name], answers).items()}
            on_card += question.card_figures(after[name], answers, WHERE[name])
        return Choice(best, replace(verdict, figures=finer), tuple(on_card))

    def _best(self, outputs: Mapping[int, Outputs], answers: Targets) -> int:
        """The best candidate; where there are finer figures, they decide among those with as many texts right."""
        hits = {number: self._question.right(one, answers) for number, one in outputs.items()}
        finer = {number: tuple(self._question.figures(one, answers).values()) for number, one in outputs.items()}
        if not any(finer.values()):
            return best_candidate(hits)
        return max(outputs, key=lambda number: (hits[number].sum(), finer[number], -number))

    def _before(self, labelled: Labelled, held_out: Positions, audit: Positions) -> dict[str, Outputs]:
        """What the model in use says, had it learned from the same answers as the candidates."""
        rest = np.setdiff1d(np.arange(len(labelled.training)), held_out)
        learned = labelled.rows[rest], labelled.targets[rest]
        head = self._question.fit(labelled.space, *learned, settled=labelled.settled[rest])
        rows = {"held_out": labelled.rows[held_out], "audit": labelled.audit_rows[audit]}
        return {name: head.predict(labelled.space.cache, at) for name, at in rows.items()}

    def card(self, folder: Path, candidate: Candidate, choice: Choice) -> ModelCard:
        """The card of the model that the training in ``folder`` made. Raises LearningError."""
        setup, file, examples = self._setup, folder / MODEL / TRAINING_FILE, TrainingJob.load(folder).examples
        try:
            trained = json.loads(file.read_bytes())
            device, seconds = str(trained["device"]), float(trained["seconds"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LearningError(f"{file} can't be read: {error}; train anew") from error
        reason = choice.verdict.reason
        card = ModelCard(
            version="",
            project=setup.project,
            rung=candidate.rung,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            base=setup.encoder.name,
            parent=candidate.start,
            labels=setup.question.labeling.labels,
            activation=setup.question.activation,
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
        return self._question.noted(card, examples, folder / MODEL / HEAD_FILE)


def among(wanted: Sequence[int], positions: Positions) -> tuple[npt.NDArray[np.bool_], Positions]:
    """Which of the wanted are still among ``positions``, bool [len(wanted)], and where those are, int64 [k]."""
    place = {at: index for index, at in enumerate(positions.tolist())}
    kept = np.array([at in place for at in wanted], dtype=np.bool_)
    return kept, np.array([place[at] for at in wanted if at in place], dtype=np.int64)


def read_outputs(folder: Path) -> Outputs:
    """What a worker predicted of the texts it was asked about. Raises LearningError if it can't be read."""
    if (folder / SPANS_FILE).exists():
        found = read_found(folder / SPANS_FILE)
        outputs = np.empty(len(found), np.object_)
        outputs[:] = [SpanPrediction(spans, math.nan, math.nan) for spans in found]  # how sure it was is not kept
        return outputs
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = folder / PREDICTIONS
    try:
        return np.asarray(load_file(file)["probabilities"], np.float32)
    except (SafetensorError, OSError, KeyError) as error:
        raise LearningError(f"{file} can't be read: {error}; train anew") from error


def accuracies(verdict: Verdict) -> tuple[Figure, ...]:
    """Accuracy with its Wilson interval on whatever it was measured on."""
    found = []
    for name, where in WHERE.items():
        if n := int(verdict.figures.get(f"{name}_n", 0)):
            value = verdict.figures[f"{name}_accuracy"]
            found.append(Figure("accuracy", value, *wilson_interval(round(value * n), n), n, where))
    return tuple(found)
