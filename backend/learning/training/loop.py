"""The training loop: transformers' Trainer, fed and stopped by us."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.crossfit import probabilities
from nextlabel.backend.learning.evaluation import macro_f1
from nextlabel.backend.learning.folds import Targets
from nextlabel.backend.learning.last_norm import flatten_last_norm
from nextlabel.backend.learning.tokenising import batches_by_length, pad
from nextlabel.backend.learning.training.checkpoints import Checkpoints
from nextlabel.backend.learning.training.history import EpochLoss, best_of
from nextlabel.backend.learning.training.losses import balanced_weights, example_losses
from nextlabel.backend.learning.training.memory import free_memory, out_of_memory, shortened
from nextlabel.backend.learning.training.module import parameter_groups
from nextlabel.backend.learning.training.progress import Report, TrainingCancelled, TrainingProgress
from nextlabel.backend.learning.training.sampling import EpochBatches
from nextlabel.backend.learning.training.spec import TrainingSpec
from nextlabel.backend.learning.training.temperature import fit_temperature, log_loss
from nextlabel.connectors.errors import LearningError

REPORT_SECONDS = 0.25  # between two reports; reading the loss off a GPU stops it for a moment
EVALUATION_BATCH = 32


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokenised texts with their answers: ``rows`` token ids a text, ``weights`` float32 [n] with a mean of 1."""

    rows: Sequence[Sequence[int]]
    targets: Targets
    weights: npt.NDArray[np.float32]


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
    network: Any,
    train: Tokens,
    held_out: Tokens | None,
    spec: TrainingSpec,
    *,
    checkpoints: Checkpoints,
    scratch: Path,
    device: str,
    watch: Watch,
    checkpoint_seconds: float,
) -> Outcome:
    """Train ``network`` in place, from the last checkpoint if there is one. Raises LearningError, TrainingCancelled."""
    import torch
    import transformers
    from transformers.trainer_callback import PrinterCallback

    transformers.logging.set_verbosity_error()
    sampler = EpochBatches(
        [len(row) for row in train.rows],
        train.targets,
        batch_size=spec.batch_size,
        resample=spec.resample,
        seed=spec.seed,
    )
    classes = network.head.out_features
    balance = balanced_weights(train.targets, classes, train.weights) if spec.class_weights == "balanced" else None
    class_weights = None if balance is None else torch.from_numpy(balance).to(device)
    history: list[dict[str, float]] = list(checkpoints.note.get("history", []))
    total, steps = checkpoints.note.get("losses", (0.0, 0))  # of this epoch so far
    losses = EpochLoss(total, steps)
    watch.before = float(checkpoints.note.get("seconds", 0.0))
    best: list[Any] = [checkpoints.best()]

    class Loop(transformers.Trainer):  # type: ignore[misc]  # comes without types here
        optimizer: Any
        lr_scheduler: Any
        micro = spec.batch_size
        summed: Any = 0.0  # of the losses, on the device

        def get_train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(range(len(train.rows)), batch_sampler=sampler, collate_fn=collate)

        def create_optimizer(self, model: Any = None) -> Any:
            if self.optimizer is None:
                fused = device in ("cpu", "cuda")
                self.optimizer = torch.optim.AdamW(parameter_groups(network, spec), fused=fused)
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
                    if self.micro == 1:
                        length = inputs["input_ids"].shape[1]
                        raise LearningError(
                            f"a single text of {length} tokens does not fit in memory to train on; "
                            "set a smaller max_length, or train a smaller encoder"
                        ) from error
                # Out here the error is gone, and with it the tensors that its traceback held.
                self.micro = -(-min(self.micro, len(inputs["targets"])) // 2)
                model.zero_grad()
                free_memory()

        def whole_batch(self, model: Any, inputs: dict[str, Any]) -> Any:
            """Gradients of the batch, in as many parts as memory asks for: their sum is the same."""
            size, total = len(inputs["targets"]), 0.0
            for start in range(0, size, self.micro):
                part = inputs if self.micro >= size else shortened(inputs, start, start + self.micro)
                logits = model(part["input_ids"], part["attention_mask"])
                each = example_losses(logits.float(), part["targets"], spec.loss, spec.focal_gamma, class_weights)
                loss = (each * part["weights"]).sum() / size
                self.accelerator.backward(loss)
                total = total + loss.detach()
            return total

    class Events(transformers.TrainerCallback):  # type: ignore[misc]
        reported, saved = 0.0, time.monotonic()

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            sampler.set_epoch(state.global_step // len(sampler))

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            flatten_last_norm(network.body)  # or transformers' own classes could only nearly say what this network says

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
            if held_out is not None:
                tell("evaluating", state, entry["loss"])
                entry |= measure(network, held_out, device, watch)
            history.append(entry | {"seconds": round(watch.seconds, 3)})
            leader = best_of(history)
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
            checkpoints.complete(state.global_step, note, best[0], (best_of(history) or {"epoch": 0.0})["epoch"])
            self.saved = time.monotonic()

        def due(self) -> bool:
            return time.monotonic() - self.saved >= checkpoint_seconds

    def collate(rows: list[int]) -> dict[str, Any]:
        ids, mask = pad([train.rows[row] for row in rows])
        parts = {"input_ids": ids, "attention_mask": mask, "targets": train.targets[rows]}
        return {name: torch.from_numpy(part) for name, part in {**parts, "weights": train.weights[rows]}.items()}

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
    trainer = Loop(model=network, args=args, train_dataset=range(len(train.rows)), callbacks=[Events()])
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(checkpoints.last) if checkpoints.last else None)
    if best[0] is not None:
        network.load_state_dict(best[0])
    return Outcome(float(trainer.state.epoch), history)


def measure(network: Any, held_out: Tokens, device: str, watch: Watch) -> dict[str, float]:
    """Temperature, and log loss and macro-F1 with it, on held-out texts."""
    logits = predict_logits(network, held_out.rows, device, watch)
    temperature = fit_temperature(logits, held_out.targets, held_out.weights)
    return {
        "temperature": temperature,
        "log_loss": log_loss(logits, held_out.targets, held_out.weights, temperature),
        "macro_f1": macro_f1(probabilities(logits.copy(), held_out.targets.ndim == 2), held_out.targets),
    }


def predict_logits(network: Any, rows: Sequence[Sequence[int]], device: str, watch: Watch) -> npt.NDArray[np.float32]:
    """float32 [n, c] for tokenised texts. Leaves the network in evaluation mode."""
    import torch

    network.eval()
    out = np.empty((len(rows), network.head.out_features), np.float32)
    size = EVALUATION_BATCH
    pending = batches_by_length(rows, size)[::-1]
    while pending:
        watch.check()
        batch = pending.pop()
        ids, mask = (torch.from_numpy(part).to(device) for part in pad([rows[row] for row in batch]))
        try:
            with torch.inference_mode():
                out[batch] = network(ids, mask).float().cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or len(batch) == 1:
                raise
            middle = len(batch) // 2
            pending += [batch[middle:], batch[:middle]]
            free_memory()
    return out
