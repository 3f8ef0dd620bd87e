"""A picture that can't be read makes no vector: nothing is kept in its place, and it is asked for again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.data.image_files import data_url
from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.fusion import FusedEncoder, FusionHead
from nextlabel.backend.encoders.multimodal import SILENT, WINDOW
from nextlabel.connectors.content import Content, Readable
from nextlabel.connectors.errors import LearningError
from tests.backend.multimodal.picture_server import Colours, PictureServer, colours, png

pytestmark = pytest.mark.usefixtures("fresh_lookups")


@pytest.fixture
def server() -> Iterator[PictureServer]:
    made = PictureServer()
    yield made
    made.close()


def about(server: PictureServer, *numbers: int) -> list[Readable]:
    return [Content("words", (server.url(number),)) for number in numbers]


def test_what_is_missing_is_not_kept_and_asked_for_again_when_told_to(server: PictureServer, tmp_path: Path) -> None:
    encoder = colours(tmp_path)
    cache = EmbeddingCache.open(tmp_path / "embeddings", encoder)
    texts = [*about(server, 0, 1), "words alone", Content("", (server.url(2),)), *about(server, 3)]
    server.away = True
    assert (cache.ensure(texts, encoder) >= 0).tolist() == [False, False, True, False, False]
    server.away, before = False, server.asked.copy()
    assert (cache.ensure(texts, encoder) < 0).sum() == 4, "not asked for each time"
    assert server.asked == before
    server.broken = {3}
    encoder.look_again(texts)
    assert server.asked - before == {0: 1, 1: 1, 2: 1, 3: 1}
    assert encoder.problem(texts[0]) is None
    assert "no image" in str(encoder.problem(texts[4]))
    assert (cache.ensure(texts, encoder) < 0).tolist() == [False, False, False, False, True]
    with pytest.raises(LearningError, match="1 of 5 records have a picture that can't be read"):
        cache.vectors(texts, encoder)
    later = colours(tmp_path)
    assert (cache.ensure(texts, later) < 0).sum() == 1
    later.look_again(texts)
    assert server.asked - before == {0: 1, 1: 1, 2: 1, 3: 3}, "only what failed is fetched again"


def test_one_picture_of_two_is_not_half_a_record(server: PictureServer, tmp_path: Path) -> None:
    server.broken = {1}
    row, whole = colours(tmp_path).encode(
        [Content("a", (server.url(0), server.url(1))), Content("a", (server.url(0),))]
    )
    assert np.isnan(row).all()
    assert np.linalg.norm(whole) == pytest.approx(1, abs=1e-5)


def test_a_host_that_is_away_is_not_asked_for_all_of_its_pictures(server: PictureServer, tmp_path: Path) -> None:
    encoder = colours(tmp_path)
    cache = EmbeddingCache.open(tmp_path / "embeddings", encoder)
    server.away = True
    texts = about(server, *range(200))
    assert (cache.ensure(texts, encoder) < 0).all()
    assert SILENT <= len(server.asked) <= SILENT + WINDOW
    assert "gives no answer just now" in str(encoder.problem(texts[-1]))
    encoder.look_again(texts, stopping=lambda: True)
    assert len(encoder.unread) == 200, "it stays so where there is no time to look"
    server.away, server.asked = False, Counter()
    encoder.look_again(texts)
    assert set(server.asked.values()) == {1}
    assert (cache.ensure(texts, encoder) >= 0).all()


def test_nor_does_a_fused_model_make_a_vector_of_half_a_record(server: PictureServer, tmp_path: Path) -> None:
    base = colours(tmp_path)
    width, rng = 4, np.random.default_rng(0)
    sizes = {"hidden": (width, base.text.dimension + 3), "out": (2, width)}
    weights = {f"{name}.weight": rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    weights |= {f"{name}.bias": np.ones(size[0], np.float32) for name, size in sizes.items()}
    head = FusionHead("concatenation", weights, ("a", "b"), SOFTMAX, base.text.dimension, 3)
    fused = FusedEncoder("fused", base, head, "digest")
    server.away = True
    texts = [*about(server, 0), "words alone"]
    unread, words = fused.encode(texts)
    assert np.isnan(unread).all()
    assert np.isfinite(words).all()
    assert fused.problem(texts[0]) is not None
    server.away = False
    fused.look_again(texts)
    assert np.isfinite(fused.encode(texts)).all()


def test_requests_know_what_the_service_has_read_and_say_what_can_not_be(server: PictureServer, tmp_path: Path) -> None:
    encoder = colours(tmp_path)
    encoder.encode(about(server, 0))
    strict = encoder.for_requests()
    server.broken = {3}
    known, new, broken, words, file = strict.fetched([*about(server, 0, 1, 3), "words", Content("", ("/etc/passwd",))])
    assert server.asked == {0: 1, 1: 1, 3: 1}, "an internal host that is allowed, and what is known is not asked for"
    assert words == "words"
    assert "no image" in str(broken)
    assert "refused" in str(file)
    assert isinstance(known, Content)
    assert isinstance(new, Content)
    first, second = strict.encode([known, new])
    assert np.allclose(first, encoder.encode(about(server, 0))[0], atol=2e-3)
    assert np.isfinite(second).all()
    server.broken = set()
    assert isinstance(strict.fetched(about(server, 3))[0], Content), "a request asks anew"


def test_a_host_that_is_not_allowed_says_how_it_would_be(server: PictureServer, tmp_path: Path) -> None:
    encoder = colours(tmp_path, ImageRules())
    texts = about(server, 0)
    assert np.isnan(encoder.encode(texts)).all()
    problem = encoder.problem(texts[0])
    assert problem is not None
    assert problem.fix == "name 127.0.0.1 in NEXTLABEL_IMAGE_HOSTS, if it is meant to be read"
    assert not server.asked


def test_only_pictures_may_be_missing(tmp_path: Path) -> None:
    class Broken(Colours):
        def encode(self, images: object) -> Any:
            return np.full((1, 3), np.inf, np.float32)

    encoder = colours(tmp_path)
    encoder.image = Broken()
    with pytest.raises(LearningError, match="not finite"):
        encoder.encode([Content("", (data_url(png("red")),))])
