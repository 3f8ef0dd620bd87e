"""Few-shot: the encoder tuned so that texts of one label lie together, then a linear layer on its vectors.

The two steps of SetFit (Tunstall et al., 2022, "Efficient Few-Shot Learning Without Prompts"): from n texts one can
make n * n pairs, which is much to learn from where labels are few. The pairs are those of whole batches (supervised
contrastive loss): a batch of 32 texts gives 496 of them for the price of 32.

The idea is setfit's and the code is not: that library goes through the pairs one by one (585,200 per epoch for 77
labels of ten texts), takes texts that share any label for the same, and keeps its head as a pickle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Targets
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import FloatMatrix
from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.encoders.tokenizer import pool_windows
from nextlabel.backend.encoders.torch import flatten_last_norm
from nextlabel.backend.models.calibration import fit_temperature
from nextlabel.backend.models.crossfit import COLD_TEMPERATURE
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import check_free, save_encoder, save_head, whole_folder
from nextlabel.connectors.errors import LearningError, MissingExtra

from .classifier import Vocabulary, parameter_groups, text_classifier
from .finetune import TrainingResult, check_examples, how_it_reads
from .loop import Watch, choose_device, free_memory, out_of_memory
from .progress import ProgressReport, TrainingProgress, never, no_report
from .sampling import Rows, strata
from .spec import TrainingSpec
from .texts import WindowedTexts, portions, text_vectors, tokenised

TEMPERATURE = 0.07  # as in Khosla et al. (2020)
BATCH = 32  # texts per step; the more, the more each is contrasted with
WINDOWS = 32  # of them that may have gradients at once
PART = 8  # windows that go through the network at once, of texts of like length: little padding
PASSES = 10  # over the labels
RATE = 0.5  # of the learning rate of fine-tuning: on texts held out from banking77 and politeness better than 1 and 0.3
FEWEST_STEPS, MOST_STEPS = 50, 500  # whatever the number of labels


def contrastive_loss(vectors: Any, alike: Any, weights: Any) -> Any:
    """Supervised contrastive loss, a scalar: every text is to be nearer to its own kind than to all the others.

    Khosla et al., 2020, "Supervised Contrastive Learning", the form with the sum outside of the logarithm. vectors
    float [b, d] of length 1; alike float [b, b] >= 0, how much two texts are of one kind; weights [b], how much
    each counts. A text without its like in the batch only serves the others.
    """
    import torch

    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    likeness = (vectors.float() @ vectors.float().T / TEMPERATURE).masked_fill(itself, -1e9)
    pull = alike.masked_fill(itself, 0.0)
    total = pull.sum(dim=1)
    each = -(likeness.log_softmax(dim=1) * pull).sum(dim=1) / total.clamp(min=1e-9)
    counts = weights * (total > 0)
    return (each * counts).sum() / counts.sum().clamp(min=1e-9)


def alikeness(targets: Targets) -> npt.NDArray[np.float32]:
    """How much any two rows are of one kind, float32 [b, b] in [0, 1].

    Single label: 1 for the same label, 0 otherwise. Multi-label: the share of labels they have in common among
    those that either has (Jaccard, 1901); 1 for two rows without any.
    """
    if targets.ndim == 1:
        return np.asarray(targets[:, None] == targets[None, :], np.float32)
    given = targets.astype(np.float32)
    common = given @ given.T
    either = given.sum(axis=1)[:, None] + given.sum(axis=1)[None, :] - common
    return np.asarray(np.where(either > 0, common / np.maximum(either, 1), 1.0), np.float32)


def contrastive_batches(targets: Targets, size: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Batches of up to ``size`` row numbers without end, every stratum equally often and never alone.

    Many labels: two texts of each of ``size`` / 2 labels, for the more labels a batch has, the more it contrasts.
    Few labels: all of them, with as many texts as fit. A label that has a single text gives that one.
    """
    keys = strata(targets)
    groups = [np.flatnonzero(keys == value) for value in np.unique(keys)]
    at_once = max(1, min(len(groups), size // 2))
    each = max(1, size // at_once)
    decks = [_Deck(group, rng) for group in groups]
    order = _Deck(np.arange(len(groups)), rng)
    while True:
        chosen = order.draw(at_once)
        yield np.concatenate([decks[at].draw(min(each, len(groups[at]))) for at in chosen])


class _Deck:
    """Row numbers dealt out in random order, shuffled anew when they run out."""

    def __init__(self, rows: Rows, rng: np.random.Generator) -> None:
        self._rows, self._rng, self._left = rows, rng, rng.permutation(rows)

    def draw(self, count: int) -> Rows:
        """``count`` different rows, no more than there are."""
        if count > len(self._left):
            fresh = self._rng.permutation(self._rows)
            again = np.isin(fresh, self._left)  # to the end, so that none is drawn twice at once
            self._left = np.concatenate([self._left, fresh[~again], fresh[again]])
        taken, self._left = self._left[:count], self._left[count:]
        return taken


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
        report: ProgressReport = no_report,
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
    return replace(head, temperature=temperature, cross=None)
