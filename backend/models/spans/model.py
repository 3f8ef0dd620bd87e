"""A fine-tuned span model: a plain folder of transformers for token classification, with BIO or BILOU tags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.base import default_cache_dir
from nextlabel.backend.encoders.model_folder import read_folder
from nextlabel.connectors.errors import LearningError

from .decoding import SpanPrediction, decode
from .network import best_device, run_windows, takes_types
from .tagging import TagSet
from .tokens import SpanTokeniser, TokenisedText


class SpanModel:
    """Finds spans with a fine-tuned network. Safe to share between threads."""

    def __init__(self, network: Any, tokeniser: SpanTokeniser) -> None:
        self._network = network
        self._tokenise = tokeniser
        self.tags = TagSet.from_config(network.config.id2label)

    @classmethod
    def load(cls, folder: str | Path, *, max_length: int | None = None) -> SpanModel:
        """Read a folder that ``SpanTrainer`` wrote, or any other model for token classification with such tags.

        ``max_length`` in tokens defaults to what the folder says; longer texts are read in windows. Raises
        LearningError if it can't be loaded or its labels are no BIO or BILOU tags.
        """
        from transformers import AutoModelForTokenClassification

        source = read_folder(Path(folder), max_length=max_length)
        source.weight_files()  # a better message than the library's when there are none
        try:
            network = AutoModelForTokenClassification.from_pretrained(
                source.path, use_safetensors=True, local_files_only=True
            )
        except Exception as error:  # a configuration or a file that the library can't make sense of
            raise LearningError(f"{folder} can't be loaded as a span model: {error}") from error
        return cls(network.float().to(best_device()), SpanTokeniser(source, default_cache_dir()))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels it tells apart."""
        return self.tags.labels

    def predict(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> list[SpanPrediction]:
        """Spans and uncertainty of every text, in character offsets of the text as it was given."""
        tokenised = self._tokenise(texts, contexts)
        return decode(self.logits(tokenised), [text.bounds for text in tokenised], self.tags)

    def logits(self, texts: Sequence[TokenisedText]) -> list[npt.NDArray[np.float32]]:
        """Float32 [u, tags] for every text of u units."""
        return network_logits(self._network, texts, len(self.tags))


def network_logits(network: Any, texts: Sequence[TokenisedText], tags: int) -> list[npt.NDArray[np.float32]]:
    """What a network for token classification says: float32 [u, tags] for every text of u units."""
    return run_windows(network, lambda output: output.logits, texts, tags, types=takes_types(network.config))
