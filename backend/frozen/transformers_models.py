"""A classifier of texts or of tokens as transformers keeps it, whoever made it. Nothing in its folder is executed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import SIGMOID, SOFTMAX, Activation
from nextlabel.backend.encoders.base import need
from nextlabel.backend.encoders.inspection import positions_of
from nextlabel.backend.encoders.model_folder import weights_of
from nextlabel.backend.encoders.tokenizer import batches_by_length, clean_text
from nextlabel.backend.encoders.torch import inference
from nextlabel.backend.models.spans.model import SpanModel, best_device
from nextlabel.backend.numeric import as_objects
from nextlabel.backend.questions import question_of
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling, LabelKind

from .base import FrozenModel

BATCH = 16
DEFAULT_LENGTH = 512
"""Tokens of a text, for a tokenizer that names no limit, and a model without one."""


def open_classifier(folder: Path, name: str) -> FrozenModel:
    """The model in ``folder``, called ``name``. Raises LearningError for what is no classifier, MissingExtra."""
    need("torch", "transformers")
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever the library can't make sense of
        raise LearningError(f"{name} can't be read as a model of transformers: {error}") from error
    made = [str(one) for one in config.architectures or ()]
    if any(one.endswith("ForTokenClassification") for one in made):
        model = SpanModel.load(folder)
        question = question_of(Labeling(LabelKind.SPAN, model.labels))
        return FrozenModel(name, question, _Spans(model), made_of=f"{name}, which marks spans")
    if any(one.endswith("ForSequenceClassification") for one in made):
        return _of_texts(folder, name, config)
    raise LearningError(
        f"{name} is {' or '.join(made) or 'of no class that its config.json names'}, and neither a classifier of texts "
        "nor of tokens; an encoder is no model yet: name it as `encoder:` in a recipe, and label some records"
    )


def _of_texts(folder: Path, name: str, config: Any) -> FrozenModel:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    labels = tuple(str(config.id2label[number]) for number in range(config.num_labels))
    if config.problem_type == "regression" or len(labels) < 2:
        raise LearningError(f"{name} says one number for a text, and no labels: there is nothing to suggest")
    if len(set(labels)) < len(labels) or not all(label.strip() for label in labels):
        raise LearningError(f"{name}: names of its labels are empty or repeat: {', '.join(labels)}")
    weights_of(folder)
    try:
        network = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise LearningError(f"{name} can't be loaded: {error}") from error
    activation = SIGMOID if config.problem_type == SIGMOID.problem_type else SOFTMAX
    length = min(tokenizer.model_max_length, positions_of(network) or DEFAULT_LENGTH)
    reader = _Texts(network.float().eval().to(best_device()), tokenizer, length, activation)
    question = question_of(Labeling(activation.kind, labels))
    return FrozenModel(name, question, reader, made_of=f"{name}, {type(network).__name__}")


@dataclass(frozen=True, slots=True)
class _Texts:
    """Texts to probabilities float32 [n, c]. A text is cut at ``length`` tokens."""

    network: Any
    tokenizer: Any
    length: int
    activation: Activation

    def __call__(self, contents: Sequence[Readable]) -> npt.NDArray[np.float32]:
        texts = [clean_text(text_of(one)) for one in contents]
        encoded = self.tokenizer(texts, truncation=True, max_length=self.length)
        rows = encoded["input_ids"]
        found: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(rows)
        device = next(self.network.parameters()).device
        for batch in batches_by_length(rows, BATCH):
            some = {name: [values[index] for index in batch] for name, values in encoded.items()}
            inputs = self.tokenizer.pad(some, return_tensors="pt")
            with inference(device.type):
                logits = self.network(**inputs.to(device)).logits.float()
                probabilities = self.activation.of_tensor(logits).cpu().numpy()
            for index, row in zip(batch, probabilities, strict=True):
                found[index] = row
        return np.stack(found)


@dataclass(frozen=True, slots=True)
class _Spans:
    """Texts to a SpanPrediction each."""

    model: SpanModel

    def __call__(self, contents: Sequence[Readable]) -> npt.NDArray[Any]:
        return as_objects(self.model.predict(contents))
