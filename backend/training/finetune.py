"""Fine-tuning: from labelled texts and an encoder to a folder that is an encoder with a head.

The linear layer begins at the probe, so that the encoder is not torn about for a head that knows nothing (Kumar et
al., 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution",
https://arxiv.org/abs/2202.10054).
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nextlabel.backend.data.examples import Examples, assign_folds
from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.models.crossfit import LEAST
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import check_free, head_of, save_encoder, save_head, whole_folder
from nextlabel.connectors.content import as_json
from nextlabel.connectors.errors import LearningError, MissingExtra

from .averaging import train_members
from .classifier import AnsweredTexts, ClassifierTask, Vocabulary, text_classifier
from .loop import Checkpoints, Outcome, Watch, choose_device, run
from .progress import ProgressReport, never, no_report
from .spec import CHECKPOINT_SECONDS, TrainingSpec
from .texts import WindowedTexts, text_vectors, tokenised


def start_head(network: Any, train: AnsweredTexts, device: str, watch: Watch) -> None:
    """Put the probe on the network's own vectors of ``train`` into its linear layer."""
    import torch

    vectors = text_vectors(network, train.texts, device, watch)
    if not np.isfinite(vectors).all():
        return  # an encoder that is broken; the training will say so
    classes = network.head.out_features
    probe = Probe.fit(vectors, train.targets, classes, weights=train.weights, calibrate=False, doubt=False)
    with torch.no_grad():  # the network multiplies unit vectors by the root of their length, a probe doesn't
        network.head.weight.copy_(torch.from_numpy(probe.weights / np.float32(network.dimension**0.5)))
        network.head.bias.copy_(torch.from_numpy(probe.bias))


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

    def facts(self, encoder: ModelFolder, spec: TrainingSpec, texts: int) -> dict[str, Any]:
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


class Trainer(Protocol):
    """Makes a trained model out of an encoder and labelled texts."""

    def train(
        self,
        encoder: ModelFolder,
        examples: Examples,
        held_out: Examples | None,
        spec: TrainingSpec,
        folder: Path,
        *,
        scratch: Path,
        report: ProgressReport,
        stop: Callable[[], bool],
    ) -> TrainingResult:
        """Train, and leave the model in ``folder``, which appears whole or not at all.

        ``held_out`` decides when it ends and how sure it is; None: all epochs, and no calibration. Where ``spec`` asks
        for several members, each stops by the part that it leaves out, and nothing is read off ``held_out``.
        ``scratch`` holds what lets a training that was killed go on when it is called again with the same arguments.
        ``stop`` is asked often. A text is read in up to ``encoder.windows`` windows, as the encoder reads it when it
        predicts.
        Raises TrainingCancelled when ``stop`` says so, and LearningError.
        """
        ...


