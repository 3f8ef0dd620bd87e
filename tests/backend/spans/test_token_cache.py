"""Token vectors on disk: as they were made, whatever the order, and after a crash at any point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.models.spans.encoder import (
    HashedTokens,
    SpanEncoder,
    TokenCache,
    TokenFiles,
    TokenStack,
    load_span_encoder,
)
from nextlabel.backend.models.spans.probe import SpanProbe
from nextlabel.connectors.content import Content
from nextlabel.connectors.errors import ConfigError, LearningError, StoreFull
from nextlabel.connectors.records import Span
from tests.backend.spans.conftest import bookings

TEXTS = ["table for two 👩‍👧 at 7 pm", "", "  ", "Zoë, née Łódź", "a\u0301 b", "x" * 50, "👍", "one two three"]


@pytest.fixture(scope="module")
def encoder() -> SpanEncoder:
    return HashedTokens()


def opened(folder: Path, encoder: SpanEncoder) -> TokenCache:
    cache = TokenCache.open(folder, encoder)
    assert isinstance(cache, TokenCache)
    return cache


def same(one: TokenStack, other: TokenStack) -> bool:
    parts = ((one.bounds, other.bounds), (one.vectors, other.vectors), (one.starts, other.starts))
    return all(np.array_equal(a, b) for a, b in parts)


def test_units_come_back_as_they_were_made(tmp_path: Path, encoder: SpanEncoder) -> None:
    cache = opened(tmp_path, encoder)
    rows = cache.ensure(TEXTS, encoder)
    again = opened(tmp_path, encoder)
    for order in (range(8), [3, 0, 0, 7, 1], [], [2], [1, 2]):
        wanted = np.array(order, np.int64)
        expected = encoder.tokens([TEXTS[at] for at in order])
        assert same(cache.tokens(rows[wanted]), expected)
        assert same(again.tokens(again.lookup(TEXTS)[wanted]), expected)
        assert np.allclose(cache.take(rows[wanted]), expected.means(), atol=1e-3)
    with pytest.raises(IndexError):
        cache.tokens(np.array([-1]))


def test_units_are_stretches_of_the_text_and_leave_nothing_out(encoder: SpanEncoder) -> None:
    for text, one in zip(TEXTS, encoder.tokens(TEXTS).texts(), strict=True):
        said = [text[start:end] for start, end in one.bounds.tolist()]
        assert "".join(said) == "".join(text.split())
        assert all(part.strip() == part for part in said)


def test_what_a_crash_left_half_done_is_cut_off(tmp_path: Path, encoder: SpanEncoder) -> None:
    cache = opened(tmp_path, encoder)
    cache.ensure(TEXTS[:3], encoder)
    folder = cache.folder
    files = TokenFiles(folder, encoder.fingerprint, encoder.dimension)
    with files.writing():
        files.append_units(encoder.tokens(["killed before the vectors and the keys"]))
    with (folder / "units").open("ab") as stream:
        stream.write(b"half a row")
    again = opened(tmp_path, encoder)
    rows = again.ensure(TEXTS, encoder)
    assert same(again.tokens(rows), encoder.tokens(TEXTS))
    cache.refresh()
    assert same(cache.tokens(cache.lookup(TEXTS)), encoder.tokens(TEXTS))


def test_a_full_disk_costs_nothing_that_was_there(
    tmp_path: Path, encoder: SpanEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = opened(tmp_path, encoder)
    cache.ensure(TEXTS[:3], encoder)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nextlabel.backend.models.spans.encoder.append_bytes", full)
    with pytest.raises(StoreFull):
        cache.ensure(TEXTS, encoder)
    monkeypatch.undo()
    assert same(cache.tokens(cache.ensure(TEXTS, encoder)), encoder.tokens(TEXTS))


def test_an_encoder_of_whole_texts_is_refused(tmp_path: Path) -> None:
    plain = load_encoder("hashing")
    with pytest.raises(LearningError, match="one for every token"):
        TokenCache.open(tmp_path, plain).ensure(["a"], plain)


def test_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reads images"):
        load_span_encoder(EncoderSpec("clip:any", max_length=32, cache_dir=tmp_path))


def test_the_context_is_read_and_holds_no_units(tmp_path: Path, tiny_folder: Path) -> None:
    encoder = load_span_encoder(EncoderSpec(str(tiny_folder), max_length=24, cache_dir=tmp_path))
    alone, beside = encoder.tokens(["bob at 7 pm", Content("bob at 7 pm", context="when")]).texts()
    assert np.array_equal(alone.bounds, beside.bounds)
    assert not np.allclose(alone.vectors, beside.vectors, atol=1e-2)


def test_the_doubt_of_a_pool_is_that_of_its_predictions(tmp_path: Path, encoder: SpanEncoder) -> None:
    train = bookings(30)
    probe = SpanProbe.fit(encoder.tokens(train.texts).texts(), train.spans, train.labels)
    texts = [*TEXTS, *bookings(40, first=3).texts, "at 7 pm " * 40]
    stack = encoder.tokens(texts)
    expected = [1 - one.confidence for one in probe.predict(stack.texts())]
    assert probe.doubts(stack) == pytest.approx(np.array(expected), abs=1e-6)
    assert max(expected) > 0.05
    nobody = SpanProbe.fit([], [], train.labels)
    assert nobody.doubts(stack) == pytest.approx(
        [1 - one.confidence for one in nobody.predict(stack.texts())], abs=1e-6
    )


def test_the_chance_that_all_is_right_is_the_product_where_units_say_nothing_of_each_other(
    encoder: SpanEncoder,
) -> None:
    probe = SpanProbe.fit(encoder.tokens(["a", "b"]).texts(), [[Span(0, 1, "x")], []], ["x"])
    one, two = probe.predict(encoder.tokens(["a", "a"]).texts())
    assert one == two
    assert one.confidence == pytest.approx(1 - one.uncertainty)
    assert one.spans[0].score == pytest.approx(one.confidence)
