"""Few-shot: the encoder tuned so that texts of one label lie together, then a linear layer on its vectors.

The two steps of SetFit (Tunstall et al., 2022, "Efficient Few-Shot Learning Without Prompts"): from n texts one can
make n * n pairs, which is much to learn from where labels are few. The pairs are those of whole batches (supervised
contrastive loss, see contrastive): a batch of 32 texts gives 496 of them for the price of 32.

The idea is setfit's and the code is not: that library goes through the pairs one by one (585,200 an epoch for 77
labels of ten texts), takes texts that share any label for the same, and keeps its head as a pickle.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nextlabel.backend.learning.crossfit import COLD_TEMPERATURE
from nextlabel.backend.learning.encoders import FloatMatrix
from nextlabel.backend.learning.examples import Examples
from nextlabel.backend.learning.last_norm import flatten_last_norm
from nextlabel.backend.learning.model_folder import ModelFolder
from nextlabel.backend.learning.probe import Probe
from nextlabel.backend.learning.training.contrastive import alikeness, contrastive_batches, contrastive_loss
from nextlabel.backend.learning.training.loop import Watch, choose_device
from nextlabel.backend.learning.training.memory import free_memory, out_of_memory
from nextlabel.backend.learning.training.module import Vocabulary, parameter_groups, text_classifier
from nextlabel.backend.learning.training.progress import Report, TrainingProgress, never, no_report
from nextlabel.backend.learning.training.sampling import Rows
from nextlabel.backend.learning.training.saving import check_free, save_encoder, save_head, whole_folder
from nextlabel.backend.learning.training.spec import TrainingSpec
from nextlabel.backend.learning.training.temperature import fit_temperature
from nextlabel.backend.learning.training.texts import WindowedTexts, portions, text_vectors, tokenised
from nextlabel.backend.learning.training.trainer import TrainingResult, check_examples, how_it_reads
from nextlabel.backend.learning.windows import pool_windows
from nextlabel.connectors.errors import LearningError, MissingExtra

BATCH = 32  # texts a step; the more, the more each is contrasted with
WINDOWS = 32  # of them that may have gradients at once
PART = 8  # windows that go through the network at once, of texts of like length: little padding
PASSES = 10  # over the labels
RATE = 0.5  # of the learning rate of fine-tuning: on texts held out from banking77 and politeness better than 1 and 0.3
FEWEST_STEPS, MOST_STEPS = 50, 500  # whatever the number of labels


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
        texts = [*examples.texts, *(held.texts if held is not None else ())]
        cut = tokenised(encoder, texts, scratch, watch)
        torch.manual_seed(spec.seed)
        network = text_classifier(encoder, spec, len(examples.labels)).to(device)
        vocabulary = Vocabulary(network.body, cut.windows.rows)
        cut = cut.with_ids(vocabulary.narrow)
        history = tune(network, cut.part(0, len(examples)), examples, spec, device=device, watch=watch)

        def tell(done: int, total: int) -> None:
            watch.report(TrainingProgress("embedding", done, total, seconds=watch.seconds))

        vectors = text_vectors(network, cut, device, watch, tell)
        vocabulary.widen()
        head = fit_head(vectors[: len(examples)], examples, vectors[len(examples) :], held)
        epochs = history[-1]["epoch"]
        result = TrainingResult(folder, epochs, epochs, round(watch.seconds, 3), device, history, head.temperature)
        with whole_folder(folder) as partial:
            save_encoder(partial, network.to("cpu"), encoder)
            facts = result.facts(encoder, spec, len(examples)) | how_it_reads(encoder)
            save_head(partial, head, examples.labels, facts)
        return result


def tune(
    network: Any, texts: WindowedTexts, examples: Examples, spec: TrainingSpec, *, device: str, watch: Watch
) -> list[dict[str, float]]:
    """Train body and pooler of ``network`` on tokenised ``texts``; one entry of history a pass over the labels."""
    import torch
    from transformers import get_linear_schedule_with_warmup

    steps = tuning_steps(len(examples))
    each_pass = max(1, round(len(examples) / BATCH))
    batches = contrastive_batches(examples.targets, BATCH, np.random.default_rng(spec.seed))
    contrasts = Contrasts(network, texts, examples, device)
    slower = spec.model_copy(update={"learning_rate": RATE * spec.learning_rate})
    optimizer = torch.optim.AdamW(parameter_groups(network, slower), fused=device in ("cpu", "cuda"))
    schedule = get_linear_schedule_with_warmup(optimizer, int(spec.warmup * steps), steps)
    losses: list[float] = []
    history: list[dict[str, float]] = []
    network.train()
    for step in range(1, steps + 1):
        watch.check()
        losses.append(contrasts.backward(next(batches)))
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


class Contrasts:
    """Gradients of the contrastive loss of a batch, with up to ``most`` windows in memory at once.

    A batch that has more windows, or that does not fit, is read twice: once for its vectors and the gradient of the
    loss by each of them, and once more part by part to bring these to the weights. The gradients are the same (Gao
    et al., 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup").
    """

    def __init__(
        self, network: Any, texts: WindowedTexts, examples: Examples, device: str, most: int = WINDOWS
    ) -> None:
        self.most = most
        self._network, self._texts, self._targets, self._device = network, texts, examples.targets, device
        self._weights = np.ones(len(examples), np.float32) if examples.weights is None else examples.weights
        self._counts = texts.counts()
        self._lengths = texts.lengths()

    def backward(self, batch: Rows) -> float:
        """Add the gradients of ``batch``, and return its loss. Raises LearningError if not even one text fits."""
        while True:
            try:
                return self._backward(batch)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self.most == 1:
                    raise LearningError(
                        "a single text does not fit in memory to train on; set a smaller max_length or fewer windows, "
                        "or train a smaller encoder"
                    ) from error
            # Out here the error is gone, and with it the tensors that its traceback held.
            self.most = -(-self.most // 2)
            self._network.zero_grad()
            free_memory()

    def _backward(self, batch: Rows) -> float:
        import torch

        batch = batch[np.argsort(self._lengths[batch], kind="stable")]
        counts = self._counts[batch]
        parts = [batch[part] for part in portions(counts.tolist(), min(PART, self.most))]
        if counts.sum() <= self.most:
            loss = self._loss(torch.cat([self._vectors(part) for part in parts]), batch)
            loss.backward()
            return float(loss.detach())
        chances = []
        with torch.no_grad():
            found = []
            for part in parts:
                chances.append(_chance(self._device))
                found.append(self._vectors(part))
        vectors = torch.cat(found).requires_grad_()
        loss = self._loss(vectors, batch)
        loss.backward()
        pulls = vectors.grad.split([len(part) for part in parts])
        # After the last part the random numbers stand where the first reading has left them.
        for part, chance, pull in zip(parts, chances, pulls, strict=True):
            _set_chance(self._device, chance)
            self._vectors(part).backward(pull)
        return float(loss.detach())

    def _loss(self, vectors: Any, batch: Rows) -> Any:
        import torch

        alike, weights = alikeness(self._targets[batch]), self._weights[batch]
        return contrastive_loss(vectors, *(torch.from_numpy(one).to(self._device) for one in (alike, weights)))

    def _vectors(self, texts: Rows) -> Any:
        """Unit vectors float [b, d] of some texts; half precision on a CUDA device."""
        import torch

        inputs = {name: part.to(self._device) for name, part in self._texts.batch(texts.tolist()).items()}
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=self._device == "cuda"):
            vectors = self._network.vectors(inputs["input_ids"], inputs["attention_mask"])
        if len(vectors) == len(texts):
            return vectors
        return pool_windows(vectors, inputs["owner"], inputs["shares"], len(texts))


def _chance(device: str) -> Any:
    """The state of the random numbers that dropout on ``device`` draws from."""
    import torch

    return getattr(torch, device).get_rng_state() if device in ("cuda", "mps") else torch.get_rng_state()


def _set_chance(device: str, state: Any) -> None:
    import torch

    (getattr(torch, device) if device in ("cuda", "mps") else torch).set_rng_state(state)


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
