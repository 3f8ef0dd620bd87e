"""What can be encoded can be trained, with whatever attention the model has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import ModelFolder, know_trained, read_folder
from nextlabel.backend.encoders.reading import is_known
from nextlabel.backend.training.finetune import FineTuner
from nextlabel.backend.training.spec import TrainingSpec
from tests.backend.device import DEVICE
from tests.backend.tiny_models import change, dense, letter_tokenizer, modules, saved, tiny_model
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


FORMS: dict[str, Callable[[Path, Path], Path]] = {
    "a dense layer": lambda plain, out: dense(plain, out),
    "the last token of a decoder": lambda _, out: saved(
        tiny_model("qwen3", out / "qwen3", head_dim=16, num_key_value_heads=2),
        out / "saved",
        modules().Pooling(32, "lasttoken"),
    ),
    "the encoder of a T5": lambda _, out: tiny_model(
        "t5", out, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2
    ),
    "lower case": lambda plain, out: lower_case(saved(plain, out)),
}
"""What a folder says beside its weights is kept by a training."""
OURS = {"lower case"}
"""Those with a network and a pooling that need no sentence-transformers."""


def lower_case(folder: Path) -> Path:
    change(folder / "sentence_bert_config.json", do_lower_case=True)
    return folder


def trained(base: ModelFolder, tmp_path: Path, **spec: Any) -> Path:
    """The folder of a training that changed something."""
    settings = TrainingSpec(epochs=1, learning_rate=1e-3, patience=0, **spec)
    result = FineTuner(DEVICE).train(base, made_up(40), made_up(20, 1), settings, tmp_path / "model", scratch=tmp_path)
    assert np.isfinite([entry["loss"] for entry in result.history]).all()
    return result.folder


def check_known(base: ModelFolder, trained: ModelFolder, pooling: str, cache: Path) -> bool:
    """Whether anything is kept of a trained model without trying it; if so, it is what was found by trying."""
    know_trained(trained.path, base, pooling, cache)
    if not is_known(trained.path, cache):
        return False
    known = read_folder(trained.path, cache=cache)
    assert known.reading == trained.reading
    assert known.tokenizer.read_bytes() == trained.tokenizer.read_bytes()
    return True


def vectors(folder: Path, tmp_path: Path) -> Any:
    encoder = load_encoder(str(folder), "torch", max_length=32, cache_dir=tmp_path / "cache")
    return encoder.encode(["a b", "n o", "A B"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_sdpa_attention_is_trained(kind: str, tmp_path: Path) -> None:
    base = read_folder(tiny_model(kind, tmp_path / "base", **KINDS[kind]), max_length=32)
    folder = trained(base, tmp_path)
    assert np.abs(vectors(base.path, tmp_path) - vectors(folder, tmp_path)).max() > 1e-4
    assert check_known(base, read_folder(folder), base.pooling, tmp_path / "known")


@pytest.mark.parametrize("form", FORMS)
def test_what_a_folder_says_is_kept(form: str, tmp_path: Path) -> None:
    """A folder is compared with what sentence-transformers makes of it whenever it is new: so is the trained one."""
    plain = tiny_model("bert", tmp_path / "plain", tokenizer=letter_tokenizer(lowercase=False))
    base = read_folder(FORMS[form](plain, tmp_path / "base"), max_length=32)
    after = read_folder(trained(base, tmp_path))
    assert (after.pooling, after.dimension, after.max_length) == (base.pooling, base.dimension, 32)
    assert after.tokenizer.read_text() == base.tokenizer.read_text()
    assert check_known(base, after, base.pooling, tmp_path / "known") == (form in OURS)
    assert np.abs(vectors(base.path, tmp_path) - vectors(after.path, tmp_path)).max() > 1e-4


def test_a_learned_pooling_keeps_the_lower_case(tmp_path: Path) -> None:
    plain = tiny_model("bert", tmp_path / "plain", tokenizer=letter_tokenizer(lowercase=False))
    base = read_folder(lower_case(saved(plain, tmp_path / "base")), max_length=32)
    folder = trained(base, tmp_path, pooling="attention")
    made = vectors(folder, tmp_path)
    np.testing.assert_allclose(made[0], made[2], atol=1e-6)
    assert read_folder(folder).max_length == 32
    assert check_known(base, read_folder(folder), "attention", tmp_path / "known")
