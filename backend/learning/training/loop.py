"""The training loop: transformers' Trainer, fed and stopped by us. A Task says what is trained, and how to judge it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nextlabel.backend.learning.training.checkpoints import Checkpoints
from nextlabel.backend.learning.training.history import EpochLoss
from nextlabel.backend.learning.training.memory import free_memory, out_of_memory
from nextlabel.backend.learning.training.progress import Report, TrainingCancelled, TrainingProgress
from nextlabel.backend.learning.training.sampling import EpochBatches
from nextlabel.backend.learning.training.spec import TrainingSpec
from nextlabel.connectors.errors import LearningError

REPORT_SECONDS = 0.25  # between two reports; reading the loss off a GPU stops it for a moment


@dataclass(slots=True)
class Watch:
    """Who is told, who may stop it, and how long it has taken, interruptions left out."""

    report: Report
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


class Task(Protocol):
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
    task: Task,
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
