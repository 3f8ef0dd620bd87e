"""The training loop. A TrainingTask says what is trained on what and how it is judged; the rest is the same for all.

A checkpoint is whole or not counted, so that a kill at any moment loses little and breaks nothing: weights, optimiser,
random numbers and losses go into ``checkpoint-STEP``; when they are on the disk a note is written beside them, and
only a checkpoint with a note counts. The note has the key of the training, so that what another training left in the
folder is never taken up. A batch that does not fit in memory is done again in smaller parts.
"""

from __future__ import annotations

import json
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nextlabel.backend.files import atomic_path, write_atomically
from nextlabel.connectors.errors import LearningError

from .memory import free_memory, out_of_memory
from .spec import TrainingProgress, TrainingSpec, Watch
from .texts import EpochBatches

NOTE, STATE = "nextlabel.json", "state.pt"

REPORT_SECONDS = 0.25  # between two looks at the loss; reading it off a GPU stops it for a moment


class Checkpoints:
    """The checkpoints in ``scratch`` of the training called ``key``. Files of others in the folder are removed.

    ``seconds`` lie between two of them.
    """

    def __init__(self, scratch: Path, key: str, seconds: float) -> None:
        self._scratch, self._key, self._seconds = scratch, key, seconds
        self._saved = time.monotonic()
        scratch.mkdir(parents=True, exist_ok=True)
        self.last, self.note = self._find()
        self._tidy()

    def _find(self) -> tuple[Path | None, dict[str, Any]]:
        found: list[tuple[int, Path, dict[str, Any]]] = []
        for file in self._scratch.glob(f"checkpoint-*/{NOTE}"):
            try:
                note = json.loads(file.read_text(encoding="utf-8"))
                if note["key"] == self._key:
                    found.append((int(note["step"]), file.parent, note))
            except (OSError, ValueError, KeyError, TypeError):
                continue  # not one of ours, or of another version
        if not found:
            return None, {}
        _, path, note = max(found, key=lambda one: one[0])
        return path, note

    @property
    def due(self) -> bool:
        """Whether it is time for another one."""
        return time.monotonic() - self._saved >= self._seconds

    def load(self) -> dict[str, Any]:
        """The state of the last checkpoint, on the CPU."""
        import torch

        assert self.last is not None  # noqa: S101  # whoever loads has looked
        state: dict[str, Any] = torch.load(self.last / STATE, map_location="cpu", weights_only=True)
        return state

    def add(self, step: int, state: dict[str, Any], note: dict[str, Any]) -> None:
        """Write a checkpoint: a ``state`` of tensors, and a ``note`` in JSON."""
        import torch

        folder = self._scratch / f"checkpoint-{step}"
        with atomic_path(folder / STATE) as temporary:
            torch.save(state, temporary)
        note = {"key": self._key, "step": step, **note}
        write_atomically(folder / NOTE, json.dumps(note).encode())
        self.last, self.note, self._saved = folder, note, time.monotonic()
        self._tidy()

    def _tidy(self) -> None:
        """Remove every checkpoint but the last."""
        for folder in self._scratch.glob("checkpoint-*"):
            if folder != self.last:
                shutil.rmtree(folder, ignore_errors=True)


def _half(device: str) -> Any:
    """The half precision that a CUDA device is good at; None on any other device."""
    import torch

    if device != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def half_precision(device: str) -> AbstractContextManager[None]:
    """Forward passes of a training on a CUDA device go in half precision; elsewhere nothing changes."""
    import torch

    half: AbstractContextManager[None] = torch.autocast("cuda", dtype=_half(device), enabled=device == "cuda")
    return half


def state_of(network: Any) -> dict[str, Any]:
    """A copy of its tensors, on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}


def random_state(device: str) -> dict[str, Any]:
    """Where torch's random numbers stand: those of the CPU, and those that dropout on ``device`` draws."""
    import torch

    own = {device: getattr(torch, device).get_rng_state()} if device in ("cuda", "mps") else {}
    return {"cpu": torch.get_rng_state(), **own}


def set_random_state(state: dict[str, Any]) -> None:
    """Go back to where ``random_state`` was taken."""
    import torch

    for device, numbers in state.items():
        (torch if device == "cpu" else getattr(torch, device)).set_rng_state(numbers)


