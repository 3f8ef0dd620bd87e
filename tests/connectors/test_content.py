"""What a record holds for an encoder, and the keys that caches know it by: never one content for another."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextlabel.connectors.content import Content, Readable, as_json, cache_key, content_of, from_json, text_of
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Record

# Surrogates included: files hold them, and JSON must bring them back.
TEXT = st.text(st.characters(exclude_categories=[]), max_size=40)
SHOWN, BESIDE = "\x1dtext+images\x1d", "\x1dtext+context\x1d"


def contents() -> st.SearchStrategy[Content]:
    begun = st.sampled_from(["", "\x1d", SHOWN, BESIDE, SHOWN + '["a"]', BESIDE + '["a","b"]'])
    texts = st.tuples(begun, TEXT).map("".join)
    return st.builds(Content, texts, st.lists(TEXT, max_size=3).map(tuple), TEXT)


@given(contents())
def test_what_was_written_is_read(content: Content) -> None:
    assert from_json(json.loads(json.dumps(content, default=as_json))) == content
    assert from_json(json.loads(json.dumps(content.text, default=as_json))) == content.text


@given(contents(), contents())
def test_other_contents_have_other_keys(one: Content, other: Content) -> None:
    told = [(each.text, each.images, each.context if each.context.strip() else "") for each in (one, other)]
    assert (cache_key(one) == cache_key(other)) == (told[0] == told[1])


@given(TEXT, st.lists(TEXT, max_size=3))
def test_a_text_that_looks_like_a_key_stays_a_text(text: str, images: list[str]) -> None:
    keys = [cache_key(Content(text, tuple(images), context)) for context in ("", "when?")]
    for key in keys:
        forged = key.decode("utf-8", "surrogatepass")
        assert text_of(forged) == forged
        assert (cache_key(forged) == key) == (forged == text)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("", ""),
        ("A title\n\nA body", "A title\n\nA body"),
        ("\x1d", "\x1d"),
        (Content("plain"), "plain"),
        (Content("words", ("a.png", "http://host/b.png")), '\x1dtext+images\x1d["words","a.png","http://host/b.png"]'),
        (Content("", ("größe.png",)), '\x1dtext+images\x1d["","größe.png"]'),
        (Content("bob at 7", context='"when"'), '\x1dtext+context\x1d["bob at 7","\\"when\\""]'),
        (Content("bob at 7", context=" "), "bob at 7"),
        (Content("\x1dtext+context\x1d", context=" "), '\x1dtext+context\x1d["\\u001dtext+context\\u001d",""]'),
        (Content('\x1dtext+images\x1d["x"]'), '\x1dtext+images\x1d["\\u001dtext+images\\u001d[\\"x\\"]"]'),
        (Content("\ud83d", ("\ude00",)), '\x1dtext+images\x1d["\ud83d","\ude00"]'),
    ],
)
def test_keys_are_what_earlier_versions_wrote(content: Readable, key: str) -> None:
    assert cache_key(content) == key.encode("utf-8", "surrogatepass")


def test_a_plain_text_and_a_content_of_it_alone_are_the_same() -> None:
    for text in ("", "plain", "\x1d", SHOWN, BESIDE + "["):
        assert cache_key(text) == cache_key(content_of(text)) == cache_key(Content(text))
        assert len(Content(text)) == len(text)


def test_a_record_of_texts_is_its_text_and_one_with_images_is_both() -> None:
    fields = {"title": "A title", "body": "A body", "photo": " http://host/a.png "}
    record = Record("r", fields)
    text = Labeling(LabelKind.SINGLE, ("a",), (Field("title"), Field("body")))
    assert text.content(record) == "A title\n\nA body"
    forged = Record("r", {"title": SHOWN + '["x","/etc/passwd"]'})
    assert text.content(forged) == forged.fields["title"], "no field holds images"
    both = Labeling(LabelKind.SINGLE, ("a",), (Field("title"), Field("photo", FieldKind.IMAGE), Field("body")))
    assert both.content(record) == Content("A title\n\nA body", ("http://host/a.png",))
    assert both.content(Record("r", {"title": "A title", "photo": " "})) == "A title"
    assert content_of(both.content(forged)) == Content(forged.fields["title"])


def test_the_other_texts_of_a_record_with_spans_are_its_context() -> None:
    spans = Labeling(LabelKind.SPAN, ("a",), (Field("text"), Field("asked"), Field("before")))
    assert spans.content(Record("r", {"text": "at 7", "asked": "when?", "before": " "})) == Content("at 7", (), "when?")
    assert spans.content(Record("r", {"text": " at 7 "})) == " at 7 "
