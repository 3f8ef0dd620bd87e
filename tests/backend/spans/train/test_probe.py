"""The span probe: learns from few texts, gives offsets of the text, comes back from disk the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.models.spans import probe as probe_module
from nextlabel.backend.models.spans.encoder import TokenEncoder, TokenVectors
from nextlabel.backend.models.spans.metrics import span_f1
from nextlabel.backend.models.spans.probe import SpanProbe, features
from nextlabel.connectors.content import text_of
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span
from tests.backend.spans.conftest import bookings


@pytest.fixture(scope="session")
def encoder(tiny_encoder: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> TokenEncoder:
    return TokenEncoder(tiny_encoder, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def probe(encoder: TokenEncoder) -> SpanProbe:
    train = bookings(60)
    return SpanProbe.fit(encoder.tokens(train.texts).texts(), train.spans, train.labels)


def test_it_finds_what_it_was_shown(encoder: TokenEncoder, probe: SpanProbe) -> None:
    test = bookings(40, first=60)
    found = probe.predict(encoder.tokens(test.texts).texts())
    assert span_f1([one.spans for one in found], test.spans) > 0.95
    for text, one in zip(test.texts, found, strict=True):
        for span in one.spans:
            assert 0.5 < span.score <= 1
            assert text_of(text)[span.start : span.end].strip() == text_of(text)[span.start : span.end]


def test_a_refit_from_the_last_one_finds_the_same(encoder: TokenEncoder, probe: SpanProbe) -> None:
    more, test = bookings(70), bookings(40, first=70)
    vectors = encoder.tokens(more.texts).texts()
    cold = SpanProbe.fit(vectors, more.spans, more.labels).predict(encoder.tokens(test.texts).texts())
    warm = SpanProbe.fit(vectors, more.spans, more.labels, warm=probe).predict(encoder.tokens(test.texts).texts())
    for one, other in zip(cold, warm, strict=True):
        assert [(s.start, s.end, s.label) for s in one.spans] == [(s.start, s.end, s.label) for s in other.spans]
        assert one.uncertainty == pytest.approx(other.uncertainty, abs=0.02)


def test_saving_and_loading(encoder: TokenEncoder, probe: SpanProbe, tmp_path: Path) -> None:
    probe.save(tmp_path / "probe.safetensors")
    again = SpanProbe.load(tmp_path / "probe.safetensors")
    vectors = encoder.tokens(bookings(10).texts).texts()
    assert again.predict(vectors) == probe.predict(vectors)
    assert (again.labels, again.texts) == (("name", "time"), 60)


@pytest.mark.parametrize("labels", [("time", "name"), ("name", "place", "time"), ("place", "time")])
def test_it_follows_its_labels_by_their_names(encoder: TokenEncoder, probe: SpanProbe, labels: tuple[str, ...]) -> None:
    vectors = encoder.tokens(bookings(30, first=60).texts).texts()
    asked = probe.aligned(labels)
    assert asked is not None
    assert asked.labels == labels
    before = [[(s.start, s.end, s.label) for s in one.spans] for one in probe.predict(vectors)]
    after = [[(s.start, s.end, s.label) for s in one.spans] for one in asked.predict(vectors)]
    same = [(one, other) for one, other in zip(before, after, strict=True) if {s[2] for s in one} <= set(labels)]
    assert {span[2] for one, _ in same for span in one} == {"name", "time"} & set(labels)
    assert all(one == other for one, other in same)


def test_a_probe_that_knows_none_of_the_labels_is_not_used(probe: SpanProbe) -> None:
    assert probe.aligned(("name", "time")) is probe
    assert probe.aligned(("place",)) is None


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_broken_file_is_refused(tmp_path: Path, probe: SpanProbe, content: bytes | None) -> None:
    file = tmp_path / "probe.safetensors"
    if content is None:
        probe.save(file)
        file.write_bytes(file.read_bytes()[:-10])
    else:
        file.write_bytes(content)
    with pytest.raises(LearningError, match="can't be read as a span probe"):
        SpanProbe.load(file)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"weights": np.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(LearningError, match="not a span probe"):
        SpanProbe.load(tmp_path / "other.safetensors")


def test_without_a_text_it_says_nothing(encoder: TokenEncoder) -> None:
    empty = SpanProbe.fit([], [], ("name", "time"))
    (found,) = empty.predict(encoder.tokens(["bob at 7 pm"]).texts())
    assert found.spans == ()
    assert found.uncertainty > 0.4


def test_texts_without_tokens_neither_teach_nor_fail(encoder: TokenEncoder) -> None:
    blank = SpanProbe.fit(encoder.tokens(["", " "]).texts(), [(), ()], ("name",))
    assert [one.spans for one in blank.predict(encoder.tokens(["", "bob"]).texts())] == [(), ()]


def test_vectors_of_another_encoder_are_refused(probe: SpanProbe) -> None:
    other = TokenVectors(np.array([[0, 1]], np.int64), np.ones((1, 7), np.float16))
    with pytest.raises(LearningError, match="takes vectors of 32, not 7 numbers"):
        probe.predict([other])


def test_many_texts_are_thinned_evenly(encoder: TokenEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    train = bookings(60)
    vectors = encoder.tokens(train.texts).texts()
    monkeypatch.setattr(probe_module, "MOST", 100)
    seen = []

    def noting(rows: Any) -> Any:
        seen.append(len(rows))
        return features(rows)

    monkeypatch.setattr(probe_module, "features", noting)
    SpanProbe.fit(vectors, train.spans, train.labels)
    assert 80 <= sum(seen) <= 110


def test_a_unit_is_read_with_its_neighbours() -> None:
    rows = features(np.eye(3, dtype=np.float16))
    assert rows.shape == (3, 9)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1)
    assert np.flatnonzero(rows[1]).tolist() == [0, 4, 8]
    assert np.flatnonzero(rows[0]).tolist() == [3, 7]


def test_a_batch_gives_what_single_texts_give(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    texts = [*bookings(20).texts, "", "bob at 7 pm " * 20]
    together = TokenEncoder(tiny_encoder, tmp_path).tokens(texts).texts()
    for text, one in zip(texts, together, strict=True):
        (alone,) = TokenEncoder(tiny_encoder, tmp_path).tokens([text]).texts()
        assert np.array_equal(alone.bounds, one.bounds)
        assert np.allclose(alone.vectors, one.vectors, atol=2e-3)


def test_what_it_has_never_seen_is_doubtful(encoder: TokenEncoder) -> None:
    train, warm = bookings(60), None
    overlapping = tuple((*spans, Span(spans[0].start, spans[0].end - 1, "name")) for spans in train.spans)
    for count in (20, 21, 60):
        some = replace(train, spans=overlapping).take(range(count)).without_overlaps()[0]
        warm = SpanProbe.fit(encoder.tokens(some.texts).texts(), some.spans, some.labels, warm=warm)
    assert warm is not None
    found = warm.predict(encoder.tokens([*bookings(30, first=60).texts, ""]).texts())
    assert span_f1([one.spans for one in found[:-1]], bookings(30, first=60).spans) > 0.95
    assert found[-1].uncertainty == 0
    assert all(0 <= one.uncertainty <= 1 for one in found)
    known, strange = warm.predict(encoder.tokens(["for bob at 7 pm", "qqj x5 vv bob zz9"]).texts())
    assert strange.uncertainty > known.uncertainty
