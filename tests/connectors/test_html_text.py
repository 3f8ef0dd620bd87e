"""What is read of a web page: as Label Studio's page counts it, and as people read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextlabel.connectors.html_text import marked_text, readable_text
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Record

PAGE = """<!DOCTYPE html>
<html><head><title>a title</title><style>p {color: red}</style></head>
<body>
<h1>Hello&nbsp;&amp; 👩‍👧 Zoë</h1><p>first<br>second   line</p><style>b {x: y}</style><script>var a = 1;</script>
<pre>
 code</pre><!-- note --><table><tr><td>Name</td><td>Anna Smith</td></tr></table>
<p>met <b>Acme</b> Corp</p>
</body></html>
"""


@pytest.mark.parametrize(("phrase", "start"), [("Zoë", 13), ("Anna Smith", 53), ("Acme", 68)])
def test_places_are_those_that_the_page_stores(phrase: str, start: int) -> None:
    """The numbers are what a browser stored for these phrases."""
    assert marked_text(PAGE)[start : start + len(phrase)] == phrase


def test_people_read_lines_without_style_sheets() -> None:
    assert readable_text(PAGE).splitlines() == [
        "Hello & 👩‍👧 Zoë", "first", "second line", "code", "Name Anna Smith", "met Acme Corp"
    ]  # fmt: skip


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert isinstance(marked_text(text), str)
    assert readable_text(text) == readable_text(text).strip()


def test_a_plain_text_stays_as_it_is() -> None:
    assert marked_text("a < b & c\nd") == "a < b & c\nd"


def test_a_record_is_read_as_annotators_see_it() -> None:
    page, notes = Field("page", FieldKind.HTML), Field("notes", FieldKind.HTML)
    record = Record("u", {"page": "<p>a</p><p>b</p>", "notes": "<i>x</i><p>y</p>"})
    spans = Labeling(LabelKind.SPAN, ("A",), (page, notes))
    assert spans.seen(record) == {"page": "ab", "notes": "x\ny"}
    assert Labeling(LabelKind.SINGLE, ("A",), (page, notes)).content(record) == "a\nb\n\nx\ny"
