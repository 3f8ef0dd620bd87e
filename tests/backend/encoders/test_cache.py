"""The embedding cache: right vectors after any crash, each text encoded once, whoever else is writing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nextlabel.backend.encoders import cache as cache_module
from nextlabel.backend.encoders.base import FloatMatrix
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import LearningError, StoreError, StoreFull
from tests.backend.caches import HASHING, Counting, assert_right
from tests.size import count

TEXTS = [f"text number {i} about {('cats', 'dogs', 'fish')[i % 3]}" for i in range(500)]
pytestmark = pytest.mark.usefixtures("fresh_lookups")


def test_what_was_encoded_is_found_again_at_the_next_start(tmp_path: Path) -> None:
    encoder = Counting()
    rows = EmbeddingCache.open(tmp_path, encoder).ensure(TEXTS, encoder)
    again = EmbeddingCache.open(tmp_path, encoder)
    assert len(again) == len(TEXTS)
    assert again.lookup(TEXTS).tolist() == rows.tolist() == again.ensure(TEXTS, encoder).tolist()
    assert sorted(map(text_of, encoder.encoded)) == sorted(TEXTS)
    assert again.matrix.dtype == np.float16
    assert again.matrix.shape == (len(TEXTS), encoder.dimension)
    assert_right(again, TEXTS, rows)


def test_an_empty_cache_has_no_rows(tmp_path: Path) -> None:
    cache = EmbeddingCache.open(tmp_path, HASHING)
    assert cache.matrix.shape == (0, HASHING.dimension)
    assert cache.lookup(["unknown"]).tolist() == [-1]
    assert cache.lookup([]).tolist() == cache.ensure([], HASHING).tolist() == []
    assert cache.take(np.empty(0, np.int64)).shape == (0, HASHING.dimension)


def test_repeated_texts_are_encoded_once(tmp_path: Path) -> None:
    encoder = Counting()
    rows = EmbeddingCache.open(tmp_path, encoder).ensure(["a b", "c d", "a b", "a b"], encoder)
    assert len(encoder.encoded) == 2
    assert rows[0] == rows[2] == rows[3] != rows[1]


def test_odd_texts_keep_their_places(tmp_path: Path) -> None:
    texts = ["", " ", "\ud800", "emoji 😀", "שלום עולם", "long " * 50_000, "\0", ""]
    cache = EmbeddingCache.open(tmp_path, HASHING)
    rows = cache.ensure(texts, HASHING)
    assert_right(cache, texts, rows)
    assert cache.lookup(texts).tolist() == rows.tolist()


def test_a_generator_is_read_a_window_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "WINDOW_TEXTS", 50)
    encoder = Counting()
    furthest = 0

    def texts() -> Iterator[str]:
        nonlocal furthest
        for text in TEXTS:
            yield text
            furthest = max(furthest, TEXTS.index(text) + 1 - len(encoder.encoded))

    cache = EmbeddingCache.open(tmp_path, encoder)
    assert_right(cache, TEXTS, cache.ensure(texts(), encoder))
    assert furthest <= 50


def test_a_window_ends_early_for_huge_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "WINDOW_CHARACTERS", 1000)
    encoder = Counting()
    first_asked = []

    def texts() -> Iterator[str]:
        for i in range(5):
            first_asked.append(len(encoder.encoded))
            yield f"{i} " * 500

    EmbeddingCache.open(tmp_path, encoder).ensure(texts(), encoder)
    assert first_asked == [0, 1, 2, 3, 4]


def test_progress_rises_to_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    cache = EmbeddingCache.open(tmp_path, HASHING)
    cache.ensure(TEXTS + TEXTS[:10], HASHING, lambda done, total: seen.append((done, total)))
    done = [step for step, _ in seen]
    assert done == sorted(set(done))
    assert seen[-1] == (510, 510)
    assert len(seen) > 1
    seen.clear()
    cache.ensure(iter(TEXTS), HASHING, lambda done, total: seen.append((done, total)), total=500)
    assert seen == [(500, 500)]
    seen.clear()
    cache.ensure(iter(TEXTS), HASHING, lambda done, total: seen.append((done, total)))
    assert seen == [(500, 0)]


def test_keys_that_did_not_fit_leave_only_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = EmbeddingCache.open(tmp_path, HASHING)
    cache.ensure(["before"], HASHING)
    real = os.write

    def write(handle: int, data: memoryview) -> int:
        if Path(f"/proc/self/fd/{handle}").readlink().name == "keys":
            if len(data) <= 24:
                raise OSError(28, "No space left on device")
            return real(handle, data[: len(data) - 24])  # all but one and a half keys
        return real(handle, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StoreFull):
        cache.ensure(TEXTS[:10], HASHING)
    monkeypatch.undo()
    folder = tmp_path / HASHING.fingerprint
    assert (folder / "keys").stat().st_size == 9 * 16
    assert (folder / "vectors.f16").stat().st_size == 9 * 2 * HASHING.dimension
    assert_right(cache, TEXTS[:10], cache.ensure(TEXTS[:10], HASHING))


def test_a_folder_of_another_encoder_is_refused(tmp_path: Path) -> None:
    EmbeddingCache(tmp_path, "one", 256)
    with pytest.raises(LearningError, match="a folder of its own"):
        EmbeddingCache(tmp_path, "other", 256)
    with pytest.raises(LearningError, match="the encoder makes hashing"):
        EmbeddingCache(tmp_path, "one", 256).ensure(["a"], HASHING)
    (tmp_path / "meta.json").write_text("{torn")
    with pytest.raises(LearningError, match="a folder of its own"):
        EmbeddingCache(tmp_path, "one", 256)


def test_vectors_that_are_not_finite_are_never_stored(tmp_path: Path) -> None:
    class Broken(Counting):
        def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
            return np.full((len(texts), self.dimension), np.nan, np.float32)

    cache = EmbeddingCache.open(tmp_path, HASHING)
    with pytest.raises(LearningError, match="not finite"):
        cache.ensure(["a"], Broken())
    assert len(cache) == len(EmbeddingCache.open(tmp_path, HASHING)) == 0


def test_a_cache_removed_while_in_use_is_an_error_not_wrong_vectors(tmp_path: Path) -> None:
    cache = EmbeddingCache.open(tmp_path, HASHING)
    cache.ensure(["a", "b"], HASHING)
    (tmp_path / HASHING.fingerprint / "keys").unlink()
    with pytest.raises(StoreError, match="removed or replaced while in use"):
        cache.ensure(["c"], HASHING)


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="can't be used"):
        EmbeddingCache.open(tmp_path / "file", HASHING)


def test_a_missing_row_is_not_the_last_row(tmp_path: Path) -> None:
    cache = EmbeddingCache.open(tmp_path, HASHING)
    cache.ensure(["a"], HASHING)
    with pytest.raises(IndexError, match="not in the cache"):
        cache.take(cache.lookup(["a", "unknown"]))


WORDS = st.sampled_from([f"{a} {b}" for a in ("red", "green", "blue") for b in ("cat", "dog", "", "fish")])


class Crashes(RuleBasedStateMachine):
    """Encode, tear the files as a crash may leave them, open again: what is found is always right."""

    @initialize()
    def start(self) -> None:
        import tempfile

        self.place = tempfile.TemporaryDirectory()
        self.known: set[str] = set()
        self.open()

    def open(self) -> None:
        self.cache = EmbeddingCache.open(self.place.name, HASHING)
        self.folder = Path(self.place.name) / HASHING.fingerprint

    @rule(texts=st.lists(WORDS, max_size=6))
    def ensure(self, texts: list[str]) -> None:
        assert_right(self.cache, texts, self.cache.ensure(texts, HASHING))
        self.known |= set(texts)

    @rule(extra=st.binary(min_size=1, max_size=700))
    def torn_vectors(self, extra: bytes) -> None:
        """Killed while rows were written: whole and half rows without keys."""
        with (self.folder / "vectors.f16").open("ab") as file:
            file.write(extra)
        self.open()

    @rule(cut=st.integers(min_value=1, max_value=15))
    def torn_key(self, cut: int) -> None:
        """Killed while keys were written: the last one is not whole."""
        if self.known:
            file = self.folder / "keys"
            os.truncate(file, file.stat().st_size - cut)
            self.open()
            self.known = {text for text in self.known if self.cache.lookup([text])[0] >= 0}

    @rule()
    def another_writer(self) -> None:
        EmbeddingCache.open(self.place.name, HASHING).ensure(["from another writer"], HASHING)
        self.known.add("from another writer")

    @invariant()
    def everything_found_is_right(self) -> None:
        texts = sorted(self.known)
        rows = self.cache.lookup(texts)
        assert (rows >= 0).all()
        assert_right(self.cache, texts, rows)
        assert len(self.cache) == len(self.known)

    def teardown(self) -> None:
        self.place.cleanup()


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=count(40, fast=10, long=200), stateful_step_count=20)