def parameter_groups(network: Any, body: Any, spec: TrainingSpec) -> list[dict[str, Any]]:
    """Parameters for AdamW: body and what stands on it at their own rates, no decay of biases and of norms."""
    inside = {id(parameter) for parameter in body.parameters()}
    groups: dict[tuple[float, float], list[Any]] = {}
    for parameter in network.parameters():
        rate = spec.learning_rate if id(parameter) in inside else spec.head_learning_rate
        if parameter.requires_grad:
            groups.setdefault((rate, spec.weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [{"params": part, "lr": rate, "weight_decay": decay} for (rate, decay), part in groups.items()]


class TrainingTask(ABC):
    """What is trained on what, and how it is judged.

    ``network`` is a torch module on ``device``. Up to ``most`` windows have gradients at once; a batch that holds
    more, or that does not fit in memory, goes in parts with the same sum of gradients. ``epoch_steps`` make an epoch,
    ``steps`` the whole training. Gradients are cut to the norm ``clip``.
    """

    held_out: Any = None
    clip = 1.0

    def __init__(self, network: Any, batches: EpochBatches, spec: TrainingSpec, device: str, watch: Watch) -> None:
        self.network, self.spec, self.device, self.watch = network, spec, device, watch
        self.most, self.epoch_steps, self._batches = spec.batch_size, len(batches), batches

    @property
    def steps(self) -> int:
        """Of the optimiser in all; fewer where patience runs out."""
        return self.spec.epochs * self.epoch_steps

    def batches(self) -> Iterator[Any]:
        """Rows of every step, from the first on: always the same ones."""
        return self._batches.without_end()

    @abstractmethod
    def collate(self, rows: Any) -> dict[str, Any]:
        """Tensors of a batch, on the CPU."""

    @abstractmethod
    def loss(self, part: dict[str, Any], whole: dict[str, Any]) -> Any:
        """What ``part``, which is on the device, adds to the mean loss of the batch ``whole``: with gradients."""

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """For AdamW, with a rate each, at its peak."""

    def parts(self, batch: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
        """The batch in parts of up to ``most`` windows, or of one row that has more."""
        size = len(next(iter(batch.values())))
        for start in range(0, size, most):
            yield {name: tensor[start : start + most] for name, tensor in batch.items()}

    def one(self, batch: dict[str, Any]) -> str:
        """What a row is, in the words of whoever reads an error."""
        return "text"

    def gradients(self, batch: dict[str, Any], most: int, scale: Callable[[Any], Any]) -> Any:
        """Add the gradients of a batch, whose loss goes through ``scale``, in parts of ``most``; return the loss."""
        total: Any = 0.0
        for part in self.parts(batch, most):
            loss = self.loss(self.moved(part), batch)
            scale(loss).backward()
            total = total + loss.detach()
        return total

    def moved(self, part: dict[str, Any]) -> dict[str, Any]:
        """The same tensors on the device."""
        return {name: tensor.to(self.device) for name, tensor in part.items()}

    @property
    def body(self) -> Any:
        """The part of the network that was trained before, where there is one."""
        return self.network.body

    @property
    def thaw_step(self) -> int:
        """The first step that trains the ``body`` too; what stands on it is trained from the first on."""
        return 0

    def rate(self, step: int) -> float:
        """The share of the peak of the learning rates at ``step``: it rises in the warm-up, then falls to nothing.

        Once with the body frozen, and once more with all.
        """
        thaw = self.thaw_step
        at, length = (step, thaw) if step < thaw else (step - thaw, self.steps - thaw)
        warmup = int(self.spec.warmup * length)
        if at < warmup:
            return at / warmup
        return (length - at) / max(1, length - warmup)

    def after_step(self) -> None:
        """Called when the optimiser has moved the weights."""
        return

    def measure(self) -> dict[str, float]:
        """Figures on what is held out, after an epoch; called only if something is."""
        return {}

    def best_of(self, history: Sequence[dict[str, float]]) -> dict[str, float] | None:
        """The epoch with the least held-out log loss at its own temperature; None where nothing was held out.

        Macro-F1 is in the history too, but among some dozen held-out texts it moves by several points with a single
        one, and log loss moves with each. Its own temperature, because that is what the model will be used with.
        """
        measured = [entry for entry in history if "log_loss" in entry]
        return min(measured, key=lambda entry: entry["log_loss"]) if measured else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Epochs trained, and what was measured after each: the best one's weights are in the network."""

    epochs: float
    history: list[dict[str, float]]


def fitting(task: TrainingTask, batch: dict[str, Any], most: int, scale: Callable[[Any], Any]) -> tuple[Any, int]:
    """Gradients of a batch: its loss, and how many windows fit in memory. Raises LearningError if not one does."""
    while True:
        try:
            return task.gradients(batch, most, scale), most
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if most == 1:
                raise LearningError(
                    f"a single {task.one(batch)} does not fit in memory to train on; set a smaller max_length or "
                    "fewer windows, or train a smaller encoder"
                ) from error
        # Out here the error is gone, and with it the tensors that its traceback held.
        most = -(-most // 2)
        task.network.zero_grad()
        free_memory()


def run(task: TrainingTask, checkpoints: Checkpoints | None = None) -> Outcome:
    """Train the task's network in place, from the last checkpoint if there is one.

    It seeds torch's random numbers. Raises LearningError, TrainingCancelled.
    """
    return _Run(task, checkpoints).to_the_end()


class _Run:
    """One training, at ``step``: what a checkpoint holds, and what leads from one to the next."""

    def __init__(self, task: TrainingTask, checkpoints: Checkpoints | None) -> None:
        import torch

        self.task, self.checkpoints, self.most = task, checkpoints, task.most
        self.optimizer = torch.optim.AdamW(task.parameter_groups(), fused=task.device in ("cpu", "cuda"))
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.scaler = torch.amp.GradScaler("cuda", enabled=_half(task.device) == torch.float16)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] | None = None  # the network's tensors after the best epoch, on the CPU
        self.step, self.losses = 0, torch.zeros((), device=task.device)  # the sum of this epoch, left on the device
        torch.manual_seed(task.spec.seed)
        if checkpoints is not None and checkpoints.last is not None:
            self._resume(checkpoints)
        self.loss, self.read = 0.0, (float(self.losses), self.step, -REPORT_SECONDS)  # the sum read last, and when

    def _resume(self, checkpoints: Checkpoints) -> None:
        state, note = checkpoints.load(), checkpoints.note
        self.task.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        set_random_state(state["random"])
        self.best, self.losses, self.step = state["best"], state["losses"].to(self.task.device), int(note["step"])
        self.history, self.task.watch.before = list(note["history"]), float(note["seconds"])

    def _save(self, checkpoints: Checkpoints) -> None:
        state = {
            "network": self.task.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": random_state(self.task.device),
            "best": self.best,
            "losses": self.losses,
        }
        checkpoints.add(self.step, state, {"history": self.history, "seconds": self.task.watch.seconds})

    def to_the_end(self) -> Outcome:
        task = self.task
        task.network.train()
        self._freeze_or_thaw()
        for rows in islice(task.batches(), self.step, task.steps):
            self._train_on(task.collate(rows))
            task.watch.check()
            ends = self.step % task.epoch_steps == 0 or self.step == task.steps
            self._read_loss(at_once=ends)
            self._tell("training")
            if ends and self._end_epoch():  # its evaluation belongs to an epoch, and to its checkpoint
                break
            if self.checkpoints is not None and self.checkpoints.due and self.step < task.steps:
                self._save(self.checkpoints)
        if self.best is not None:
            task.network.load_state_dict(self.best)
        return Outcome(self.step / task.epoch_steps, self.history)

    def _train_on(self, batch: dict[str, Any]) -> None:
        import torch

        task = self.task
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * task.rate(self.step)
        loss, self.most = fitting(task, batch, self.most, self.scaler.scale)
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(task.network.parameters(), task.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        task.after_step()
        self.losses, self.step = self.losses + loss, self.step + 1
        if self.step == task.thaw_step:
            self._freeze_or_thaw()

    def _freeze_or_thaw(self) -> None:
        """The optimiser leaves weights without a gradient alone, so that is all that freezing takes."""
        if self.task.thaw_step:
            self.task.body.requires_grad_(self.step >= self.task.thaw_step)

    def _read_loss(self, *, at_once: bool) -> None:
        """The mean loss of the steps since it was last read."""
        total, step, when = self.read
        if at_once or time.monotonic() - when > REPORT_SECONDS:
            self.read = (float(self.losses), self.step, time.monotonic())
            self.loss = (self.read[0] - total) / (self.step - step)

    def _end_epoch(self) -> bool:
        """Measure the epoch that ends here; whether that was enough."""
        import torch

        task, spec = self.task, self.task.spec
        epoch, steps = self.step / task.epoch_steps, (self.step - 1) % task.epoch_steps + 1
        self.loss = self.read[0] / steps
        if not np.isfinite(self.loss):
            raise LearningError(
                f"the loss was not finite in epoch {epoch:g}: the training has diverged; lower learning_rate "
                f"({spec.learning_rate:g}) and head_learning_rate ({spec.head_learning_rate:g})"
            )
        entry = {"epoch": round(epoch, 4), "loss": self.loss}
        if task.held_out is not None:
            self._tell("evaluating")
            entry |= task.measure()
            task.network.train()
        self.history.append(entry | {"seconds": round(task.watch.seconds, 3)})
        leader = task.best_of(self.history)
        if leader is self.history[-1]:
            self.best = state_of(task.network)
        if task.held_out is not None:
            self._tell("evaluating")
        self.losses = torch.zeros((), device=task.device)
        self.read = (0.0, self.step, self.read[2])
        waited = 0 if leader is None else len(self.history) - 1 - self.history.index(leader)
        thawed = (self.step - task.thaw_step) / task.epoch_steps  # epochs: none counts in which the body was frozen
        return bool(spec.patience) and min(waited, thawed) >= spec.patience

    def _tell(self, stage: Literal["training", "evaluating"]) -> None:
        task, score = self.task, self.history[-1].get("log_loss") if self.history else None
        epoch = self.step / task.epoch_steps
        seconds, history = task.watch.seconds, tuple(self.history)
        task.watch.report(TrainingProgress(stage, self.step, task.steps, epoch, self.loss, score, seconds, history))
