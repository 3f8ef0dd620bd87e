"""Several trainings from one start, averaged into one model.

Members differ in the part of the labels that they leave out, in the order of the rest, and in dropout. They begin with
the same encoder and the same head, so that the mean of their weights is a model too, mostly a better one than any of
them (Wortsman et al., 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time", https://arxiv.org/abs/2203.05482). Every label is learned from by all members but one.
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

from nextlabel.backend.data.examples import Examples, assign_folds
from nextlabel.backend.files import atomic_path
from nextlabel.backend.models.calibration import fit_temperature

from .classifier import AnsweredTexts, ClassifierTask
from .loop import Checkpoints, Outcome, Watch, run
from .progress import ProgressReport, TrainingProgress
from .spec import TrainingSpec

DONE = "member.safetensors"

Logits = npt.NDArray[np.float32]


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


def train_members(
    network: Any,
    train: AnsweredTexts,
    examples: Examples,
    spec: TrainingSpec,
    *,
    scratch: Path,
    key: str,
    device: str,
    watch: Watch,
    checkpoint_seconds: float,
) -> tuple[Outcome, dict[str, float]]:
    """Train ``spec.members`` of them and leave their mean in ``network``.

    Returns what was measured (entries say which ``member``), and the mean best ``epoch`` with the ``temperature``,
    which is fitted on what each member says of the part that it left out. Members that have ended are kept in
    ``scratch``, so a training that was killed goes on with the next. Raises LearningError, TrainingCancelled.
    """
    begin = {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}
    fold_of = assign_folds(examples.targets, spec.members, np.random.default_rng([spec.seed, 1]), examples.groups)
    members: list[Member] = []
    for number in range(spec.members):
        folder, own = scratch / f"member-{number}", f"{key}/{number}"
        member = Member.load(folder / DONE, own)
        if member is None:
            network.load_state_dict(begin)
            own_watch = Watch(
                in_all(watch.report, number, spec.members, sum(one.seconds for one in members)), watch.stop
            )
            left_out = train.take(np.flatnonzero(fold_of == number))
            task = ClassifierTask(
                network,
                train.take(np.flatnonzero(fold_of != number)),
                left_out,
                spec.model_copy(update={"seed": seed_of(spec.seed, number)}),
                device,
                own_watch,
            )
            outcome = run(
                task,
                task.spec,
                checkpoints=Checkpoints(folder, own),
                scratch=folder,
                device=device,
                watch=own_watch,
                checkpoint_seconds=checkpoint_seconds,
            )
            best = task.best_of(outcome.history) or {"epoch": outcome.epochs}
            state = {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}
            logits = task.logits(left_out.texts)
            member = Member(state, logits, outcome, best["epoch"], own_watch.seconds)
            member.save(folder / DONE, own)
        members.append(member)
    watch.before, watch.started = sum(one.seconds for one in members), time.monotonic()
    network.load_state_dict(mean_state([member.state for member in members]))
    apart = np.concatenate([np.flatnonzero(fold_of == number) for number in range(spec.members)])
    said = np.concatenate([member.logits for member in members])
    temperature = fit_temperature(said, train.targets[apart], train.weights[apart])
    history = [entry | {"member": at} for at, member in enumerate(members) for entry in member.outcome.history]
    epochs, best_epoch = (
        float(np.mean([getattr(one, name) for one in where]))
        for where, name in (([member.outcome for member in members], "epochs"), (members, "best_epoch"))
    )
    return Outcome(epochs, history), {"epoch": best_epoch, "temperature": temperature}


def in_all(report: ProgressReport, number: int, members: int, before: float) -> ProgressReport:
    """Progress of member ``number`` as a part of the whole; ``before``: seconds of those before it."""

    def told(progress: TrainingProgress) -> None:
        done = number * progress.steps + progress.step
        whole = replace(progress, step=done, steps=members * progress.steps, seconds=before + progress.seconds)
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
