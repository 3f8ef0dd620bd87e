"""What can be encoded can be trained, with whatever attention the model has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import read_folder
from nextlabel.backend.training.finetune import FineTuner
from nextlabel.backend.training.spec import TrainingSpec
from tests.backend.device import DEVICE
from tests.backend.tiny_models import tiny_model
from tests.backend.training.conftest import made_up

DEBERTA: dict[str, Any] = {
    "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "mpnet": {},
    "deberta-v2": DEBERTA,
    "roformer": {},
    "megatron-bert": {},
    "longformer": {"attention_window": 16},
}
"""Architectures without sdpa attention, the first of all-mpnet-base-v2 and the second of DeBERTa-v3."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_sdpa_attention_is_trained(kind: str, tmp_path: Path) -> None:
    base = read_folder(tiny_model(kind, tmp_path / "base", **KINDS[kind]), max_length=32)
    spec = TrainingSpec(epochs=1, learning_rate=1e-3, patience=0)
    result = FineTuner(DEVICE).train(base, made_up(40), made_up(20, 1), spec, tmp_path / "model", scratch=tmp_path)
    assert np.isfinite([entry["loss"] for entry in result.history]).all()
    before, after = (
        load_encoder(str(folder), "torch", max_length=32, cache_dir=tmp_path / "cache").encode(["a b", "n o"])
        for folder in (base.path, result.folder)
    )
    assert np.abs(before - after).max() > 1e-4
