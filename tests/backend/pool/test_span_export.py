"""Spans as CoNLL columns and as spaCy's DocBin: read back, they are the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextlabel.backend.data.span_examples import longest_apart
from nextlabel.backend.pool.span_export import Marked, tagged, write_conll, write_spacy
from nextlabel.connectors.records import Span

TEXT = "Anna Lee's boat sank in Río 😀 today."
SPANS = (Span(0, 8, "PER"), Span(24, 27, "LOC"), Span(0, 4, "PER"), Span(28, 29, "MOOD"))


def test_conll(tmp_path: Path) -> None:
    done = write_conll([Marked(TEXT, SPANS), Marked("Nothing", ())], tmp_path / "a.conll")
    assert (done.texts, done.spans, done.lost) == (2, 3, 1)
    first, second, rest = (tmp_path / "a.conll").read_text(encoding="utf-8").split("\n\n")
    assert [tuple(line.split()) for line in first.splitlines()] == [
        ("Anna", "B-PER"), ("Lee", "I-PER"), ("'", "O"), ("s", "O"), ("boat", "O"), ("sank", "O"), ("in", "O"),
        ("Río", "B-LOC"), ("😀", "B-MOOD"), ("today", "O"), (".", "O"),
    ]  # fmt: skip
    assert (second, rest) == ("Nothing O", "")


@given(st.text("ab .é", max_size=30), st.data())
def test_no_mark_is_lost_wherever_it_begins(text: str, data: st.DataObject) -> None:
    edges = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)), st.sampled_from("XY"))
    spans = [Span(min(a, b), max(a, b), label) for a, b, label in data.draw(st.lists(edges, max_size=4)) if a != b]
    kept = longest_apart(spans)
    found = list(tagged(text, kept))
    assert "".join(token for token, _ in found) == "".join(text.split())
    words = [span for span in kept if text[span.start : span.end].strip()]
    assert [tag[2:] for _, tag in found if tag.startswith("B")] == [span.label for span in words]
    marked = "".join(token for token, tag in found if tag != "O")
    assert marked == "".join("".join(text[span.start : span.end].split()) for span in words)


def test_spacy(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    done = write_spacy([Marked(TEXT, SPANS), Marked("Nothing", ())], tmp_path / "a.spacy", ("PER", "LOC", "MOOD"))
    assert (done.texts, done.spans, done.lost) == (2, 3, 1)
    docs = list(DocBin().from_disk(tmp_path / "a.spacy").get_docs(spacy.blank("xx").vocab))
    assert [doc.text for doc in docs] == [TEXT, "Nothing"]
    assert [(one.start_char, one.end_char, one.label_) for one in docs[0].ents] == [
        (0, 8, "PER"), (24, 27, "LOC"), (28, 29, "MOOD"),
    ]  # fmt: skip
    write_spacy([Marked("good", ("b",))], tmp_path / "b.spacy", ("a", "b"))
    [doc] = DocBin().from_disk(tmp_path / "b.spacy").get_docs(spacy.blank("xx").vocab)
    assert doc.cats == {"a": 0.0, "b": 1.0}
