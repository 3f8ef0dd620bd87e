"""Few-shot: the encoder tuned so that texts of one label lie together, then a linear layer on its vectors.

The two steps of SetFit (Tunstall et al., 2022, "Efficient Few-Shot Learning Without Prompts"): from n texts one can
make n * n pairs, which is much to learn from where labels are few. The pairs are those of whole batches (supervised
contrastive loss, see contrastive): a batch of 32 texts gives 496 of them for the price of 32.

The idea is setfit's and the code is not: that library goes through the pairs one by one (585,200 an epoch for 77
labels of ten texts), takes texts that share any label for the same, and keeps its head as a pickle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.crossfit import COLD_TEMPERATURE
from nextlabel.backend.learning.encoders import FloatMatrix
from nextlabel.backend.learning.examples import Examples
from nextlabel.backend.learning.last_norm import flatten_last_norm
from nextlabel.backend.learning.model_folder import ModelFolder
from nextlabel.backend.learning.probe import Probe
from nextlabel.backend.learning.tokenising import batches_by_length, pad
from nextlabel.backend.learning.training.contrastive import alikeness, contrastive_batches, contrastive_loss
from nextlabel.backend.learning.training.loop import Watch, choose_device
from nextlabel.backend.learning.training.memory import free_memory, out_of_memory
from nextlabel.backend.learning.training.module import Vocabulary, parameter_groups, text_classifier
from nextlabel.backend.learning.training.progress import Report, TrainingProgress, never, no_report
from nextlabel.backend.learning.training.saving import check_free, save_encoder, save_head, whole_folder
from nextlabel.backend.learning.training.spec import TrainingSpec
from nextlabel.backend.learning.training.temperature import fit_temperature
from nextlabel.backend.learning.training.trainer import TrainingResult, check_examples, tokenised
from nextlabel.connectors.errors import LearningError, MissingExtra

BATCH = 32  # texts a step; the more, the more each is contrasted with
SMALLEST_BATCH = 4  # below which there is nothing left to contrast
PART = 8  # of them that go through the network at once, of like length: little padding
PASSES = 10  # over the labels
FEWEST_STEPS, MOST_STEPS = 50, 500  # whatever the number of labels
EMBED_BATCH = 32

Ids = Sequence[Sequence[int]]


class FewShotTuner:
    """Contrastive tuning, then a probe on the tuned vectors; fulfils Trainer.

    It takes a rate, a warm-up, a decay, a pooling and a seed from the spec; how long it takes follows from the
    number of labels. Held-out texts set the temperature, and nothing else: whoever judges the model may do so on them.
    A training that was killed starts again: it is short. ``device`` as for FineTuner.
    """

    def __init__(self, device: str | None = None) -> None:
        for module in ("torch", "transformers"):
            if find_spec(module) is None:
                raise MissingExtra(module, "train")
        self._device = device

    def train(
        self,
        encoder: ModelFolder,
        examples: Examples,
        held_out: Examples | None,
        spec: TrainingSpec,
        folder: Path,
        *,
        scratch: Path,
        report: Report = no_report,
        stop: Callable[[], bool] = never,
    ) -> TrainingResult:
        """See Trainer."""
        import torch

        check_examples(examples, held_out)
        check_free(folder)
        watch, device = Watch(report, stop), self._device or choose_device()
        scratch.mkdir(parents=True, exist_ok=True)
        held = held_out if held_out is not None and len(held_out) else None
        rows = tokenised(encoder, [*examples.texts, *(held.texts if held is not None else ())], scratch, watch)
        torch.manual_seed(spec.seed)
        network = text_classifier(encoder, spec, len(examples.labels)).to(device)
        vocabulary = Vocabulary(network.body, rows)
        narrowed = vocabulary.narrow(rows)
        history = tune(network, narrowed[: len(examples)], examples, spec, device=device, watch=watch)
        vectors = encode(network, narrowed, device, watch)
        vocabulary.widen()
        head = fit_head(vectors[: len(examples)], examples, vectors[len(examples) :], held)
        epochs = history[-1]["epoch"]
        result = TrainingResult(folder, epochs, epochs, round(watch.seconds, 3), device, history, head.temperature)
        with whole_folder(folder) as partial:
            save_encoder(partial, network.to("cpu"), encoder)
            save_head(partial, head, examples.labels, result.facts(encoder, spec, len(examples)))
        return result


def tune(
    network: Any, rows: Ids, examples: Examples, spec: TrainingSpec, *, device: str, watch: Watch
) -> list[dict[str, float]]:
    """Train body and pooler of ``network`` on the tokenised ``rows``; one entry of history a pass over the labels."""
    import torch
    from transformers import get_linear_schedule_with_warmup

    steps = tuning_steps(len(examples))
    each_pass = max(1, round(len(examples) / BATCH))
    contrasts = _Contrasts(network, rows, examples, device, np.random.default_rng(spec.seed))
    optimizer = torch.optim.AdamW(parameter_groups(network, spec), fused=device in ("cpu", "cuda"))
    schedule = get_linear_schedule_with_warmup(optimizer, int(spec.warmup * steps), steps)
    losses: list[float] = []
    history: list[dict[str, float]] = []
    network.train()
    for step in range(1, steps + 1):
        watch.check()
        losses.append(contrasts.backward())
        if not np.isfinite(losses[-1]):
            raise LearningError(
                f"the loss was not finite at step {step}: the tuning has diverged; lower learning_rate "
                f"({spec.learning_rate:g})"
            )
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        flatten_last_norm(network.body)  # as in fine-tuning
        schedule.step()
        optimizer.zero_grad()
        watch.report(TrainingProgress("training", step, steps, step / each_pass, losses[-1], None, watch.seconds))
        if step % each_pass == 0 or step == steps:
            entry = {"epoch": round(step / each_pass, 4), "loss": float(np.mean(losses))}
            history.append(entry | {"seconds": round(watch.seconds, 3)})
            losses = []
    return history


def tuning_steps(texts: int) -> int:
    """Steps for so many labelled texts: ten passes, but not too few to move, nor more than anyone waits for."""
    return min(max(PASSES * texts // BATCH, FEWEST_STEPS), MOST_STEPS)


class _Contrasts:
    """Gradients of one batch after the other; of batches half as large once one didn't fit in memory."""

    def __init__(self, network: Any, rows: Ids, examples: Examples, device: str, rng: np.random.Generator) -> None:
        self._network, self._rows, self._examples, self._device = network, rows, examples, device
        self._weights = np.ones(len(examples), np.float32) if examples.weights is None else examples.weights
        self._size, self._rng = BATCH, rng
        self._batches = contrastive_batches(examples.targets, BATCH, rng)

    def backward(self) -> float:
        """Add the gradients of the next batch, and return its loss. Raises LearningError if four texts don't fit."""
        while True:
            try:
                return self._backward(next(self._batches))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self._size <= SMALLEST_BATCH:
                    raise LearningError(
                        f"{self._size} texts do not fit in memory to train on; set a smaller max_length, or train a "
                        "smaller encoder"
                    ) from error
            # Out here the error is gone, and with it the tensors that its traceback held.
            self._size //= 2
            self._batches = contrastive_batches(self._examples.targets, self._size, self._rng)
            self._network.zero_grad()
            free_memory()

    def _backward(self, batch: npt.NDArray[np.int64]) -> float:
        import torch

        batch = batch[np.argsort([len(self._rows[row]) for row in batch], kind="stable")]
        parts = [batch[at : at + PART] for at in range(0, len(batch), PART)]
        vectors = torch.cat([_vectors(self._network, self._rows, part, self._device) for part in parts])
        alike, weights = alikeness(self._examples.targets[batch]), self._weights[batch]
        loss = contrastive_loss(vectors, *(torch.from_numpy(one).to(self._device) for one in (alike, weights)))
        loss.backward()
        return float(loss.detach())


