"""A trained network as a folder that everything else reads as an encoder, with its head beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nextlabel.backend.activation import Activation
from nextlabel.backend.encoders.library import MODULES_FILE, OWN_FILE, POOLER_FILE, read_json
from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.encoders.network import LEARNED, POOLINGS
from nextlabel.connectors.errors import LearningError

from .probe import LABELS_FILE, Probe

HEAD_FILE, TRAINING_FILE = "head.safetensors", "training.json"
LENGTH_FILE, PROMPT_FILE = "sentence_bert_config.json", "config_sentence_transformers.json"
# What a tokenizer is made of, in any of the libraries; copied as it is, so that the same text stays the same tokens.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
    "*.jinja",
)


def check_free(folder: Path) -> None:
    """Raises LearningError if there is something where a trained model is to be."""
    if folder.exists():
        raise LearningError(f"{folder} exists already; remove it, or give the trained model another folder")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to write a model into; it takes its place as ``folder`` when the block ends well."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed while it wrote
    partial.mkdir(parents=True)
    yield partial
    partial.rename(folder)


def save_encoder(folder: Path, network: Any, base: ModelFolder) -> None:
    """Write encoder, pooling and tokenizer of a text classifier that started from ``base``. Raises LearningError."""
    folder.mkdir(parents=True, exist_ok=True)
    network.body.save_pretrained(folder)
    copy_tokenizer(base, folder)
    write_inputs(folder, base)
    if network.pooling not in POOLINGS:  # sentence-transformers' own modules, or a head of another package
        network.pooler.save(folder)
        return
    write_pooling(folder, network.pooling, network.dimension)
    if network.pooling in LEARNED:
        from safetensors.torch import save_file

        state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.pooler.state_dict().items()}
        save_file(state, folder / POOLER_FILE)


def write_inputs(folder: Path, base: ModelFolder, inner: Path = Path()) -> None:
    """Say what goes into a model as into ``base``: how long a text, in lower case or not, after which prompt.

    ``inner`` is the folder of the transformer within ``folder``.
    """
    file = base.body / LENGTH_FILE
    settings = read_json(file) if file.is_file() else {}
    _write_json(folder / inner / LENGTH_FILE, {**settings, "max_seq_length": base.max_length})
    if base.prompt:
        _write_json(folder / PROMPT_FILE, {"prompts": {"default": base.prompt}, "default_prompt_name": "default"})


def head_of(network: Any, *, activation: Activation, temperature: float, labels: int) -> Probe:
    """The linear layer as a probe on unit vectors: it says what the network says, divided by the temperature."""
    scale = np.float32(network.dimension**0.5)
    weights, bias = (part.detach().cpu().float().numpy() for part in (network.head.weight, network.head.bias))
    return Probe(np.ascontiguousarray(weights * scale), bias.copy(), activation, temperature, labels)


def save_head(folder: Path, head: Probe, labels: tuple[str, ...], training: dict[str, Any] | None = None) -> None:
    """Write the head, the names of its labels, and how it was trained, if it was."""
    replace(head, names=labels).save(folder / HEAD_FILE)
    _write_json(folder / LABELS_FILE, {"labels": list(labels), **head.activation.header})
    if training is not None:
        _write_json(folder / TRAINING_FILE, training)


def read_epochs(folder: Path) -> list[dict[str, float]]:
    """What was measured after each epoch of the model in ``folder``; nothing where that is not known."""
    try:
        history = json.loads((folder / TRAINING_FILE).read_text(encoding="utf-8"))["history"]
        return [{name: float(value) for name, value in entry.items()} for entry in history]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def write_pooling(folder: Path, pooling: str, dimension: int) -> None:
    """Say how token vectors become one: as sentence-transformers does, or in a file of our own for learned ones.

    ``pooling`` is one of POOLINGS, or lasttoken.
    """
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    if pooling in LEARNED:  # sentence-transformers is told of no pooling, rather than of another
        _write_json(folder / OWN_FILE, {"pooling": pooling})
        kinds = kinds[:1]
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds)
    ]
    _write_json(folder / MODULES_FILE, modules)
    if pooling in LEARNED:
        return
    flags = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "lasttoken": "lasttoken"}
    config = {f"pooling_mode_{flag}": name == pooling for name, flag in flags.items()}
    _write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dimension, **config})
    (folder / "2_Normalize").mkdir(exist_ok=True)


def copy_tokenizer(base: ModelFolder, folder: Path) -> None:
    """Copy the tokenizer of ``base``, whatever files it is made of."""
    for pattern in TOKENIZER_FILES:
        for file in base.body.glob(pattern):
            shutil.copyfile(file, folder / file.name)


def _write_json(file: Path, data: Any) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
