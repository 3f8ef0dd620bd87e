"""Models of any architecture that transformers knows: two layers of random weights, and a tokenizer of letters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.backend.tiny_bert import letters

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "pad_token_id": 0,
}  # fmt: skip


def letter_tokenizer(*, lowercase: bool = True) -> Any:
    """A WordPiece tokenizer as transformers wraps it: a token a letter."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = (*SPECIAL, *letters(LETTERS))
    tokenizer = Tokenizer(models.WordPiece({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", **names)


def tiny_model(kind: str, folder: Path, *, tokenizer: Any = None, lively: float = 4.0, **config: Any) -> Path:
    """Write a model of transformers' ``kind`` (``mpnet``, ``t5`` ...) into ``folder`` and return it.

    ``config`` is put over SIZES, where None takes one away. ``lively`` multiplies the weights, so that different texts
    get different vectors.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    tokenizer = letter_tokenizer() if tokenizer is None else tokenizer
    torch.manual_seed(0)
    given = {"vocab_size": len(tokenizer) + 2, **SIZES, **config}
    settings = {name: value for name, value in given.items() if value is not None}
    model = AutoModel.from_config(AutoConfig.for_model(kind, **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(lively)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def change(file: Path, **settings: Any) -> None:
    """Put ``settings`` over those in a JSON file."""
    said = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(said | settings))


def saved(folder: Path, out: Path, *modules: Any, **options: Any) -> Path:
    """``folder`` as sentence-transformers saves it, with other ``modules`` after its transformer."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    SentenceTransformer(modules=[model[0], *(modules or [model[1]])], device="cpu", **options).save(
        str(out), create_model_card=False
    )
    return out


def modules() -> Any:
    """Those of sentence-transformers."""
    from sentence_transformers.sentence_transformer import modules as theirs

    return theirs


def dense(folder: Path, out: Path) -> Path:
    """Pooling and what may come after it."""
    import torch

    torch.manual_seed(1)
    layer = modules().Dense(32, 16, activation_function=torch.nn.ReLU())
    return saved(folder, out, modules().Pooling(32, "mean"), layer, modules().LayerNorm(16), modules().Normalize())
