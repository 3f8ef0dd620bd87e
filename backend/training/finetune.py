"""Fine-tuning: from labelled texts and an encoder to a folder that is an encoder with a head.

The linear layer begins at the probe, so that the encoder is not torn about for a head that knows nothing (Kumar et
al., 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution",
https://arxiv.org/abs/2202.10054).

Several trainings from one start can be averaged into one model. Members differ in the part of the labels that they
leave out, in the order of the rest, and in dropout. They begin with the same encoder and the same head, so that the
mean of their weights is a model too, mostly a better one than any of them (Wortsman et al., 2022, "Model soups:
averaging weights of multiple fine-tuned models improves accuracy without increasing inference time",
https://arxiv.org/abs/2203.05482). Every label is learned from by all members but one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.data.examples import Examples, assign_folds
from nextlabel.backend.files import atomic_path
from nextlabel.backend.models.calibration import fit_temperature
from nextlabel.backend.models.crossfit import LEAST
from nextlabel.backend.models.probe import Probe

from .classifier import AnsweredTexts, ClassifierTask, LabelTask, text_vectors
from .loop import Outcome, run, state_of
from .spec import ProgressReport, TrainingProgress, Watch
from .trainer import Given, TextTrainer

DONE = "member.safetensors"

Logits = npt.NDArray[np.float32]


class FineTuner(TextTrainer[ClassifierTask]):
    """Trains the whole encoder with a linear layer on it."""

    kind, task = "fine-tune", ClassifierTask

    @override
    def fit(self, task: ClassifierTask, given: Given[Examples]) -> tuple[Outcome, dict[str, float] | None]:
        start_head(task.network, task.train, given.device, given.watch)
        if given.spec.members > 1 and len(given.examples) >= LEAST:
            return train_members(task, given)
        return super().fit(task, given)


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
class Member:
    """A training that has ended: its weights, and its logits float32 [k, c] on what it left out."""

    state: dict[str, Any]
    logits: Logits
    outcome: Outcome
    best_epoch: float
    seconds: float

    def save(self, file: Path, key: str) -> None:
        """Write it, whole or not at all."""
        import torch
        from safetensors.torch import save_file

        told = {"history": self.outcome.history, "epochs": self.outcome.epochs, "key": key}
        told |= {"best_epoch": self.best_epoch, "seconds": self.seconds}
        tensors = {f"state.{name}": tensor.contiguous() for name, tensor in self.state.items()}
        with atomic_path(file) as temporary:
            save_file(
                {**tensors, "logits": torch.from_numpy(self.logits)}, temporary, metadata={"member": json.dumps(told)}
            )

    @classmethod
    def load(cls, file: Path, key: str) -> Member | None:
        """What ``save`` wrote for the same training; None if that isn't there."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, framework="pt") as opened:
                told = json.loads(opened.metadata()["member"])
                if told["key"] != key:
                    return None
                names = [name for name in opened.keys() if name != "logits"]  # noqa: SIM118  # it is no dict
                state = {name.removeprefix("state."): opened.get_tensor(name) for name in names}
                logits = opened.get_tensor("logits").numpy()
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None
        outcome = Outcome(told["epochs"], told["history"])
        return cls(state, logits, outcome, told["best_epoch"], told["seconds"])


def train_members(whole: LabelTask[Any], given: Given[Examples, Any]) -> tuple[Outcome, dict[str, float]]:
    """Train as many members as the spec says on parts of ``whole``, and leave their mean in its network.

    Returns what was measured (entries say which ``member``), and the mean best ``epoch`` with the ``temperature``,
    which is fitted on what each member says of the part that it left out. Members that have ended are kept in
    ``scratch``, so a training that was killed goes on with the next. Raises LearningError, TrainingCancelled.
    """
    spec, watch, network, train = given.spec, given.watch, whole.network, whole.train
    begin = state_of(network)
    random = np.random.default_rng([spec.seed, 1])
    fold_of = assign_folds(train.targets, spec.members, random, given.examples.together())
    members: list[Member] = []
    for number in range(spec.members):
        checkpoints = given.checkpoints(f"member-{number}")
        file, key = given.scratch / f"member-{number}" / DONE, f"{given.key}/{number}"
        member = Member.load(file, key)
        if member is None:
            network.load_state_dict(begin)
            own = Watch(in_all(watch.report, spec.members, members), watch.stop)
            left_out, rest = (train.take(np.flatnonzero((fold_of == number) == out)) for out in (True, False))
            seeded = spec.model_copy(update={"seed": seed_of(spec.seed, number)})
            task = type(whole)(network, rest, left_out, seeded, given.device, own)
            outcome = run(task, checkpoints)
            best = task.best_of(outcome.history) or {"epoch": outcome.epochs}
            logits = task.logits(left_out.texts)
            member = Member(state_of(network), logits, outcome, best["epoch"], own.seconds)
            member.save(file, key)
        members.append(member)
    watch.before, watch.started = sum(one.seconds for one in members), time.monotonic()
    network.load_state_dict(mean_state([member.state for member in members]))
    whole.after_step()
    apart = np.concatenate([np.flatnonzero(fold_of == number) for number in range(spec.members)])
    said = np.concatenate([member.logits for member in members])
    temperature = fit_temperature(said, train.targets[apart], train.weights[apart])
    history = histories(members)
    epochs = float(np.mean([member.outcome.epochs for member in members]))
    best_epoch = float(np.mean([member.best_epoch for member in members]))
    return Outcome(epochs, history), {"epoch": best_epoch, "temperature": temperature}


def histories(members: Sequence[Member]) -> list[dict[str, float]]:
    """The epochs of all ``members``, each with the number of its ``member``."""
    return [entry | {"member": at} for at, member in enumerate(members) for entry in member.outcome.history]


def in_all(report: ProgressReport, count: int, ended: Sequence[Member]) -> ProgressReport:
    """Progress of the member after those that have ``ended`` as a part of the whole, which has ``count`` members."""
    number, before, earlier = len(ended), sum(one.seconds for one in ended), histories(ended)

    def told(progress: TrainingProgress) -> None:
        whole = replace(
            progress,
            step=number * progress.steps + progress.step,
            steps=count * progress.steps,
            seconds=before + progress.seconds,
            history=(*earlier, *({**entry, "member": number} for entry in progress.history)),
        )
        report(whole)

    return told


def seed_of(seed: int, number: int) -> int:
    """A seed for each member, far from those of neighbouring seeds."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)


def mean_state(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of every tensor of numbers; the first of what is counted."""
    first = states[0]
    return {
        name: sum(state[name] for state in states) / len(states) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }
