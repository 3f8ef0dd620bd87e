"""The training loop: transformers' Trainer, fed and stopped by us. A TrainingTask says what is trained and how judged.

A checkpoint is whole or not counted, so that a kill at any moment loses little and breaks nothing: transformers writes
weights, optimiser, schedule and random numbers into ``checkpoint-STEP``; when all are on the disk a note is written
into it, and only a checkpoint with a note counts. The note has the key of the training, so that what another training
left in the folder is never taken up. A batch that does not fit in memory is done again in smaller parts.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nextlabel.backend.files import atomic_path, write_atomically
from nextlabel.connectors.errors import LearningError

from .progress import ProgressReport, TrainingCancelled, TrainingProgress
from .sampling import EpochBatches
from .spec import TrainingSpec

NOTE = "nextlabel.json"

# As the CPU's allocator, CUDA, cuBLAS and MPS say it; they share no exception class.
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "cublas_status_alloc_failed")
REPORT_SECONDS = 0.25  # between two reports; reading the loss off a GPU stops it for a moment


class Checkpoints:
    """The checkpoints in ``scratch`` of the training called ``key``. Files of others in the folder are removed."""

    def __init__(self, scratch: Path, key: str) -> None:
        self._scratch, self._key = scratch, key
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

    def best(self) -> dict[str, Any] | None:
        """The best state so far as of the last checkpoint: tensors by name."""
        if self.last is None or self.note["best"] is None:
            return None
        from safetensors.torch import load_file

        state: dict[str, Any] = load_file(self._scratch / self.note["best"])
        return state

    def complete(self, step: int, state: dict[str, Any], best: dict[str, Any] | None, best_epoch: float) -> None:
        """Count the checkpoint of ``step``, which has just been written, with ``state`` (JSON) and the best tensors."""
        folder, name = self._scratch / f"checkpoint-{step}", None
        if best is not None:
            name = f"best-{best_epoch:g}.safetensors"
            if not (self._scratch / name).is_file():
                from safetensors.torch import save_file

                with atomic_path(self._scratch / name) as temporary:
                    save_file(best, temporary)
        for file in folder.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        note = {"key": self._key, "step": step, "best": name, **state}
        write_atomically(folder / NOTE, json.dumps(note).encode())
        self.last, self.note = folder, note
        self._tidy()

    def _tidy(self) -> None:
        """Remove every checkpoint but the last, and every best state but its own."""
        for folder in self._scratch.glob("checkpoint-*"):
            if folder != self.last:
                shutil.rmtree(folder, ignore_errors=True)
        for file in self._scratch.glob("best-*.safetensors"):
            if file.name != self.note.get("best"):
                file.unlink(missing_ok=True)


@dataclass(slots=True)
class EpochLoss:
    """Mean training loss of an epoch, from the running sum that the loop keeps: ``total`` over ``steps``."""

    total: float = 0.0
    steps: int = 0
    _sum: float = 0.0
    _step: int = 0

    def start(self, step: int) -> None:
        """The running sum begins anew, at ``step``."""
        self._sum, self._step = 0.0, step

    def add(self, running_sum: float, step: int) -> float:
        """Take in what has come since the last call; the mean loss of these steps."""
        loss, steps = running_sum - self._sum, step - self._step
        self.total, self.steps = self.total + loss, self.steps + steps
        self._sum, self._step = running_sum, step
        return loss / steps if steps else self.total / max(self.steps, 1)

    def end(self) -> float:
        """The mean of the epoch, which ends here."""
        mean = self.total / max(self.steps, 1)
        self.total, self.steps = 0.0, 0
        return mean


def best_of(history: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """The epoch with the least held-out log loss at its own temperature; None where nothing was held out.

    Macro-F1 is in the history too, but among some dozen held-out texts it moves by several points with a single
    one, and log loss moves with each. Its own temperature, because that is what the model will be used with.
    """
    measured = [entry for entry in history if "log_loss" in entry]
    return min(measured, key=lambda entry: entry["log_loss"]) if measured else None


def out_of_memory(error: BaseException) -> bool:
    """Whether this is an allocation that failed."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def free_memory() -> None:
    """Give back what the allocator of the device keeps for later."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


@dataclass(slots=True)
class Watch:
    """Who is told, who may stop it, and how long it has taken, interruptions left out."""

    report: ProgressReport
    stop: Callable[[], bool]
    before: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self.before + time.monotonic() - self.started

    def check(self) -> None:
        """Raises TrainingCancelled when it is to stop."""
        if self.stop():
            raise TrainingCancelled("the training was stopped before its end; the model is as it was")


class TrainingTask(Protocol):
    """What is trained on what, and how it is judged."""

    @property
    def network(self) -> Any:
        """The torch module, on its device."""
        ...

    @property
    def held_out(self) -> Any:
        """What ``measure`` measures on; None where nothing was held out."""
        ...

    @property
    def unit(self) -> str:
        """What a row is, in the words of whoever reads an error: ``text`` or ``window``."""
        ...

    def batches(self) -> EpochBatches:
        """Row numbers of the training, a batch a step."""
        ...

    def collate(self, rows: list[int]) -> dict[str, Any]:
        """Tensors of a batch; ``input_ids`` int64 [windows, longest] is one of them."""
        ...

    def parts(self, inputs: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
        """The batch in parts of up to ``most`` windows, or of one row that has more."""
        ...

    def loss(self, model: Any, part: dict[str, Any], whole: dict[str, Any]) -> Any:
        """What ``part`` adds to the mean loss of the batch ``whole``: a scalar with gradients."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """For AdamW, with a rate each."""
        ...

    def after_step(self) -> None:
        """Called when the optimiser has moved the weights."""
        ...

    def measure(self) -> dict[str, float]:
        """Figures on what is held out; {} where nothing is."""
        ...

    def best_of(self, history: Sequence[dict[str, float]]) -> dict[str, float] | None:
        """The best of the epochs so far; None where nothing was measured."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """Epochs trained, and what was measured after each: the best one's weights are in the network."""

    epochs: float
    history: list[dict[str, float]]


def choose_device() -> str:
    """``cuda``, ``mps`` or ``cpu``: the fastest there is."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def run(
    task: TrainingTask,
    spec: TrainingSpec,
    *,
    checkpoints: Checkpoints,
    scratch: Path,
    device: str,
    watch: Watch,
    checkpoint_seconds: float,
) -> Outcome:
    """Train the task's network in place, from the last checkpoint if there is one.

    Up to ``spec.batch_size`` windows have gradients at once; a batch that holds more, or that does not fit in
    memory, goes in parts with the same sum of gradients. Raises LearningError, TrainingCancelled.
    """
    import torch
    import transformers
    from transformers.trainer_callback import PrinterCallback

    transformers.logging.set_verbosity_error()
    network, sampler = task.network, task.batches()
    history: list[dict[str, float]] = list(checkpoints.note.get("history", []))
    total, steps = checkpoints.note.get("losses", (0.0, 0))  # of this epoch so far
    losses = EpochLoss(total, steps)
    watch.before = float(checkpoints.note.get("seconds", 0.0))
    best: list[Any] = [checkpoints.best()]

    class Loop(transformers.Trainer):  # type: ignore[misc]  # comes without types here
        optimizer: Any
        lr_scheduler: Any
        most = spec.batch_size  # windows at once
        summed: Any = 0.0  # of the losses, on the device

        def get_train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(self.train_dataset, batch_sampler=sampler, collate_fn=task.collate)

        def create_optimizer(self, model: Any = None) -> Any:
            if self.optimizer is None:
                self.optimizer = torch.optim.AdamW(task.parameter_groups(), fused=device in ("cpu", "cuda"))
            return self.optimizer

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if self.lr_scheduler is None:
                self.lr_scheduler = transformers.get_linear_schedule_with_warmup(
                    optimizer or self.optimizer, int(spec.warmup * num_training_steps), num_training_steps
                )
                self._created_lr_scheduler = True
            return self.lr_scheduler

        def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
            model.train()
            inputs = self._prepare_inputs(inputs)
            while True:
                try:
                    loss = self.whole_batch(model, inputs)
                    self.summed = self.summed + loss
                    return loss
                except (RuntimeError, MemoryError) as error:
                    if not out_of_memory(error):
                        raise
                    if self.most == 1:
                        length = inputs["input_ids"].shape[1]
                        raise LearningError(
                            f"a single {task.unit} of {length} tokens a window does not fit in memory to train on; "
                            "set a smaller max_length or fewer windows, or train a smaller encoder"
                        ) from error
                # Out here the error is gone, and with it the tensors that its traceback held.
                self.most = -(-min(self.most, len(inputs["input_ids"])) // 2)
                model.zero_grad()
                free_memory()

        def whole_batch(self, model: Any, inputs: dict[str, Any]) -> Any:
            """Gradients of the batch, in as many parts as memory asks for: their sum is the same."""
            total = 0.0
            for part in task.parts(inputs, self.most):
                loss = task.loss(model, part, inputs)
                self.accelerator.backward(loss)
                total = total + loss.detach()
            return total

    class Events(transformers.TrainerCallback):  # type: ignore[misc]
        reported, saved = 0.0, time.monotonic()

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            sampler.set_epoch(state.global_step // len(sampler))

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            task.after_step()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            watch.check()
            last = state.global_step % len(sampler) == 0
            if last or time.monotonic() - self.reported > REPORT_SECONDS:
                self.reported = time.monotonic()
                tell("training", state, losses.add(float(trainer.summed), state.global_step))
            if not last:  # at the end of an epoch its evaluation belongs to it
                control.should_save = self.due()

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            entry = {"epoch": round(state.epoch, 4), "loss": losses.end()}
            if not np.isfinite(entry["loss"]):
                raise LearningError(
                    f"the loss was not finite in epoch {state.epoch:g}: the training has diverged; "
                    f"lower learning_rate ({spec.learning_rate:g}) and head_learning_rate ({spec.head_learning_rate:g})"
                )
            if task.held_out is not None:
                tell("evaluating", state, entry["loss"])
                entry |= task.measure()
            history.append(entry | {"seconds": round(watch.seconds, 3)})
            leader = task.best_of(history)
            if leader is history[-1]:
                best[0] = {name: t.detach().to("cpu", copy=True) for name, t in network.state_dict().items()}
            tell("evaluating", state, entry["loss"])
            waited = 0 if leader is None else len(history) - 1 - history.index(leader)
            if spec.patience and waited >= spec.patience:
                control.should_training_stop = True
            control.should_save = (
                not control.should_training_stop and state.global_step < state.max_steps and self.due()
            )

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            losses.add(float(trainer.summed), state.global_step)
            note = {"history": history, "losses": [losses.total, losses.steps], "seconds": watch.seconds}
            checkpoints.complete(state.global_step, note, best[0], (task.best_of(history) or {"epoch": 0.0})["epoch"])
            self.saved = time.monotonic()

        def due(self) -> bool:
            return time.monotonic() - self.saved >= checkpoint_seconds

    def tell(stage: Any, state: Any, loss: float) -> None:
        score = history[-1].get("log_loss") if history else None
        progress = TrainingProgress(stage, state.global_step, state.max_steps, state.epoch, loss, score, watch.seconds)
        watch.report(progress)

    half = device == "cuda"
    bf16 = half and torch.cuda.is_bf16_supported(including_emulation=False)
    args = transformers.TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=spec.epochs,
        per_device_train_batch_size=spec.batch_size,
        max_grad_norm=1.0,
        seed=spec.seed,
        use_cpu=device == "cpu",
        bf16=bf16,
        fp16=half and not bf16,
        save_strategy="no",  # Events says when
        eval_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,  # it asks the GPU at every step; we look at the end of every epoch
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    args._n_gpu = min(args.n_gpu, 1)  # a small model loses more by splitting batches than it gains
    losses.start(int(checkpoints.note.get("step", 0)))
    trainer = Loop(model=network, args=args, train_dataset=range(sampler.rows), callbacks=[Events()])
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(checkpoints.last) if checkpoints.last else None)
    if best[0] is not None:
        network.load_state_dict(best[0])
    return Outcome(float(trainer.state.epoch), history)
