"""The index from digests to rows, against a dict."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextlabel.backend.encoders import cache
from nextlabel.backend.encoders.cache import DigestIndex, digests

# Few different halves, so that digests repeat, and different ones share their first half.
HALF = st.sampled_from([b"\0" * 8, b"\xff" * 8, b"abcdefgh", b"hgfedcba"])
DIGEST = st.tuples(HALF, HALF).map(b"".join)


@pytest.fixture(scope="module", autouse=True)
def small_recent() -> object:
    before, cache.RECENT = cache.RECENT, 5
    yield
    cache.RECENT = before


@settings(max_examples=300)
@given(st.lists(st.lists(DIGEST, max_size=12), max_size=8))
def test_it_finds_the_first_row_of_every_digest(additions: list[list[bytes]]) -> None:
    index = DigestIndex()
    rows: dict[bytes, int] = {}
    count = 0
    for added in additions:
        index.extend(b"".join(added))
        for digest in added:
            rows.setdefault(digest, count)
            count += 1
        everything = [
            a + b for a in (b"\0" * 8, b"\xff" * 8, b"abcdefgh", b"hgfedcba", b"elsewhre") for b in (a, a[::-1])
        ]
        everything += list(rows)
        assert index.find(everything).tolist() == [rows.get(digest, -1) for digest in everything]
        assert len(index) == count


def test_an_empty_index_finds_nothing() -> None:
    assert DigestIndex().find([]).tolist() == []
    assert DigestIndex().find([b"0" * 16]).tolist() == [-1]


def test_digests_tell_texts_apart_that_look_alike() -> None:
    texts = ["", " ", "a", "a ", "\ud800", "\ud801", "é", "e\u0301"]
    assert len(set(digests(texts))) == len(texts)
