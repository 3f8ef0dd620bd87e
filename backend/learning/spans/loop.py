"""The training loop of a span model: transformers' Trainer over windows, judged by held-out spans."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nextlabel.backend.learning.spans.decoding import decode
from nextlabel.backend.learning.spans.metrics import span_f1
from nextlabel.backend.learning.spans.model import network_logits
from nextlabel.backend.learning.spans.network import model_inputs, takes_types
from nextlabel.backend.learning.spans.tagging import IntArray, TagSet
from nextlabel.backend.learning.spans.tokens import TokenisedText, Window
from nextlabel.backend.learning.tokenising import pad
from nextlabel.backend.learning.training.checkpoints import Checkpoints
from nextlabel.backend.learning.training.history import EpochLoss
from nextlabel.backend.learning.training.loop import REPORT_SECONDS, Watch
from nextlabel.backend.learning.training.memory import free_memory, out_of_memory
from nextlabel.backend.learning.training.progress import TrainingProgress
from nextlabel.backend.learning.training.sampling import EpochBatches
from nextlabel.backend.learning.training.spec import TrainingSpec
from nextlabel.backend.learning.training.temperature import fit_temperature, log_loss
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span

IGNORED = -100  # what torch's cross-entropy leaves out: special tokens, and tokens that begin no unit


@dataclass(frozen=True, slots=True)
class TaggedTexts:
    """Tokenised texts, a tag int64 [u] for each of their units, and the spans that predictions are held against."""

    texts: Sequence[TokenisedText]
    tags: Sequence[IntArray]
    spans: Sequence[Sequence[Span]]

    def windows(self) -> list[tuple[Window, IntArray]]:
        """Every window with the tags of its tokens, int64 [t], IGNORED where there is none."""
        found: list[tuple[Window, IntArray]] = []
        for text, tags in zip(self.texts, self.tags, strict=True):
            for window in text.windows:
                targets = np.full(len(window.ids), IGNORED, np.int64)
                targets[window.positions] = tags[window.units]
                found.append((window, targets))
        return found

    def with_ids(self, change: Any) -> TaggedTexts:
        """The same with token ids put through ``change``: ids of some windows -> as many for each."""
        texts = [
            replace(
                text,
                windows=[
                    replace(window, ids=[int(one) for one in ids])
                    for window, ids in zip(text.windows, change([window.ids for window in text.windows]), strict=True)
                ],
            )
            for text in self.texts
        ]
        return replace(self, texts=texts)


def best_of(history: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """The epoch with the highest held-out span F1, among equals the least log loss; None if none was measured."""
    measured = [entry for entry in history if "span_f1" in entry]
    return max(measured, key=lambda entry: (entry["span_f1"], -entry["log_loss"])) if measured else None


def run(
    network: Any,
    tags: TagSet,
    train: TaggedTexts,
    held_out: TaggedTexts | None,
    spec: TrainingSpec,
    *,
    checkpoints: Checkpoints,
    scratch: Path,
    device: str,
    watch: Watch,
    checkpoint_seconds: float,
) -> tuple[float, list[dict[str, float]]]:
    """Train ``network`` in place, from the last checkpoint if there is one; epochs trained and their history.

    The best epoch's weights are left in the network. Raises LearningError, TrainingCancelled.
    """
    import torch
    import transformers
    from transformers.trainer_callback import PrinterCallback

    transformers.logging.set_verbosity_error()
    windows, types = train.windows(), takes_types(network.config)
    lengths = [len(window.ids) for window, _ in windows]
    sampler = EpochBatches(lengths, np.zeros(len(windows), np.int64), batch_size=spec.batch_size, seed=spec.seed)
    history: list[dict[str, float]] = list(checkpoints.note.get("history", []))
    total, steps = checkpoints.note.get("losses", (0.0, 0))  # of this epoch so far
    losses = EpochLoss(total, steps)
    watch.before = float(checkpoints.note.get("seconds", 0.0))
    best: list[Any] = [checkpoints.best()]

    class Loop(transformers.Trainer):  # type: ignore[misc]  # comes without types here
        micro = spec.batch_size
        optimizer: Any
        lr_scheduler: Any

        def get_train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(range(len(windows)), batch_sampler=sampler, collate_fn=collate)

        def create_optimizer(self, model: Any = None) -> Any:
            if self.optimizer is None:
                self.optimizer = torch.optim.AdamW(parameter_groups(network, spec), fused=device in ("cpu", "cuda"))
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
                    return self.whole_batch(model, inputs)
                except (RuntimeError, MemoryError) as error:
                    if not out_of_memory(error):
                        raise
                    if self.micro == 1:
                        raise LearningError(
                            f"a single window of {inputs['input_ids'].shape[1]} tokens does not fit in memory to "
                            "train on; set a smaller max_length, or train a smaller encoder"
                        ) from error
                # Out here the error is gone, and with it the tensors that its traceback held.
                self.micro = -(-min(self.micro, len(inputs["labels"])) // 2)
                model.zero_grad()
                free_memory()

        def whole_batch(self, model: Any, inputs: dict[str, Any]) -> Any:
            """Gradients of the batch, in as many parts as memory asks for: their sum is the same."""
            said = (inputs["labels"] != IGNORED).sum().clamp(min=1)
            sum_of_losses = torch.zeros((), device=said.device)
            for start in range(0, len(inputs["labels"]), self.micro):
                part = {name: tensor[start : start + self.micro] for name, tensor in inputs.items()}
                targets = part.pop("labels").flatten()
                logits = model(**part).logits.float().flatten(0, 1)
                each = torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
                self.accelerator.backward(each / said)
                sum_of_losses = sum_of_losses + (each / said).detach()
            return sum_of_losses

    class Events(transformers.TrainerCallback):  # type: ignore[misc]
        reported, saved = 0.0, time.monotonic()

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            sampler.set_epoch(state.global_step // len(sampler))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            watch.check()
            last = state.global_step % len(sampler) == 0
            if last or time.monotonic() - self.reported > REPORT_SECONDS:
                self.reported = time.monotonic()
                tell("training", state, losses.add(float(trainer._tr_loss), state.global_step))
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
                entry |= measure(network, tags, held_out)
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
            losses.add(float(trainer._tr_loss), state.global_step)
            note = {"history": history, "losses": [losses.total, losses.steps], "seconds": watch.seconds}
            checkpoints.complete(state.global_step, note, best[0], (best_of(history) or {"epoch": 0.0})["epoch"])
            self.saved = time.monotonic()

        def due(self) -> bool:
            return time.monotonic() - self.saved >= checkpoint_seconds

    def collate(rows: list[int]) -> dict[str, Any]:
        inputs = model_inputs([windows[row][0] for row in rows], types=types)
        targets, mask = pad([windows[row][1].tolist() for row in rows])
        return inputs | {"labels": torch.from_numpy(np.where(mask, targets, IGNORED))}

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
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    args._n_gpu = min(args.n_gpu, 1)  # a small model loses more by splitting batches than it gains
    losses.start(int(checkpoints.note.get("step", 0)))
    trainer = Loop(model=network, args=args, train_dataset=range(len(windows)), callbacks=[Events()])
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(checkpoints.last) if checkpoints.last else None)
    if best[0] is not None:
        network.load_state_dict(best[0])
    return float(trainer.state.epoch), history


def parameter_groups(network: Any, spec: TrainingSpec) -> list[dict[str, Any]]:
    """Parameters for AdamW: encoder and head at their own rates, no decay of biases and of norms."""
    body = {id(parameter) for parameter in network.base_model.parameters()}
    groups: dict[tuple[float, float], list[Any]] = {}
    for parameter in network.parameters():
        rate = spec.learning_rate if id(parameter) in body else spec.head_learning_rate
        groups.setdefault((rate, spec.weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [{"params": part, "lr": rate, "weight_decay": decay} for (rate, decay), part in groups.items()]


def measure(network: Any, tags: TagSet, held_out: TaggedTexts) -> dict[str, float]:
    """Span F1 on held-out texts, and log loss a unit at the temperature that suits it best."""
    logits = network_logits(network, held_out.texts, len(tags))
    found = decode(logits, [text.bounds for text in held_out.texts], tags)
    rows, targets = np.concatenate(logits), np.concatenate(list(held_out.tags))
    temperature = fit_temperature(rows, targets)
    return {
        "span_f1": span_f1([one.spans for one in found], held_out.spans),
        "log_loss": log_loss(rows, targets, None, temperature),
        "temperature": temperature,
    }
