"""Small trained models in the layout that a training writes: random weights, but everything in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from nextlabel.backend.activation import activation_for
from nextlabel.backend.models.probe import Probe

WORDS = tuple(f"{first}{second}" for first in "bdfgklmnprstv" for second in ("a", "e", "i", "o", "u", "an", "os"))
TEXTS = tuple(" ".join(WORDS[(7 * i * i + j * 5) % len(WORDS)] for j in range(1 + i % 14)) for i in range(80))
WIDTH = 32


def trained_model(
    folder: Path,
    kind: str = "bert",
    pooling: str = "mean",
    *,
    labels: tuple[str, ...] = ("good", "bad", "neither"),
    multi_label: bool = False,
    flat: bool = True,
    eps: float = 1e-12,
    prompt: str = "",
) -> Path:
    """Write a model of the given ``kind``, its head and its labels into ``folder``.

    ``flat``: the last LayerNorm has been brought into the form that the export can keep exactly.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModel

    from nextlabel.backend.encoders.network import LEARNED, make_pooler
    from nextlabel.backend.encoders.torch import flatten_last_norm, last_norm
    from nextlabel.backend.models.saving import write_pooling

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "cls_token": "[CLS]"}'
    )
    sizes: dict[str, Any] = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 64, "layer_norm_eps": eps}
    if kind == "distilbert":
        sizes = {"dim": WIDTH, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    if kind == "electra":
        sizes["embedding_size"] = 16
    config = AutoConfig.for_model(
        kind, vocab_size=len(vocabulary), max_position_embeddings=40, pad_token_id=0, initializer_range=0.5, **sizes
    )
    torch.manual_seed(3)
    body = AutoModel.from_config(config)
    norm = last_norm(body)
    if norm is not None:
        with torch.no_grad():  # as training leaves it
            norm.weight.copy_(torch.rand(WIDTH) + 0.5)
            norm.bias.copy_(torch.randn(WIDTH) * 0.3)
        if flat:
            flatten_last_norm(body)
    body.save_pretrained(folder)
    dimension = WIDTH
    if pooling in LEARNED:
        from safetensors.torch import save_file

        pooler = make_pooler(pooling, WIDTH)
        with torch.no_grad():
            for parameter in pooler.parameters():
                parameter.normal_(std=0.1)  # larger ones make an LSTM amplify rounding
        save_file(pooler.state_dict(), folder / "pooler.safetensors")
        dimension = 512 if pooling == "bilstm" else WIDTH
    write_pooling(folder, pooling, dimension)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    if prompt:
        prompts = {"prompts": {"default": prompt}, "default_prompt_name": "default"}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(len(labels), dimension)).astype(np.float32) * 8
    head = Probe(
        weights,
        rng.normal(size=len(labels)).astype(np.float32),
        activation_for(several=multi_label),
        temperature=1.3,
        labels=90,
    )
    head.save(folder / "head.safetensors")
    (folder / "labels.json").write_text(json.dumps({"labels": labels, "multi_label": multi_label}))
    return folder


def our_probabilities(folder: Path, scratch: Path, texts: tuple[str, ...] = TEXTS) -> Any:
    """What the model in ``folder`` says, by the path that serves: engine, then head."""
    from nextlabel.backend.encoders.load import load_encoder

    encoder = load_encoder(str(folder), "torch", cache_dir=scratch, threads=1)
    return Probe.load(folder / "head.safetensors").predict_proba(encoder.encode(texts))
