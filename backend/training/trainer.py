"""From labelled examples and an encoder to a model in a folder: what is the same, whatever is trained."""

from __future__ import annotations

import hashlib
import json
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, Protocol, final

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar, override

from nextlabel.backend.data.examples import Examples, assign_folds
from nextlabel.backend.data.span_examples import SpanExamples
from nextlabel.backend.encoders.head_names import HEADS
from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.models.crossfit import LEAST
from nextlabel.backend.models.saving import check_free, save_encoder, save_head, whole_folder
from nextlabel.backend.models.spans.model import best_device
from nextlabel.connectors.errors import LearningError, MissingExtra

from .classifier import AnsweredTexts, ClassifierTask, Read, Vocabulary, text_classifier
from .loop import Checkpoints, Outcome, TrainingTask, run
from .spec import CHECKPOINT_SECONDS, ProgressReport, TrainingSpec, Watch, never, no_report
from .texts import tokenised

VERSION = "2"
"""Of what a checkpoint holds: checkpoints of another version are not taken up."""


class Start(Protocol):
    """What a training starts from."""

    @property
    def name(self) -> str:
        """What it was loaded by."""
        ...

    def fingerprint(self, cache: Path, engine: str) -> str:
        """Everything that comes of it depends on, as a short text. See ModelFolder."""
        ...


