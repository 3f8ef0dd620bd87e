"""What fine-tuning of a span model trains and measures; ``training.loop`` does the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nextlabel.backend.learning.spans.decoding import decode
from nextlabel.backend.learning.spans.metrics import span_f1
from nextlabel.backend.learning.spans.model import network_logits
from nextlabel.backend.learning.spans.network import model_inputs, takes_types
from nextlabel.backend.learning.spans.tagging import IntArray, TagSet
from nextlabel.backend.learning.spans.tokens import TokenisedText, Window
from nextlabel.backend.learning.tokenising import pad
from nextlabel.backend.learning.training.sampling import EpochBatches
from nextlabel.backend.learning.training.spec import TrainingSpec
from nextlabel.backend.learning.training.temperature import fit_temperature, log_loss
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


class SpanTask:
    """A network for token classification on tagged texts; fulfils Task. A row is a window."""

    unit = "window"

    def __init__(
        self, network: Any, tags: TagSet, train: TaggedTexts, held_out: TaggedTexts | None, spec: TrainingSpec
    ) -> None:
        self.network, self.tags, self.held_out, self.spec = network, tags, held_out, spec
        self._windows, self._types = train.windows(), takes_types(network.config)

    def batches(self) -> EpochBatches:
        """See Task."""
        lengths = [len(window.ids) for window, _ in self._windows]
        same = np.zeros(len(lengths), np.int64)
        return EpochBatches(lengths, same, batch_size=self.spec.batch_size, seed=self.spec.seed)

    def collate(self, rows: list[int]) -> dict[str, Any]:
        """See Task."""
        import torch

        inputs = model_inputs([self._windows[row][0] for row in rows], types=self._types)
        targets, mask = pad([self._windows[row][1].tolist() for row in rows])
        return inputs | {"labels": torch.from_numpy(np.where(mask, targets, IGNORED))}

    def parts(self, inputs: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
        """See Task."""
        for start in range(0, len(inputs["labels"]), most):
            yield {name: tensor[start : start + most] for name, tensor in inputs.items()}

    def loss(self, model: Any, part: dict[str, Any], whole: dict[str, Any]) -> Any:
        """See Task."""
        from torch.nn.functional import cross_entropy

        inputs = {name: tensor for name, tensor in part.items() if name != "labels"}
        logits = model(**inputs).logits.float().flatten(0, 1)
        said = (whole["labels"] != IGNORED).sum().clamp(min=1)
        return cross_entropy(logits, part["labels"].flatten(), ignore_index=IGNORED, reduction="sum") / said

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Encoder and head at their own rates, no decay of biases and of norms."""
        spec = self.spec
        body = {id(parameter) for parameter in self.network.base_model.parameters()}
        groups: dict[tuple[float, float], list[Any]] = {}
        for parameter in self.network.parameters():
            rate = spec.learning_rate if id(parameter) in body else spec.head_learning_rate
            groups.setdefault((rate, spec.weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
        return [{"params": part, "lr": rate, "weight_decay": decay} for (rate, decay), part in groups.items()]

    def after_step(self) -> None:
        """See Task."""

    def measure(self) -> dict[str, float]:
        """Span F1 on held-out texts, and log loss a unit at the temperature that suits it best."""
        held = self.held_out
        if held is None:
            return {}
        logits = network_logits(self.network, held.texts, len(self.tags))
        found = decode(logits, [text.bounds for text in held.texts], self.tags)
        rows, targets = np.concatenate(logits), np.concatenate(list(held.tags))
        temperature = fit_temperature(rows, targets)
        return {
            "span_f1": span_f1([one.spans for one in found], held.spans),
            "log_loss": log_loss(rows, targets, None, temperature),
            "temperature": temperature,
        }

    def best_of(self, history: Sequence[dict[str, float]]) -> dict[str, float] | None:
        """The epoch with the highest held-out span F1, among equals the least log loss; None if none was measured."""
        measured = [entry for entry in history if "span_f1" in entry]
        return max(measured, key=lambda entry: (entry["span_f1"], -entry["log_loss"])) if measured else None
