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
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.activation import SOFTMAX, Targets, activation_of
from nextlabel.backend.data.examples import Examples, rarest_label
from nextlabel.backend.encoders.base import FloatMatrix
from nextlabel.backend.encoders.tokenizer import pool_windows
from nextlabel.backend.models.calibration import fit_temperature
from nextlabel.backend.models.crossfit import COLD_TEMPERATURE
from nextlabel.backend.models.probe import Probe

from .classifier import AnsweredTexts, ClassifierTask, text_vectors
from .loop import Outcome, half_precision, parameter_groups, random_state, run, set_random_state
from .texts import Rows
from .trainer import Given, TextTrainer

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
    if activation_of(targets) is SOFTMAX:
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
    keys = rarest_label(targets)
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


class ContrastiveTask(ClassifierTask):
    """A network of ``text_classifier``, of which body and pooling are tuned. ``aside``: texts that no epoch looks at.

    A batch that has more windows than fit is read twice: once for its vectors and the gradient of the loss by each of
    them, and once more part by part to bring these to the weights. The gradients are the same (Gao et al., 2021,
    "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup").
    """

    probe: Probe

    def __init__(self, network: Any, train: AnsweredTexts, aside: AnsweredTexts | None, *how: Any) -> None:
        super().__init__(network, train, None, *how)
        self.aside, self.most = aside, WINDOWS
        self.epoch_steps = max(1, round(len(train.targets) / BATCH))

    @property
    @override
    def steps(self) -> int:
        return tuning_steps(len(self.train.targets))

    @property
    @override
    def thaw_step(self) -> int:
        return 0  # nothing stands on the encoder here

    @override
    def batches(self) -> Iterator[Rows]:
        return contrastive_batches(self.train.targets, BATCH, np.random.default_rng(self.spec.seed))

    @override
    def collate(self, rows: Rows) -> dict[str, Any]:
        return super().collate(rows[np.argsort(self.lengths[rows], kind="stable")])

    @override
    def one(self, batch: dict[str, Any]) -> str:
        return "text"

    @override
    def parameter_groups(self) -> list[dict[str, Any]]:
        slower = self.spec.model_copy(update={"learning_rate": RATE * self.spec.learning_rate})
        return parameter_groups(self.network, self.network.body, slower)

    @override
    def head(self, temperature: float) -> Probe:
        return self.probe

    @override
    def gradients(self, batch: dict[str, Any], most: int, scale: Callable[[Any], Any]) -> Any:
        import torch

        parts = list(self.parts(batch, min(PART, most)))
        if len(batch["owner"]) <= most:
            loss = self._loss(torch.cat([self._vectors(part) for part in parts]), batch)
            scale(loss).backward()
            return loss.detach()
        states, found = [], []
        with torch.no_grad():
            for part in parts:
                states.append(random_state(self.device))
                found.append(self._vectors(part))
        vectors = torch.cat(found).requires_grad_()
        loss = self._loss(vectors, batch)
        scale(loss).backward()
        pulls = vectors.grad.split([len(part["targets"]) for part in parts])
        # After the last part the random numbers stand where the first reading has left them.
        for part, state, pull in zip(parts, states, pulls, strict=True):
            set_random_state(state)
            self._vectors(part).backward(pull)
        return loss.detach()

    def _loss(self, vectors: Any, batch: dict[str, Any]) -> Any:
        import torch

        alike = torch.from_numpy(alikeness(batch["targets"].numpy())).to(self.device)
        return contrastive_loss(vectors, alike, batch["weights"].to(self.device))

    def _vectors(self, part: dict[str, Any]) -> Any:
        """Unit vectors float [b, d] of some texts."""
        count, inputs = len(part["targets"]), self.moved(part)
        with half_precision(self.device):
            vectors = self.network.vectors(inputs["input_ids"], inputs["attention_mask"])
        return vectors if len(vectors) == count else pool_windows(vectors, inputs["owner"], inputs["shares"], count)


class FewShotTuner(TextTrainer[ContrastiveTask]):
    """Contrastive tuning, then a probe on the tuned vectors.

    It takes a rate, a warm-up, a decay, a pooling or head, and a seed from the spec; how long it takes follows from the
    number of labels. Held-out texts set the temperature, and nothing else: whoever judges the model may do so on them.
    """

    kind, task = "few-shot", ContrastiveTask

    @override
    def fit(self, task: ContrastiveTask, given: Given[Examples]) -> tuple[Outcome, dict[str, float] | None]:
        outcome = run(task, given.checkpoints())
        parts = [task.train] if task.aside is None else [task.train, task.aside]
        vectors = [text_vectors(task.network, one.texts, given.device, given.watch, told=True) for one in parts]
        task.probe = fit_head(vectors[0], given.examples, vectors[-1], given.held_out)
        return outcome, {"epoch": outcome.epochs, "temperature": task.probe.temperature}


def tuning_steps(texts: int) -> int:
    """Steps for so many labelled texts: ten passes, but not too few to move, nor more than anyone waits for."""
    return min(max(PASSES * texts // BATCH, FEWEST_STEPS), MOST_STEPS)


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