Part = TypeVar("Part", Examples, SpanExamples)
Base = TypeVar("Base", bound=Start, default=ModelFolder)
Task = TypeVar("Task", bound=TrainingTask)
TextTask = TypeVar("TextTask", bound=ClassifierTask)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Where the model is, and how it came about.

    ``epochs`` were trained, the weights are those after ``best_epoch``. ``seconds`` without interruptions.
    ``history`` has one entry per epoch: loss, and on held-out texts log_loss, macro_f1 and temperature.
    ``temperature`` is the head's.
    """

    folder: Path
    epochs: float
    best_epoch: float
    seconds: float
    device: str
    history: list[dict[str, float]]
    temperature: float

    def facts(self, encoder: Start, spec: TrainingSpec, texts: int) -> dict[str, Any]:
        """What is worth keeping beside a model that was trained on so many ``texts``, for training.json."""
        return {
            "spec": spec.model_dump(),
            "encoder": encoder.name,
            "texts": texts,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
            "device": self.device,
            "history": self.history,
            "versions": {"python": platform.python_version(), **{m: version(m) for m in ("torch", "transformers")}},
        }


@dataclass(frozen=True, slots=True)
class Given(Generic[Part, Base]):
    """What a training starts from, and where. ``key`` names it; ``held_out`` is None where it would be empty."""

    encoder: Base
    examples: Part
    held_out: Part | None
    spec: TrainingSpec
    scratch: Path
    key: str
    device: str
    watch: Watch
    checkpoint_seconds: float

    def checkpoints(self, part: str = "") -> Checkpoints:
        """Those of this training, or of a ``part`` of it."""
        return Checkpoints(self.scratch / part, f"{self.key}/{part}", self.checkpoint_seconds)


class Trainer(ABC, Generic[Part, Task, Base]):
    """Makes a trained model out of an encoder and labelled examples. Each ``kind`` says what it trains, and its head.

    ``device`` is ``cuda``, ``mps`` or ``cpu``, by default the fastest there is. It seeds the random numbers of the
    process: leave a service out of it and use TrainingProcess.
    """

    kind: str

    def __init__(self, device: str | None = None, *, checkpoint_seconds: float = CHECKPOINT_SECONDS) -> None:
        for module in ("torch", "transformers"):
            if find_spec(module) is None:
                raise MissingExtra(module, "train")
        self._device, self._checkpoint_seconds = device, checkpoint_seconds

    @final
    def train(
        self,
        encoder: Base,
        examples: Part,
        held_out: Part | None,
        spec: TrainingSpec,
        folder: Path,
        *,
        scratch: Path,
        report: ProgressReport = no_report,
        stop: Callable[[], bool] = never,
    ) -> TrainingResult:
        """Train, and leave the model in ``folder``, which appears whole or not at all.

        ``held_out`` decides when it ends and how sure it is; None: all epochs, and no calibration. Where ``spec`` asks
        for several members, each stops by the part that it leaves out, and nothing is read off ``held_out``.
        ``scratch`` holds what lets a training that was killed go on when it is called again with the same arguments.
        ``stop`` is asked often. A text is read in up to ``encoder.windows`` windows, as the encoder reads it when it
        predicts.
        Raises TrainingCancelled when ``stop`` says so, and LearningError.
        """
        import torch
        from transformers import logging as chatter

        self.check(examples, held_out)
        check_free(folder)
        chatter.set_verbosity_error()
        watch, device = Watch(report, stop), self._device or best_device()
        held_out = held_out if held_out is not None and len(held_out) else None
        key = self.key(encoder, examples, held_out, spec, scratch)
        given = Given(encoder, examples, held_out, spec, scratch, key, device, watch, self._checkpoint_seconds)
        torch.manual_seed(spec.seed)
        task, vocabulary = self.prepare(given)
        outcome, best = self.fit(task, given)
        vocabulary.widen()
        best = best or {"epoch": outcome.epochs, "temperature": 1.0}
        epochs, seconds = (outcome.epochs, best["epoch"]), round(watch.seconds, 3)
        result = TrainingResult(folder, *epochs, seconds, device, outcome.history, best["temperature"])
        task.network.to("cpu")
        with whole_folder(folder) as partial:
            self.save(partial, task, given, result)
        return result

    def key(self, encoder: Base, examples: Part, held_out: Part | None, spec: TrainingSpec, scratch: Path) -> str:
        """What a training depends on, as a short text: only its own checkpoints are taken up."""
        total = hashlib.blake2b(digest_size=16)
        code: list[str] = [HEADS.identity(spec.head)] if spec.head else []
        for part in (VERSION, self.kind, encoder.fingerprint(scratch, "training"), spec.model_dump_json(), *code):
            total.update(part.encode() + b"\0")
        for one in (examples, held_out):
            told = None if one is None else asdict(one)
            total.update(json.dumps(told, default=np.ndarray.tolist).encode() + b"\0")
        return total.hexdigest()

    @abstractmethod
    def check(self, examples: Part, held_out: Part | None) -> None:
        """Raises LearningError if nothing can be learned from ``examples``, or if ``held_out`` asks something else."""

    @abstractmethod
    def prepare(self, given: Given[Part, Base]) -> tuple[Task, Vocabulary]:
        """The network on its device, with the texts that it is trained on, and its smaller table."""

    def fit(self, task: Task, given: Given[Part, Base]) -> tuple[Outcome, dict[str, float] | None]:
        """Train. What came of it, and the epoch whose weights are kept, with its temperature; None: the last."""
        outcome = run(task, given.checkpoints())
        return outcome, task.best_of(outcome.history)

    @abstractmethod
    def save(self, folder: Path, task: Task, given: Given[Part, Base], result: TrainingResult) -> None:
        """Write network, head and what is worth knowing of them into ``folder``."""


class TextTrainer(Trainer[Examples, TextTask]):
    """Trains on labels of whole texts: encoder, pooling and a linear layer, saved as an encoder with a probe."""

    task: type[TextTask]

    @override
    def check(self, examples: Examples, held_out: Examples | None) -> None:
        check_examples(examples, held_out)

    @override
    def prepare(self, given: Given[Examples]) -> tuple[TextTask, Vocabulary]:
        examples, held_out = given.examples, given.held_out
        network = text_classifier(given.encoder, given.spec, len(examples.labels)).to(given.device)
        texts = [*examples.texts, *(held_out.texts if held_out is not None else ())]
        cut = tokenised(given.encoder, texts, given.watch)
        vocabulary = Vocabulary(network.body, cut.windows.rows)
        first, rest = np.split(np.arange(len(texts)), [len(examples)])
        train = answered(cut.take(first), examples)
        held = None if held_out is None else answered(cut.take(rest), held_out)
        return self.task(network, train, held, given.spec, given.device, given.watch), vocabulary

    @override
    def save(self, folder: Path, task: TextTask, given: Given[Examples], result: TrainingResult) -> None:
        encoder, count = given.encoder, len(given.examples)
        reads = {"max_length": encoder.max_length, "windows": encoder.windows}
        save_encoder(folder, task.network, encoder)
        head = task.head(result.temperature)
        save_head(folder, head, given.examples.labels, result.facts(encoder, given.spec, count) | reads)


def split_held_out(examples: Examples, spec: TrainingSpec) -> tuple[Examples, Examples | None]:
    """What to train on, and about the share ``spec.held_out`` to hold out: stratified, whole groups.

    None is held out from fewer than 20 texts, nor for several members, which hold out parts of their own. A label that
    would be missing from training is not held out.
    """
    if spec.held_out == 0 or spec.members > 1 or len(examples) < LEAST:
        return examples, None
    share, rest = spec.held_out, 1 - spec.held_out
    folds = max(2, round(1 / min(share, rest)))
    groups = examples.together()
    fold_of = assign_folds(examples.targets, folds, np.random.default_rng(spec.seed), groups)
    held: npt.NDArray[np.bool_] = fold_of == 0 if share <= rest else fold_of != 0
    present = examples.flags
    for label in np.flatnonzero(present.any(axis=0)):
        if not (present[:, label] & ~held).any():
            back = present[:, label] if groups is None else np.isin(groups, groups[present[:, label]])
            held = held & ~back
    if not held.any() or held.all():
        return examples, None
    return examples.take(np.flatnonzero(~held)), examples.take(np.flatnonzero(held))


def check_examples(examples: Examples, held_out: Examples | None) -> None:
    """See Trainer.check."""
    if len(examples) < 2:
        raise LearningError(f"{len(examples)} labelled texts are too few to train on; label more")
    if not examples.tells_apart:
        only = examples.labels[int(examples.targets[0])]
        raise LearningError(f"all {len(examples)} texts have the label {only!r}: there is nothing to tell apart")
    for part in (examples, held_out):
        if part is None or part.weights is None:
            continue
        if not np.isfinite(part.weights).all() or (part.weights < 0).any() or not part.weights.any():
            raise LearningError("weights must be finite, none below 0, and not all 0")
    if held_out is not None and (held_out.labels, held_out.activation) != (examples.labels, examples.activation):
        raise LearningError("the held-out texts have other labels than the texts to train on")


def answered(texts: Read, examples: Examples) -> AnsweredTexts[Read]:
    """What a network reads of ``examples``, with their answers; their weights have a mean of 1."""
    weights = np.ones(len(examples), np.float32) if examples.weights is None else examples.weights
    return AnsweredTexts(texts, examples.targets, (weights / weights.mean()).astype(np.float32))
