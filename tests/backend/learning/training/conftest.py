"""A model of two layers with random weights, and texts that it can learn to tell apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from nextlabel.backend.learning.examples import Examples
from nextlabel.backend.learning.model_folder import ModelFolder, read_folder

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These models are too small for more, and other tests want the cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """A BERT that reads letters, with a mean pooling."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}'
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,  # large, so that different texts get different vectors
    )
    BertModel(config).save_pretrained(folder)
    return read_folder(folder)


def made_up(count: int, seed: int = 0, *, multi_label: bool = False) -> Examples:
    """Texts of one to eight words; words of ``early`` begin with a to m, those of ``late`` with n to z."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    texts = []
    for target in targets:
        letters = LETTERS[13:] if target else LETTERS[:13]
        words = ["".join(rng.choice(list(letters), 2)) for _ in range(rng.integers(1, 9))]
        texts.append(" ".join(words))
    if multi_label:
        long = np.array([len(text) > 12 for text in texts])
        return Examples(tuple(texts), np.column_stack([targets == 1, long]), ("late", "long"))
    return Examples(tuple(texts), targets.astype(np.int64), ("early", "late"))
