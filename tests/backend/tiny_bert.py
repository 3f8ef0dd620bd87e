"""A BERT of two layers with random weights, as transformers saves it: made, loaded and exported in a moment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = tuple(f"word{number}" for number in range(200))
"""Each is one token."""


def letters(characters: str, inner: str | None = None) -> tuple[str, ...]:
    """A vocabulary of ``characters``, each a token at the beginning of a word, and of ``inner`` within one."""
    return (*characters, *(f"##{letter}" for letter in (characters if inner is None else inner)))


def tiny_bert(
    folder: Path,
    *,
    words: Sequence[str] = WORDS,
    positions: int = 64,
    spread: float = 0.5,
    dropout: float = 0.1,
    **tokenizer_config: Any,
) -> Path:
    """Write the model into ``folder``, which is made, and return it.

    Where ``spread`` is large, different texts get different vectors; where it is small, the model trains well.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", **tokenizer_config}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=spread,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def export_here(folder: Path, cache: Path) -> None:
    """Make both ONNX files of a model in this process, where the libraries are loaded already."""
    from nextlabel.backend.encoders.model_folder import read_folder
    from nextlabel.backend.encoders.onnx import Precision, export, onnx_file

    model = read_folder(folder)
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    targets = {precision: onnx_file(model, precision, cache) for precision in precisions}
    export(model, targets)
    assert all(target.is_file() for target in targets.values())
