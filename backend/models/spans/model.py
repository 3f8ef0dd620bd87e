"""Fine-tuned span models, and how networks of transformers read texts whose parts are marked.

A model is a plain folder of transformers for token classification, with BIO or BILOU tags. Texts are cut into windows
of token ids, the windows are run in batches of like length, and results are put together text by text.

Offsets come from the Rust tokenizer, which keeps them through every normalisation, in characters of the text given.
They are made into units: stretches of characters that come one after the other, share nothing, begin and end with no
white space, and leave out no other character (unless white space stands on both sides of it). So

- several tokens for one character (an emoji in a byte-level vocabulary) are one unit, tagged at its first token;
- a character that the tokenizer drops (an accent, a joiner, a control character) belongs to the unit before it;
- white space that a byte-level or SentencePiece token begins with belongs to no unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.model_folder import ModelFolder, read_folder
from nextlabel.backend.encoders.tokenizer import batches_by_length, open_tokenizer, pad
from nextlabel.backend.encoders.torch import BATCH_CPU, BATCH_CUDA, inference
from nextlabel.connectors.content import Readable, content_of, text_of
from nextlabel.connectors.errors import ConfigError, LearningError

from .decoding import SpanPrediction, decode
from .kinds import breaks, parted, spaced
from .tagging import IntArray, TagSet

LEAST_LENGTH = 16  # tokens of a window: room for the special ones, a context, and an overlap
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Window:
    """One input of the model. ``ids`` and ``types`` [t]; unit ``units[i]`` of the text stands at ``positions[i]``."""

    ids: list[int]
    types: list[int]
    positions: IntArray
    units: IntArray


@dataclass(frozen=True, slots=True)
class TokenisedText:
    """``bounds`` int64 [u, 2]: the characters of every unit. ``windows``: none for a text without any unit."""

    bounds: IntArray
    windows: list[Window]

    def nearest_middle(self) -> list[IntArray]:
        """For every window, which of its units to take from it: each from where it has most around it."""
        if len(self.windows) == 1:
            return [np.arange(len(self.windows[0].units))]
        room = np.full((len(self.windows), len(self.bounds)), -1, np.int64)
        for row, window in enumerate(self.windows):
            count = len(window.units)
            room[row, window.units] = np.minimum(np.arange(count), np.arange(count)[::-1])
        best = room.argmax(axis=0)
        return [np.flatnonzero(best[window.units] == row) for row, window in enumerate(self.windows)]


class SpanTokeniser:
    """Cuts texts into windows of at most ``max_length`` tokens that overlap by a quarter. Any text is fine.

    A context stands behind the text as a second sequence, in every window, cut to a quarter of the length. What would
    be one unknown token though several kinds of characters are in it (a name with an emoji, a sentence of Thai) is read
    as if blanks stood between them. ``fine``: units are parted there too, whatever the tokens.
    """

    def __init__(self, folder: ModelFolder, *, fine: bool = False) -> None:
        if folder.max_length < LEAST_LENGTH:
            raise ConfigError(f"max_length is {folder.max_length}; spans need at least {LEAST_LENGTH} tokens")
        self._stride, self._fine = folder.max_length // 4, fine
        self._tokenizer = open_tokenizer(folder)
        self._unknown = _unknown_word(self._tokenizer)
        self._tokenizer.enable_truncation(folder.max_length, stride=self._stride, strategy="only_first")
        self._short = open_tokenizer(folder)
        self._short.enable_truncation(self._stride)

    def __call__(self, texts: Sequence[Readable]) -> list[TokenisedText]:
        """Units and windows of every text."""
        clean = [_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text_of(text)) for text in texts]
        contexts = [content_of(text).context for text in texts]
        beside = {context: self._cut(context) for context in set(contexts) if context.strip()}
        pairs = [
            (text, beside[context]) if context in beside else text
            for text, context in zip(clean, contexts, strict=True)
        ]
        encodings = self._tokenizer.encode_batch(pairs)
        found = []
        for text, context, encoding in zip(clean, contexts, encodings, strict=True):
            back: list[int] | None = None
            if places := self._hidden(text, encoding):
                wider, back = spaced(text, places)
                encoding = self._tokenizer.encode(wider, beside.get(context))
            found.append(self._text(text, encoding, back))
        return found

    def _hidden(self, text: str, encoding: Any) -> list[int]:
        """Where in the unknown tokens of a text another kind of character begins."""
        if self._unknown is None:
            return []
        return sorted(
            {
                place
                for part in (encoding, *encoding.overflowing)
                for at, sequence in enumerate(part.sequence_ids)
                if sequence == 0 and part.ids[at] == self._unknown
                for place in breaks(text, *part.offsets[at])
            }
        )

    def _cut(self, context: str) -> str:
        context = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", context)
        encoding = self._short.encode(context, add_special_tokens=False)
        return context[: max((end for _, end in encoding.offsets), default=0)]

    def _text(self, text: str, encoding: Any, back: list[int] | None) -> TokenisedText:
        windows, start = [], 0
        offsets: list[tuple[int, int]] = []
        for part in (encoding, *encoding.overflowing):
            places = [at for at, sequence in enumerate(part.sequence_ids) if sequence == 0]
            windows.append((start, places, part))
            offsets.extend(part.offsets[at] for at in places[len(offsets) - start :])
            start += len(places) - self._stride
        if back is not None:
            offsets = [(back[low], back[high]) for low, high in offsets]
        bounds, unit_of = units(text, offsets)
        if not len(bounds):
            return TokenisedText(bounds, [])
        read_at = np.flatnonzero(unit_of >= 0)
        if self._fine:
            bounds, read_at = parted(text, bounds, read_at)
        made = []
        for start, places, part in windows:
            own = np.flatnonzero((read_at >= start) & (read_at < start + len(places)))
            made.append(Window(part.ids, part.type_ids, np.asarray(places, np.int64)[read_at[own] - start], own))
        return TokenisedText(bounds, [window for window in made if len(window.units)])


def _unknown_word(tokenizer: Any) -> int | None:
    """The token that stands for any word that is not known as a whole; None where pieces of words are unknown alone."""
    from tokenizers.models import WordPiece

    model = tokenizer.model
    return tokenizer.token_to_id(model.unk_token) if isinstance(model, WordPiece) else None


def units(text: str, offsets: Sequence[tuple[int, int]]) -> tuple[IntArray, IntArray]:
    """Bounds int64 [u, 2] of the units that tokens with ``offsets`` [t] stand for.

    Beside them int64 [t]: the unit whose first token this is, or -1.
    """
    bounds: list[list[int]] = []
    unit_of = np.full(len(offsets), -1, np.int64)
    for token, (start, end) in enumerate(offsets):
        start, end = _trimmed(text, start, end)
        if start >= end:
            continue
        before = bounds[-1][1] if bounds else 0
        if bounds and start < before:  # shares a character with the token before it
            bounds[-1][1] = max(before, end)
            continue
        dropped = text[before:start]
        if bounds:
            taken = _to_space(dropped)
            bounds[-1][1] += taken
            dropped = dropped[taken:]
        unit_of[token] = len(bounds)
        bounds.append([start - _to_space(dropped[::-1]), end])
    if bounds:
        bounds[-1][1] += _to_space(text[bounds[-1][1] :])
    return np.asarray(bounds, np.int64).reshape(-1, 2), unit_of


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _to_space(text: str) -> int:
    """How many characters come before the first white space."""
    return next((at for at, character in enumerate(text) if character.isspace()), len(text))


def run_windows(
    network: Any, read: Callable[[Any], Any], texts: Sequence[TokenisedText], width: int, *, types: bool
) -> list[npt.NDArray[np.float32]]:
    """What ``network`` says of every unit of every text: float32 [u, width] a text.

    ``read`` picks a tensor [b, t, width] out of what the network returns. Where windows overlap, a unit's row comes
    from the window in which it has most around it. ``types``: give the network token types.
    """
    jobs = [
        (row, window, take)
        for row, text in enumerate(texts)
        for window, take in zip(text.windows, text.nearest_middle() if text.windows else (), strict=True)
    ]
    out: list[npt.NDArray[np.float32]] = [np.zeros((len(text.bounds), width), np.float32) for text in texts]
    device = next(network.parameters()).device
    size = BATCH_CUDA if device.type == "cuda" else BATCH_CPU
    network.eval()
    with inference(device.type):
        for batch in batches_by_length([window.ids for _, window, _ in jobs], size):
            inputs = model_inputs([jobs[index][1] for index in batch], types=types)
            values = read(network(**{name: tensor.to(device) for name, tensor in inputs.items()})).float().cpu().numpy()
            for index, rows in zip(batch, values, strict=True):
                row, window, take = jobs[index]
                out[row][window.units[take]] = rows[window.positions[take]]
    return out


def model_inputs(windows: Sequence[Window], *, types: bool) -> dict[str, Any]:
    """``input_ids``, ``attention_mask`` and, if asked, ``token_type_ids``: int64 tensors [b, longest]."""
    import torch

    ids, mask = pad([window.ids for window in windows])
    inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    if types:
        inputs["token_type_ids"] = torch.from_numpy(pad([window.types for window in windows])[0])
    return inputs


def takes_types(config: Any) -> bool:
    """Whether a model of this configuration tells two sequences apart by token types."""
    return int(getattr(config, "type_vocab_size", 0) or 0) > 1


def best_device() -> str:
    """``cuda``, ``mps`` or ``cpu``: the first that is there."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


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
        return cls(network.float().to(best_device()), SpanTokeniser(source))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels it tells apart."""
        return self.tags.labels

    def predict(self, texts: Sequence[Readable]) -> list[SpanPrediction]:
        """Spans and uncertainty of every text, in character offsets of the text as it was given."""
        tokenised = self._tokenise(texts)
        return decode(self.logits(tokenised), [text.bounds for text in tokenised], self.tags)

    def logits(self, texts: Sequence[TokenisedText]) -> list[npt.NDArray[np.float32]]:
        """Float32 [u, tags] for every text of u units."""
        return network_logits(self._network, texts, len(self.tags))


def network_logits(network: Any, texts: Sequence[TokenisedText], tags: int) -> list[npt.NDArray[np.float32]]:
    """What a network for token classification says: float32 [u, tags] for every text of u units."""
    return run_windows(network, lambda output: output.logits, texts, tags, types=takes_types(network.config))