def encode(network: Any, rows: Ids, device: str, watch: Watch) -> FloatMatrix:
    """Unit vectors float32 [n, d] of tokenised texts, without dropout."""
    import torch

    network.eval()
    out = np.empty((len(rows), network.dimension), np.float32)
    done = 0
    with torch.inference_mode():
        for batch in batches_by_length(rows, EMBED_BATCH):
            watch.check()
            out[batch] = _vectors(network, rows, np.asarray(batch), device).cpu().numpy()
            done += len(batch)
            watch.report(TrainingProgress("embedding", done, len(rows), seconds=watch.seconds))
    return out


def fit_head(vectors: FloatMatrix, examples: Examples, held_vectors: FloatMatrix, held_out: Examples | None) -> Probe:
    """A probe on tuned vectors. The encoder has seen the answers, so only ``held_out`` can tell how sure to be.

    Nothing is learned from those: they also tell whether the model is used.
    """
    head = Probe.fit(vectors, examples.targets, len(examples.labels), weights=examples.weights, calibrate=False)
    temperature = COLD_TEMPERATURE
    if held_out is not None:
        logits = held_vectors @ head.weights.T + head.bias
        temperature = fit_temperature(logits, held_out.targets, held_out.weights)
    return Probe(head.weights, head.bias, head.multi_label, temperature, head.labels)


def _vectors(network: Any, rows: Ids, batch: npt.NDArray[np.int64], device: str) -> Any:
    """Unit vectors float [b, d] of some rows, with gradients; half precision on a CUDA device."""
    import torch

    ids, mask = (torch.from_numpy(part).to(device) for part in pad([rows[row] for row in batch]))
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device == "cuda"):
        hidden = network.body(input_ids=ids, attention_mask=mask).last_hidden_state
    vector = network.pooler(hidden.float(), mask).float()
    return vector / vector.norm(dim=1, keepdim=True).clamp(min=1e-12)