class FineTuner:
    """Trains the whole encoder with a linear layer on it, by transformers' Trainer; fulfils Trainer.

    ``device`` is ``cuda``, ``mps`` or ``cpu``, by default the fastest there is. It seeds the random numbers of the
    process: leave a service out of it and use TrainingProcess.
    """

    def __init__(self, device: str | None = None, *, checkpoint_seconds: float = CHECKPOINT_SECONDS) -> None:
        for module in ("torch", "transformers", "accelerate"):
            if find_spec(module) is None:
                raise MissingExtra(module, "train")
        self._device = device
        self._checkpoint_seconds = checkpoint_seconds

    def train(
        self,
        encoder: ModelFolder,
        examples: Examples,
        held_out: Examples | None,
        spec: TrainingSpec,
        folder: Path,
        *,
        scratch: Path,
        report: ProgressReport = no_report,
        stop: Callable[[], bool] = never,
    ) -> TrainingResult:
        """See Trainer."""
        from transformers import set_seed

        check_examples(examples, held_out)
        check_free(folder)
        if held_out is not None and not len(held_out):
            held_out = None
        watch = Watch(report, stop)
        device = self._device or choose_device()
        key = training_key(encoder, examples, held_out, spec, scratch)
        set_seed(spec.seed)
        network = text_classifier(encoder, spec, len(examples.labels)).to(device)
        texts = [*examples.texts, *(held_out.texts if held_out is not None else ())]
        cut = tokenised(encoder, texts, scratch, watch)
        vocabulary = Vocabulary(network.body, cut.windows.rows)
        cut = cut.with_ids(vocabulary.narrow)
        train = _answered(cut.part(0, len(examples)), examples)
        held = None if held_out is None else _answered(cut.part(len(examples), len(cut)), held_out)
        start_head(network, train, device, watch)
        task = ClassifierTask(network, train, held, spec, device, watch)
        how: dict[str, Any] = {"scratch": scratch, "device": device, "watch": watch}
        how["checkpoint_seconds"] = self._checkpoint_seconds
        stopped: dict[str, float] | None
        if spec.members > 1 and len(examples) >= LEAST:
            outcome, stopped = train_members(network, train, examples, spec, key=key, **how)
            task.after_step()
        else:
            outcome = run(task, spec, checkpoints=Checkpoints(scratch, key), **how)
            stopped = task.best_of(outcome.history)
        vocabulary.widen()
        result = result_of(outcome, stopped, folder, device, watch)
        network, count = network.to("cpu"), len(examples)
        head = head_of(network, activation=examples.activation, temperature=result.temperature, labels=count)
        with whole_folder(folder) as partial:
            save_encoder(partial, network, encoder)
            save_head(partial, head, examples.labels, result.facts(encoder, spec, count) | how_it_reads(encoder))
        return result


def result_of(
    outcome: Outcome, best: dict[str, float] | None, folder: Path, device: str, watch: Watch
) -> TrainingResult:
    """What came of a training whose model goes to ``folder``. ``best``: its epoch and temperature; None: the last."""
    best = best or {"epoch": outcome.epochs, "temperature": 1.0}
    seconds = round(watch.seconds, 3)
    return TrainingResult(folder, outcome.epochs, best["epoch"], seconds, device, outcome.history, best["temperature"])


def how_it_reads(encoder: ModelFolder) -> dict[str, int]:
    """What of a text a classifier was trained on, for training.json."""
    return {"max_length": encoder.max_length, "windows": encoder.windows}


def split_held_out(examples: Examples, spec: TrainingSpec) -> tuple[Examples, Examples | None]:
    """What to train on, and about the share ``spec.held_out`` to hold out: stratified, whole groups.

    None is held out from fewer than 20 texts, nor for several members, which hold out parts of their own. A label that
    would be missing from training is not held out.
    """
    if spec.held_out == 0 or spec.members > 1 or len(examples) < LEAST:
        return examples, None
    share, rest = spec.held_out, 1 - spec.held_out
    folds = max(2, round(1 / min(share, rest)))
    groups = None if examples.groups is None else np.unique(examples.groups, return_inverse=True)[1].astype(np.int64)
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
    """Raises LearningError if nothing can be learned from ``examples``, or if ``held_out`` asks something else."""
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


def training_key(
    encoder: ModelFolder, examples: Examples, held_out: Examples | None, spec: TrainingSpec, scratch: Path
) -> str:
    """What a training depends on, as a short text: only its own checkpoints are taken up."""
    total = hashlib.blake2b(digest_size=16)
    for part in (encoder.fingerprint(scratch, "training"), spec.model_dump_json()):
        total.update(part.encode() + b"\0")
    for one in (examples, held_out):
        if one is not None:
            weights = None if one.weights is None else one.weights.tolist()
            total.update(json.dumps([one.texts, one.targets.tolist(), one.labels, weights], default=as_json).encode())
        total.update(b"\0")
    return total.hexdigest()


def _answered(texts: WindowedTexts, examples: Examples) -> AnsweredTexts:
    weights = np.ones(len(examples), np.float32) if examples.weights is None else examples.weights
    return AnsweredTexts(texts, examples.targets, (weights / weights.mean()).astype(np.float32))
