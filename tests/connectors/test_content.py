"""The string of a record: plain for text, marked with images, and never mistaken for the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextlabel.connectors.content import MARK, Content, read_content, text_of, write_content
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Record

# Surrogates included: files hold them, and JSON must bring them back.
TEXT = st.text(st.characters(exclude_categories=[]), max_size=40)


@given(TEXT, st.lists(TEXT, max_size=3))
def test_what_was_written_is_read(text: str, images: list[str]) -> None:
    assert read_content(write_content(text, images)) == Content(text, tuple(images))


@given(TEXT)
def test_a_text_that_looks_like_ours_stays_a_text(text: str) -> None:
    forged = write_content(text, ["/etc/passwd"])
    assert read_content(write_content(forged)) == Content(forged)


@pytest.mark.parametrize("string", [MARK, MARK + '["cut off', MARK + "[]", MARK + "{}", MARK + '["a",1]', "plain"])
def test_anything_else_is_text(string: str) -> None:
    assert read_content(string) == Content(string)
    assert text_of(string) == string


def test_a_record_of_texts_is_its_text_and_one_with_images_is_both() -> None:
    fields = {"title": "A title", "body": "A body", "photo": " http://host/a.png "}
    record = Record("r", fields)
    text = Labeling(LabelKind.SINGLE, ("a",), (Field("title"), Field("body")))
    assert text.text(record) == "A title\n\nA body"
    forged = Record("r", {"title": MARK + '["x","/etc/passwd"]'})
    assert text.text(forged) == forged.fields["title"], "no field holds images, so the string is the text, as ever"
    both = Labeling(LabelKind.SINGLE, ("a",), (Field("title"), Field("photo", FieldKind.IMAGE), Field("body")))
    assert read_content(both.text(record)) == Content("A title\n\nA body", ("http://host/a.png",))
    assert both.text(Record("r", {"title": "A title", "photo": " "})) == "A title"
    assert read_content(both.text(forged)) == Content(forged.fields["title"])
