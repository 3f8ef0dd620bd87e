"""Vectors as sentence-transformers makes them, and the files by which it knows how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def sentence_transformers_files(folder: Path, pooling: dict[str, Any], prompt: str = "", modules: str = "") -> None:
    """Write what sentence-transformers writes beside a model."""
    kinds = ["Transformer", "Pooling", *modules.split()]
    paths = ["", "1_Pooling", *(f"{i + 2}_{kind}" for i, kind in enumerate(modules.split()))]
    modules_list = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules_list))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 20, "do_lower_case": false}')
    if prompt:
        (folder / "config_sentence_transformers.json").write_text(
            json.dumps({"prompts": {"query": prompt, "other": "x "}, "default_prompt_name": "query"})
        )


def oracle(folder: Path, texts: list[str], max_length: int | None = None) -> Any:
    """The vectors that sentence-transformers itself makes."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    if max_length:
        model.max_seq_length = max_length
    return model.encode(texts, normalize_embeddings=True, show_progress_bar=False)


def cosines(one: Any, other: Any) -> Any:
    return (np.asarray(one) * np.asarray(other)).sum(axis=1)
