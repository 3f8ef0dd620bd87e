"""Frozen token vectors, encoded once a text: what the span probe learns from.

They are taken from the middle layer of the encoder. The last layers of sentence encoders serve the one vector of the
text: on restaurant8k a probe found spans with F1 0.80 from layer 3 of MiniLM's 6 and 0.70 from its last, and the
layers above need not be computed. Of an encoder that was trained on tokens the last layer may be the better one: which,
its training finds out on held-out texts, and LAYER_FILE says.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.files import write_atomically
from nextlabel.backend.numeric import unit_rows
from nextlabel.connectors.errors import LearningError, MissingExtra

from .model import best_device, run_windows, takes_types
from .tagging import IntArray
from .tokens import SpanTokeniser

Layer: TypeAlias = Literal["middle", "last"]
LAYER_FILE = "tokens.json"
MEMORY = 1_000_000_000  # bytes of vectors kept: about 90,000 texts of 15 units with MiniLM


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """One text: ``bounds`` int64 [u, 2] of its units in characters, ``vectors`` float16 [u, d] of length 1."""

    bounds: IntArray
    vectors: npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class TokenStack:
    """Many texts, their units one after the other: those of text i are the rows ``starts[i]`` to ``starts[i + 1]``.

    ``bounds`` int64 [u, 2] and ``vectors`` float16 [u, d] as in TokenVectors, ``starts`` int64 [texts + 1].
    """

    bounds: IntArray
    vectors: npt.NDArray[np.float16]
    starts: IntArray

    @classmethod
    def of(cls, texts: Sequence[TokenVectors], dimension: int) -> TokenStack:
        """The units of ``texts``, with vectors of ``dimension``."""
        counts = [len(one.bounds) for one in texts]
        return cls(
            np.concatenate([np.empty((0, 2), np.int64), *(one.bounds for one in texts)]),
            np.concatenate([np.empty((0, dimension), np.float16), *(one.vectors for one in texts)]),
            np.cumsum([0, *counts], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def texts(self) -> list[TokenVectors]:
        """Each text for itself; views, no copies."""
        edges = zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        return [TokenVectors(self.bounds[start:end], self.vectors[start:end]) for start, end in edges]

    def means(self) -> npt.NDArray[np.float32]:
        """A vector for each text as a whole, float32 [texts, d] of length 1; one and the same for those of no unit."""
        sums = np.zeros((len(self), self.vectors.shape[1]), np.float32)
        held = np.diff(self.starts) > 0
        if held.any():
            sums[held] = np.add.reduceat(self.vectors, self.starts[:-1][held], axis=0, dtype=np.float32)
        means = unit_rows(sums)
        means[~means.any(axis=1)] = sums.shape[1] ** -0.5
        return means


class TokenEncoder:
    """Turns texts into token vectors, and remembers them up to ``memory`` bytes. Safe to share between threads."""

    def __init__(self, folder: ModelFolder, cache: Path, *, memory: int = MEMORY) -> None:
        whole = layer_of(folder.path) == "last"
        self._network = _load(folder, whole).to(best_device())
        self._tokenise = SpanTokeniser(folder, cache)
        self._types = takes_types(self._network.config)
        self._kept: OrderedDict[tuple[str, str], TokenVectors] = OrderedDict()
        self._memory, self._used, self._lock = memory, 0, threading.Lock()
        self.dimension = folder.width
        self.fingerprint = f"{folder.digest(cache)}-{folder.max_length}-{'last' if whole else ''}tokens"

    def encode(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> list[TokenVectors]:
        """Units and vectors of every text. Any text is fine; one without a token has none."""
        if contexts is not None and len(contexts) != len(texts):
            raise LearningError(f"{len(texts)} texts don't go with {len(contexts)} contexts")
        keys = list(zip(texts, contexts or [""] * len(texts), strict=True))
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
        missing = list(dict.fromkeys(key for key in keys if key not in found))
        made = self._encode(missing) if missing else []
        with self._lock:
            for key, one in zip(missing, made, strict=True):
                if key not in self._kept:
                    self._kept[key] = one
                    self._used += _size(key, one)
            for key in found:
                if key in self._kept:
                    self._kept.move_to_end(key)
            while self._used > self._memory and self._kept:
                self._used -= _size(*self._kept.popitem(last=False))
        found.update(zip(missing, made, strict=True))
        return [found[key] for key in keys]

    def _encode(self, keys: list[tuple[str, str]]) -> list[TokenVectors]:
        tokenised = self._tokenise([text for text, _ in keys], [context for _, context in keys])
        rows = run_windows(
            self._network, lambda output: output.last_hidden_state, tokenised, self.dimension, types=self._types
        )
        for one in rows:
            one[~np.isfinite(one).all(axis=1)] = 0  # a unit that the network has nothing to say of
        return [
            TokenVectors(text.bounds, unit_rows(one).astype(np.float16))
            for text, one in zip(tokenised, rows, strict=True)
        ]


def layer_of(folder: Path) -> Layer:
    """The layer that token vectors of the model in ``folder`` are taken from."""
    try:
        told = json.loads((folder / LAYER_FILE).read_bytes())["layer"]
    except (OSError, ValueError, TypeError, KeyError):
        return "middle"
    return "last" if told == "last" else "middle"


def set_layer(folder: Path, layer: Layer) -> None:
    """Have token vectors of the model in ``folder`` taken from ``layer`` from now on."""
    write_atomically(folder / LAYER_FILE, json.dumps({"layer": layer}).encode())


def _load(folder: ModelFolder, whole: bool) -> Any:
    """The network, up to its middle layer unless ``whole``."""
    try:
        from transformers import AutoConfig, AutoModel
        from transformers import logging as chatter
    except ImportError:
        raise MissingExtra("transformers", "train") from None
    folder.weight_files()  # a better message than the library's when there are none
    chatter.disable_progress_bar()
    level = chatter.get_verbosity()
    chatter.set_verbosity_error()  # or it lists the upper half's weights as not used
    try:
        config = AutoConfig.from_pretrained(folder.path, local_files_only=True)
        if not whole:
            config.num_hidden_layers = max(1, config.num_hidden_layers // 2)
        network = AutoModel.from_pretrained(folder.path, config=config, use_safetensors=True, local_files_only=True)
    except Exception as error:  # a configuration or a file that the library can't make sense of
        raise LearningError(f"{folder.path} can't be loaded as a text encoder: {error}") from error
    finally:
        chatter.set_verbosity(level)
    return network.float().eval()


def _size(key: tuple[str, str], one: TokenVectors) -> int:
    return one.vectors.nbytes + one.bounds.nbytes + sum(map(len, key)) + 200
