"""Vectors are taken out of a cache that nobody has open."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.encoders.cache import EmbeddingCache, digests
from nextlabel.backend.encoders.cache_use import forget
from nextlabel.backend.encoders.hashing import HashingEncoder

TEXTS = [f"text number {n}" for n in range(50)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    encoder = HashingEncoder()
    cache = EmbeddingCache.open(tmp_path, encoder)
    cache.ensure(TEXTS, encoder)
    return cache.folder


def test_vectors_of_erased_texts_go_and_others_stay(folder: Path) -> None:
    gc.collect()
    assert forget(folder, digests(TEXTS[7:9])) == 2
    encoder = HashingEncoder()
    cache = EmbeddingCache(folder, encoder.fingerprint, encoder.dimension)
    assert len(cache) == 48
    rows = cache.lookup(TEXTS)
    assert np.flatnonzero(rows < 0).tolist() == [7, 8]
    kept = [n for n in range(50) if n not in (7, 8)]
    np.testing.assert_allclose(cache.take(rows[kept]), encoder.encode([TEXTS[n] for n in kept]), atol=1e-3)


def test_a_cache_that_somebody_has_open_is_left(folder: Path) -> None:
    encoder = HashingEncoder()
    cache = EmbeddingCache(folder, encoder.fingerprint, encoder.dimension)
    assert forget(folder, digests(TEXTS[:1])) is None
    assert len(cache) == 50
    del cache
    gc.collect()
    assert forget(folder, digests(TEXTS[:1])) == 1
    assert forget(folder, digests(TEXTS[:1])) == 0


def test_a_cache_of_every_unit_is_emptied(folder: Path) -> None:
    gc.collect()
    (folder / "units").write_bytes(b"many")
    assert forget(folder, digests(TEXTS[:1])) == 50
    assert (folder / "units").read_bytes() == b""
    encoder = HashingEncoder()
    assert len(EmbeddingCache(folder, encoder.fingerprint, encoder.dimension)) == 0
