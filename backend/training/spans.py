"""Fine-tuning for spans: from texts with spans and an encoder to a plain folder of transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from nextlabel.backend.data.span_examples import SpanExamples
from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.encoders.tokenizer import pad
from nextlabel.backend.metrics import log_loss
from nextlabel.backend.models.calibration import at_temperature, fit_temperature
from nextlabel.backend.models.probe import by_name
from nextlabel.backend.models.saving import TRAINING_FILE, copy_tokenizer
from nextlabel.backend.models.spans.decoding import decode
from nextlabel.backend.models.spans.metrics import span_f1
from nextlabel.backend.models.spans.model import (
    SpanTokeniser,
    TokenisedText,
    Window,
    model_inputs,
    network_logits,
    takes_types,
)
from nextlabel.backend.models.spans.tagging import IntArray, Scheme, TagSet
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span

from .classifier import Vocabulary
from .loop import TrainingTask, half_precision, parameter_groups
from .spec import CHECKPOINT_SECONDS, TrainingSpec, Watch
from .texts import EpochBatches
from .trainer import Given, Trainer, TrainingResult

IGNORED = -100  # what torch's cross-entropy leaves out: special tokens, and tokens that begin no unit
CHUNK = 512  # texts tokenised between two looks at stop
LAST_LAYERS = ("classifier", "score")
"""What transformers calls the linear layer of a token classifier."""


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


class SpanTask(TrainingTask):
    """A network for token classification on tagged texts. A row is a window."""

    held_out: TaggedTexts | None

    def __init__(
        self, network: Any, tags: TagSet, train: TaggedTexts, held_out: TaggedTexts | None, given: Given[SpanExamples]
    ) -> None:
        self.tags, self.held_out = tags, held_out
        self._windows, self._types = train.windows(), takes_types(network.config)
        lengths, spec = [len(window.ids) for window, _ in self._windows], given.spec
        same = np.zeros(len(lengths), np.int64)
        batches = EpochBatches(lengths, same, batch_size=spec.batch_size, seed=spec.seed)
        super().__init__(network, batches, spec, given.device, given.watch)

    @override
    def collate(self, rows: list[int]) -> dict[str, Any]:
        import torch

        inputs = model_inputs([self._windows[row][0] for row in rows], types=self._types)
        targets, mask = pad([self._windows[row][1].tolist() for row in rows])
        return inputs | {"labels": torch.from_numpy(np.where(mask, targets, IGNORED))}

    @override
    def one(self, batch: dict[str, Any]) -> str:
        return f"window of {batch['input_ids'].shape[1]} tokens"

    @override
    def loss(self, part: dict[str, Any], whole: dict[str, Any]) -> Any:
        from torch.nn.functional import cross_entropy

        inputs = {name: tensor for name, tensor in part.items() if name != "labels"}
        with half_precision(self.device):
            logits = self.network(**inputs).logits.float().flatten(0, 1)
        said = (whole["labels"] != IGNORED).sum().clamp(min=1)
        return cross_entropy(logits, part["labels"].flatten(), ignore_index=IGNORED, reduction="sum") / said

    @override
    def parameter_groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.network, self.body, self.spec)

    @property
    @override
    def body(self) -> Any:
        return self.network.base_model

    @property
    @override
    def thaw_step(self) -> int:
        return self.spec.thaw_after * self.epoch_steps

    @override
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
            "log_loss": log_loss(at_temperature(rows, temperature, targets), targets),
            "temperature": temperature,
        }

    @override
    def best_of(self, history: Sequence[dict[str, float]]) -> dict[str, float] | None:
        """The epoch with the highest held-out span F1, among equals the least log loss; None if none was measured."""
        measured = [entry for entry in history if "span_f1" in entry]
        return max(measured, key=lambda entry: (entry["span_f1"], -entry["log_loss"])) if measured else None


class SpanTrainer(Trainer[SpanExamples, SpanTask]):
    """Trains a whole encoder with a linear layer on every token.

    What it leaves is what ``pipeline("token-classification")`` and SpanModel load: tags in the configuration, a
    linear layer that is calibrated on held-out tokens. Of ``spec``, what is about pooling, losses, resampling and
    members does not concern it.
    """

    def __init__(
        self,
        device: str | None = None,
        *,
        scheme: Scheme = "bio",
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        super().__init__(device, checkpoint_seconds=checkpoint_seconds)
        self.kind, self._scheme = f"spans in {scheme}", scheme

    @override
    def check(self, examples: SpanExamples, held_out: SpanExamples | None) -> None:
        if not examples.count:
            raise LearningError(f"none of {len(examples)} texts has a span; mark some before training")
        if held_out is not None and held_out.labels != examples.labels:
            raise LearningError("the held-out texts have other labels than the texts to train on")

    @override
    def prepare(self, given: Given[SpanExamples]) -> tuple[SpanTask, Vocabulary]:
        tags = TagSet.of(given.examples.labels, self._scheme)
        network = token_classifier(given.encoder, given.spec, tags).to(given.device)
        tokenise = SpanTokeniser(given.encoder)
        train = tagged(tokenise, given.examples, tags, given.watch)
        if not any(text.windows for text in train.texts):
            raise LearningError("none of the texts holds a token; there is nothing to learn from")
        held = None if given.held_out is None else tagged(tokenise, given.held_out, tags, given.watch)
        rows = [window.ids for part in (train, held) if part for text in part.texts for window in text.windows]
        vocabulary = Vocabulary(network.base_model, rows)
        return SpanTask(network, tags, train, held, given), vocabulary

    @override
    def save(self, folder: Path, task: SpanTask, given: Given[SpanExamples], result: TrainingResult) -> None:
        cool(task.network, result.temperature)
        encoder, examples = given.encoder, given.examples
        facts = {
            "kind": "spans",
            "labels": list(examples.labels),
            "spans": examples.count,
            "temperature": result.temperature,
            **result.facts(encoder, given.spec, len(examples)),
        }
        task.network.save_pretrained(folder)
        copy_tokenizer(encoder, folder)
        length = {"max_seq_length": encoder.max_length, "do_lower_case": False}
        (folder / "sentence_bert_config.json").write_text(json.dumps(length), encoding="utf-8")
        text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
        (folder / TRAINING_FILE).write_text(text, encoding="utf-8")


def token_classifier(encoder: ModelFolder, spec: TrainingSpec, tags: TagSet) -> Any:
    """A network of transformers for token classification that starts from ``encoder``. Raises LearningError.

    Where that is one already, what its last layer knows of a tag goes by the tag's name.
    """
    from transformers import AutoConfig, AutoModelForTokenClassification
    from transformers import logging as chatter

    encoder.weight_files()  # a better message than the library's when there are none
    chatter.disable_progress_bar()
    chatter.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(encoder.path, local_files_only=True)
        known = _tags_of(config)
        if known is None:
            _name(config, tags)
        if hasattr(config, "classifier_dropout"):
            config.classifier_dropout = spec.dropout
        network = AutoModelForTokenClassification.from_pretrained(
            encoder.path, config=config, use_safetensors=True, local_files_only=True
        )
    except Exception as error:  # a configuration or a file that the library can't make sense of
        raise LearningError(f"{encoder.path} can't be trained on tokens: {error}") from error
    network = network.float()
    if known is not None and known != tags:
        _rearrange(network, known, tags)
    return network


def _tags_of(config: Any) -> TagSet | None:
    """The tags of a network that tags tokens already; None for any other."""
    try:
        return TagSet.from_config(config.id2label)
    except LearningError:
        return None


def _name(config: Any, tags: TagSet) -> None:
    config.id2label = dict(enumerate(tags.names))
    config.label2id = {name: index for index, name in enumerate(tags.names)}


def _rearrange(network: Any, known: TagSet, tags: TagSet) -> None:
    """A last layer for ``tags`` in place of that for ``known``: a new tag starts as the mean of all. In place."""
    import torch

    name, old = _last_layer(network)
    if old is None:
        raise LearningError(f"{type(network).__name__} has no last layer that is known; train from another encoder")
    layer = torch.nn.Linear(old.in_features, len(tags), bias=old.bias is not None)
    with torch.no_grad():
        for parameter, before in ((layer.weight, old.weight), (layer.bias, old.bias)):
            if before is not None:
                rows = before.detach().numpy().reshape(len(known), -1)
                new = by_name(rows, known.names, tags.names, rows.mean(axis=0))
                parameter.copy_(torch.from_numpy(new.reshape(parameter.shape)))
    setattr(network, name, layer)
    _name(network.config, tags)
    network.num_labels = len(tags)


def _last_layer(network: Any) -> tuple[str, Any]:
    import torch

    found = ((name, getattr(network, name, None)) for name in LAST_LAYERS)
    return next(((name, layer) for name, layer in found if isinstance(layer, torch.nn.Linear)), ("", None))


def tagged(tokenise: SpanTokeniser, examples: SpanExamples, tags: TagSet, watch: Watch) -> TaggedTexts:
    """Tokenised texts with a tag for each unit. Where spans overlap, the longer is learned; all are measured."""
    apart, _ = examples.without_overlaps()
    texts = []
    for start in range(0, len(apart), CHUNK):
        watch.check()
        texts += tokenise(apart.texts[start : start + CHUNK])
        watch.tell("tokenising", len(texts), len(apart))
    encoded = [tags.encode(text.bounds, spans)[0] for text, spans in zip(texts, apart.spans, strict=True)]
    return TaggedTexts(texts, encoded, examples.spans)


def cool(network: Any, temperature: float) -> None:
    """Divide the last layer by ``temperature``, so that whoever loads the model gets calibrated probabilities."""
    import torch

    _, layer = _last_layer(network)
    if layer is not None:
        with torch.no_grad():
            layer.weight /= temperature
            if layer.bias is not None:
                layer.bias /= temperature
