"""Texts longer than the encoder's window: what is read of them, and how their windows become one vector."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.encoders import tokenizer as windows_module
from nextlabel.backend.encoders.base import Encoder, Engine
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import read_folder
from nextlabel.backend.encoders.tokenizer import CHARACTERS_A_TOKEN, Tokeniser, Windows, pool, pool_windows
from nextlabel.connectors.errors import ConfigError
from tests.backend.tiny_bert import WORDS, export_here, tiny_bert

ENGINES: tuple[Engine, ...] = ("torch", "onnx", "onnx-int8")
LENGTH, CONTENT = 32, 30  # tokens of a window, with and without [CLS] and [SEP]
NEW = CONTENT - 4  # tokens that a later window adds


def words(count: int, seed: int = 0) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


SHORT = ["", "word1", words(7), words(CONTENT)]
LONG = [words(count, count) for count in (CONTENT + 1, 40, 56, 57, 100, 500)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("windows") / "model", positions=512)


@pytest.fixture(scope="module")
def cache(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    export_here(model, folder)
    return folder


def encoder(model: Path, cache: Path, engine: Engine, windows: int, length: int = LENGTH) -> Encoder:
    return load_encoder(str(model), engine, max_length=length, cache_dir=cache, threads=1, windows=windows)


def tokeniser(model: Path, cache: Path, windows: int, prompt: str = "") -> Tokeniser:
    return Tokeniser(replace(read_folder(model, max_length=LENGTH, prompt=prompt), windows=windows))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_text_that_fits_gets_exactly_the_vector_of_one_window(model: Path, cache: Path, engine: Engine) -> None:
    plain, windowed = encoder(model, cache, engine, 1), encoder(model, cache, engine, 5)
    assert (plain.encode(SHORT) == windowed.encode(SHORT)).all()
    long = np.abs(plain.encode(LONG) - windowed.encode(LONG)).max(axis=1)
    assert (long > 1e-3).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_past_the_first_window_counts_with_two_and_not_with_one(model: Path, cache: Path, engine: Engine) -> None:
    same = words(510)  # with [CLS] and [SEP] the window of 512 is full: the next word is token 513
    texts = [f"{same} {rest}" for rest in (WORDS[0], WORDS[1], words(90, 1), words(90, 2))]
    one = encoder(model, cache, engine, 1, 512).encode(texts)
    two = encoder(model, cache, engine, 2, 512).encode(texts)
    assert (one == one[0]).all()
    assert (two[0] != two[1]).any()  # one token of 511: it counts, if little
    assert np.abs(two[2] - two[3]).max() > 1e-3


def test_past_the_last_window_nothing_counts(model: Path, cache: Path) -> None:
    end = CONTENT + NEW
    same = words(end)
    two = encoder(model, cache, "torch", 2).encode([same, f"{same} word3", f"{same} word4"])
    three = encoder(model, cache, "torch", 3).encode([same, f"{same} word3", f"{same} word4"])
    assert (two == two[0]).all()
    assert np.abs(three[1] - three[2]).max() > 1e-4


def test_a_vector_is_the_weighted_mean_of_the_windows(model: Path, cache: Path) -> None:
    text = words(70).split()
    starts = [0, NEW, 2 * NEW]  # each begins four tokens before the end of the one before
    pieces = [" ".join(text[start : start + CONTENT]) for start in starts]
    vectors = encoder(model, cache, "torch", 1).encode(pieces)
    mean = np.array([CONTENT, NEW, 70 - CONTENT - NEW]) @ vectors
    expected = mean / np.linalg.norm(mean)
    np.testing.assert_allclose(encoder(model, cache, "torch", 9).encode([" ".join(text)])[0], expected, atol=1e-5)


def test_the_engines_agree(model: Path, cache: Path) -> None:
    texts = SHORT + LONG
    torch, onnx, int8 = (encoder(model, cache, engine, 4).encode(texts) for engine in ENGINES)
    np.testing.assert_allclose(onnx, torch, atol=1e-5)
    assert (int8 * torch).sum(axis=1).min() > 0.9
    for vectors in (torch, onnx, int8):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_neither_order_nor_company_matters(model: Path, cache: Path, engine: Engine) -> None:
    texts = [*SHORT, *LONG]
    here = encoder(model, cache, engine, 4)
    together = here.encode(texts)
    np.testing.assert_allclose(here.encode(texts[::-1])[::-1], together, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([here.encode([text]) for text in texts]), together, atol=1e-5)
    assert here.encode([]).shape == (0, 32)


@pytest.mark.parametrize("engine", ENGINES)
def test_texts_are_read_in_portions(model: Path, cache: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    here: Any = encoder(model, cache, engine, 4)
    texts = [words(150, seed) for seed in range(20)]
    whole = here.encode(texts)
    sizes: list[int] = []
    forward = here._forward

    def noting(rows: Any) -> Any:
        sizes.append(len(rows))
        return forward(rows)

    monkeypatch.setattr(here, "_forward", noting)
    monkeypatch.setattr(windows_module, "WINDOWS_AT_ONCE", 12)
    np.testing.assert_allclose(here.encode(texts), whole, atol=1e-5)
    assert sizes == [12, 12, 12, 12, 12, 12, 8]


def test_no_more_of_a_huge_text_is_looked_at_than_the_windows_hold(model: Path, cache: Path) -> None:
    here = encoder(model, cache, "torch", 4)
    huge = words(1_500_000)
    assert len(huge) > 10_000_000
    (row, cut) = here.encode([huge, huge[: 4 * LENGTH * CHARACTERS_A_TOKEN]])
    np.testing.assert_allclose(row, cut, atol=1e-6)
    assert np.isfinite(here.encode(["x" * 10_000_000, " " * 10_000_000])).all()


# -- cutting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, CONTENT - 1, CONTENT, CONTENT + 1, CONTENT + NEW, CONTENT + NEW + 1, 300])
def test_every_token_is_read_and_counted_once(model: Path, cache: Path, count: int) -> None:
    text = words(count)
    cut = tokeniser(model, cache, 100).cut([text])
    tokens = [int(word.removeprefix("word")) + 4 for word in text.split()]
    read = cut.rows[0][1:-1]
    for row in cut.rows[1:]:
        assert len(row) <= LENGTH
        assert row[1:5] == read[-4:], "a window begins with the end of the one before"
        read += row[5:-1]
    assert read == tokens
    assert cut.weights.sum() == max(1, count)
    assert set(cut.owner.tolist()) == {0}


def test_the_first_window_is_what_a_call_gives(model: Path, cache: Path) -> None:
    here = tokeniser(model, cache, 3)
    cut = here.cut(LONG)
    first = [cut.rows[cut.owner.tolist().index(text)] for text in range(len(LONG))]
    assert first == here(LONG) == tokeniser(model, cache, 1)(LONG)
    assert np.bincount(cut.owner).max() == 3


def test_a_prompt_stands_once(model: Path, cache: Path) -> None:
    (first, *others) = tokeniser(model, cache, 9, prompt="word199 ").cut([words(100)]).rows
    assert first[1] == 203
    assert all(203 not in row[:5] for row in others)


# -- pooling ---------------------------------------------------------------------------------------------------------


def test_torch_pools_as_numpy_does_and_passes_gradients_on() -> None:
    import torch

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    owner, weights = np.array([0, 0, 1, 2, 2, 2, 2, 3, 3]), rng.integers(1, 30, 9).astype(np.float32)
    expected = pool(vectors, Windows([[0]] * 9, owner, weights), 4)
    given = torch.tensor(vectors, requires_grad=True)
    pooled = pool_windows(given, torch.tensor(owner), torch.tensor(weights), 4)
    np.testing.assert_allclose(pooled.detach().numpy(), expected, atol=1e-6)
    pooled[2].sum().backward()
    assert given.grad is not None
    assert given.grad.abs().sum(dim=1).gt(0).tolist() == [one == 2 for one in owner]
    mixed = torch.tensor(rng.permutation(9))
    again = pool_windows(given[mixed], torch.tensor(owner)[mixed], torch.tensor(weights)[mixed], 4)
    np.testing.assert_allclose(again.detach().numpy(), expected, atol=1e-6)


# -- identity --------------------------------------------------------------------------------------------------------


def test_the_fingerprint_changes_only_where_there_are_several_windows(model: Path, cache: Path) -> None:
    plain = load_encoder(str(model), "torch", max_length=LENGTH, cache_dir=cache).fingerprint
    assert encoder(model, cache, "torch", 1).fingerprint == plain
    others = {encoder(model, cache, "torch", windows).fingerprint for windows in (2, 3)}
    assert len(others - {plain}) == 2
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in others)


def test_no_windows_make_no_sense(model: Path, cache: Path) -> None:
    with pytest.raises(ConfigError, match="windows is 0"):
        encoder(model, cache, "torch", 0)


@pytest.mark.parametrize("length", [3, 4, 5, 9])
def test_the_smallest_windows_still_move_on(model: Path, cache: Path, length: int) -> None:
    vectors = encoder(model, cache, "torch", 5, length).encode([words(50), ""])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
