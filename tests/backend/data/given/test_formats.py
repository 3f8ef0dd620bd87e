"""Files of answers are read by what they are; what can't be taken is told by its row."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.data.given import FORMATS, Fault, GivenRow, Reading, Wanted, open_given
from nextlabel.backend.data.given.from_texts import spans_of_tags
from nextlabel.backend.data.reading import ReadingOptions
from nextlabel.connectors.errors import ConfigError, DataError
from nextlabel.connectors.records import AnnotationStatus, Span

SINGLE = Wanted("label", ("sport", "politics"), {"text": "text"})
MULTI = Wanted("label", ("late", "rude"), {"text": "text"}, several=True)
MARKS = Wanted("label", ("PER", "LOC"), {"text": "text"}, marks=True)
Write = Callable[[str, object], str]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Writes a text, or rows as JSON lines (``.jsonl``) or as an array; returns the file's name."""

    def write(name: str, content: object) -> str:
        if name.endswith(".jsonl"):
            assert isinstance(content, list)
            content = "".join(json.dumps(one) + "\n" for one in content)
        elif not isinstance(content, str):
            content = json.dumps(content)
        (tmp_path / name).write_text(content, encoding="utf-8")
        return str(tmp_path / name)

    return write


def taken(reading: Reading) -> list[GivenRow]:
    found = list(reading.rows)
    assert not [one for one in found if isinstance(one, Fault)]
    return [one for one in found if isinstance(one, GivenRow)]


def values(reading: Reading) -> list[Any]:
    return [one.value for one in taken(reading)]


def faults(reading: Reading) -> dict[int, str]:
    return {one.number: one.reason for one in reading.rows if isinstance(one, Fault)}


# -- tables ------------------------------------------------------------------------------------------------------------


def test_one_label_column(written: Write):
    reading = open_given(written("a.csv", "text,label\none,sport\ntwo,\nthree,politics\n"), SINGLE)
    assert [(one.number, one.fields["text"], one.value, one.annotator) for one in taken(reading)] == [
        (2, "one", ("sport",), ""),
        (4, "three", ("politics",), ""),
    ]
    assert (reading.format, reading.what, reading.unanswered) == ("table", "line", 1)
    assert "'label'" in reading.form


def test_a_column_per_annotator(written: Write):
    wanted = Wanted("label", SINGLE.labels, SINGLE.fields, id="id", annotator_columns=("a*",))
    reading = open_given(written("a.csv", "id,anna,alex,other\n1,sport,politics,x\n2,sport,,x\n"), wanted)
    got = [(one.ids, one.annotator, one.value) for one in taken(reading)]
    assert got == [(("1",), "anna", ("sport",)), (("1",), "alex", ("politics",)), (("2",), "anna", ("sport",))]


def test_a_row_per_answer_with_who_and_when(written: Write):
    rows = "text,worker,answer,timestamp\none,anna,sport,2026-03-01T10:00:00\none,ben,politics,1767225600\n"
    reading = open_given(written("a.csv", rows), SINGLE)
    anna, ben = taken(reading)
    assert (anna.annotator, anna.when) == ("anna", datetime(2026, 3, 1, 10, tzinfo=UTC))
    assert (ben.annotator, ben.when) == ("ben", datetime(2026, 1, 1, tzinfo=UTC))
    assert "annotators in 'worker'" in reading.form
    assert "times in 'timestamp'" in reading.form


def test_rows_that_say_nothing_are_told_by_their_line(written: Write):
    rows = "text,annotator,label,time\none,,sport,\ntwo,anna,sport,yesterday\nthree,anna,sport,2026-01-01\n"
    reading = open_given(written("a.csv", rows), SINGLE)
    assert faults(reading) == {
        2: "nobody is named in the column 'annotator'",
        3: "Invalid isoformat string: 'yesterday'",
    }


def test_several_labels_in_a_cell_in_a_list_or_in_columns(written: Write):
    parted = Wanted("label", MULTI.labels, MULTI.fields, several=True, separator=";")
    assert values(open_given(written("a.csv", "text,label\none,late;rude\ntwo,rude\n"), parted)) == [
        ("late", "rude"),
        ("rude",),
    ]
    listed = written("a.jsonl", [{"text": "one", "answer": ["late"]}, {"text": "two", "answer": []}])
    assert values(open_given(listed, MULTI)) == [("late",)]
    none = Wanted("label", MULTI.labels, MULTI.fields, several=True, empty_is_none=True)
    assert values(open_given(listed, none)) == [("late",), ()]
    flags = Wanted("label", MULTI.labels, MULTI.fields, several=True, flags=("late", "rude"))
    assert values(open_given(written("b.csv", "text,late,rude\none,1,0\ntwo,0,0\nthree,,\n"), flags)) == [("late",), ()]


def test_spans_in_a_cell(written: Write):
    content = 'text,label\nAda in Rome,"[[0, 3, ""PER""], [7, 11, ""LOC""]]"\nno,none\n'
    reading = open_given(written("a.csv", content), MARKS)
    found = list(reading.rows)
    assert isinstance(found[0], GivenRow)
    assert found[0].value == (Span(0, 3, "PER"), Span(7, 11, "LOC"))
    assert isinstance(found[1], Fault)


def test_what_nextlabel_exported(written: Write):
    rows = (
        "uid,annotation,annotator,annotator_id,status,answer,updated_at,seen_version\n"
        "u1,7,anna@x.org,3,submitted,late|rude,2026-03-01T10:00:00+00:00,\n"
        "u2,8,anna@x.org,3,skipped,,2026-03-01T10:00:00+00:00,\n"
        "u3,9,anna@x.org,3,draft,late,2026-03-01T10:00:00+00:00,\n"
    )
    reading = open_given(written("a.csv", rows), MULTI)
    first, second = taken(reading)
    assert reading.format == "nextlabel"
    assert (first.ids, first.value, first.annotator) == (("u1",), ("late", "rude"), "anna@x.org")
    assert second.status is AnnotationStatus.SKIPPED


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text,verdict\none,sport\n", "which column has the answers"),
        ("words,label\none,sport\n", "which records the answers are about"),
    ],
)
def test_a_table_that_does_not_say_enough_is_refused_with_the_way_on(written: Write, content: str, said: str):
    with pytest.raises(DataError, match=said):
        open_given(written("a.csv", content), SINGLE)


# -- exports -----------------------------------------------------------------------------------------------------------


def region(kind: str, name: str = "label", **value: object) -> dict[str, object]:
    return {"from_name": name, "to_name": "text", "type": kind, "value": value}


def test_label_studio(written: Write):
    given = [
        {
            "id": 5,
            "completed_by": 2,
            "result": [region("choices", choices=["sport"])],
            "updated_at": "2026-03-01T10:00Z",
        },
        {"id": 6, "completed_by": {"id": 3, "email": "ben@x.org"}, "result": [], "was_cancelled": True},
        {"id": 7, "completed_by": 4, "result": [region("rating", rating=3)]},
    ]
    task = {"id": 1, "data": {"text": "one", "nextlabel_uid": "u1"}, "annotations": given, "predictions": []}
    empty = {"id": 2, "data": {"text": "two"}, "annotations": []}
    reading = open_given(written("a.json", [task, empty]), SINGLE)
    first, skip, odd = list(reading.rows)
    assert isinstance(first, GivenRow)
    assert (first.ids, first.fields["text"], first.value, first.annotator) == (("u1",), "one", ("sport",), "2")
    assert isinstance(skip, GivenRow)
    assert (skip.annotator, skip.status) == ("ben@x.org", AnnotationStatus.SKIPPED)
    assert isinstance(odd, Fault)
    assert "rating" in odd.reason
    assert (reading.format, reading.unanswered) == ("label-studio", 1)


def test_label_studio_asks_which_of_several_questions(written: Write):
    both = [region("choices", "tone", choices=["rude"]), region("choices", "topic", choices=["sport"])]
    task = {"data": {"text": "one"}, "annotations": [{"completed_by": 1, "result": both}]}
    assert "name the one with --label" in faults(open_given(written("a.json", [task]), SINGLE))[1]
    topic = Wanted("topic", SINGLE.labels, SINGLE.fields)
    assert values(open_given(written("a.json", [task]), topic)) == [("sport",)]


def test_label_studio_spans(written: Write):
    marked = [region("labels", start=0, end=3, text="Ada", labels=["PER"])]
    page = [
        region(
            "hypertextlabels",
            start="/p[1]",
            end="/p[1]",
            globalOffsets={"start": 7, "end": 11},
            hypertextlabels=["LOC"],
        )
    ]
    tasks = [
        {"data": {"text": "Ada in Rome"}, "annotations": [{"completed_by": 1, "result": one}]} for one in (marked, page)
    ]
    assert values(open_given(written("a.json", tasks), MARKS)) == [(Span(0, 3, "PER"),), (Span(7, 11, "LOC"),)]


def test_label_studio_min(written: Write):
    common = {"annotation_id": 1, "lead_time": 1.5, "created_at": "2026-03-01T10:00:00Z"}
    rows = [
        {"id": 1, "text": "one", "topic": "sport", "annotator": 2, **common},
        {"id": 2, "text": "two", "annotator": 2, **common},
    ]
    reading = open_given(written("a.json", rows), SINGLE)
    assert [(one.value, one.annotator) for one in taken(reading)] == [(("sport",), "2")]
    several = [{"id": 1, "text": "one", "label": {"choices": ["late", "rude"]}, "annotator": 2, **common}]
    assert values(open_given(written("b.json", several), MULTI)) == [("late", "rude")]
    marks = [
        {"text": "Ada", "tags": [{"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]}], "annotator": 2, **common}
    ]
    assert values(open_given(written("c.json", marks), MARKS)) == [(Span(0, 3, "PER"),)]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"choices": [["rude", "slur"], ["late"]]}, ("rude > slur", "late")),
        ({"choices": [["rude"], ["rude", "slur"], ["rude", "threat"]]}, ("rude > slur", "rude > threat")),
        (["rude", "slur"], ("rude > slur",)),  # one place, by its parts
        ({"choices": ["late", "rude > slur"]}, ("late", "rude > slur")),  # side by side
        ([{"taxonomy": [["rude", "slur"], ["late"]]}], ("rude > slur", "late")),
        ([{"taxonomy": [["people", "late"]]}], ("late",)),  # a tree of the project alone
    ],
)
def test_places_in_a_tree_as_label_studio_exports_them(written: Write, answer: Any, says: tuple[str, ...]):
    """As 1.23.2 writes them: JSON-MIN as they are, CSV the same as JSON in a cell."""
    tree = replace(MULTI, labels=("rude > slur", "rude > threat", "late"))
    row = {"id": 1, "text": "one", "label": answer, "annotator": 2, "annotation_id": 1, "lead_time": 1.5}
    assert values(open_given(written("a.json", [row]), tree)) == [says]
    assert values(open_given(written("b.json", [row]), replace(tree, question="other"))) == [says]
    cell = json.dumps(answer).replace('"', '""')
    assert values(open_given(written("c.csv", f'text,label\none,"{cell}"\n'), replace(tree, label="label"))) == [says]


def test_argilla_records(written: Write):
    responses = {
        "label": [{"value": "sport", "user_id": "U1"}, {"value": None, "user_id": "U2", "status": "discarded"}]
    }
    record = {"id": "u1", "fields": {"text": "one"}, "responses": responses, "suggestions": {}, "_server_id": "r1"}
    first, second = taken(open_given(written("a.json", [record]), SINGLE))
    assert (first.ids, first.value, first.annotator) == (("u1", "r1"), ("sport",), "U1")
    assert second.status is AnnotationStatus.SKIPPED


def test_argilla_spans_count_as_browsers_do(written: Write):
    """An emoji is two units there, and one character here."""
    responses = {"label": [{"value": [{"start": 3, "end": 6, "label": "PER"}], "user_id": "U1"}]}
    record = {"id": "u1", "fields": {"text": "😀 Ada"}, "responses": responses}
    assert values(open_given(written("a.json", [record]), MARKS)) == [(Span(2, 5, "PER"),)]


def test_doccano(written: Write):
    rows = [{"id": 1, "text": "one", "label": ["sport"]}, {"id": 2, "text": "two", "label": []}]
    reading = open_given(written("a.jsonl", rows), SINGLE)
    assert (values(reading), reading.format, reading.unanswered) == ([("sport",)], "doccano", 1)
    marks = [{"id": 1, "text": "Ada in Rome", "label": [[0, 3, "PER"]]}]
    assert values(open_given(written("b.jsonl", marks), MARKS)) == [(Span(0, 3, "PER"),)]
    entities = [{"id": 4, "label": "LOC", "start_offset": 7, "end_offset": 11}]
    relations = [{"text": "Ada in Rome", "entities": entities, "relations": []}]
    assert values(open_given(written("c.jsonl", relations), MARKS)) == [(Span(7, 11, "LOC"),)]
    assert "marks parts" in faults(open_given(written("d.jsonl", marks), SINGLE))[1]


def test_prodigy(written: Write):
    hashes = {"_input_hash": 1, "_task_hash": 2, "_annotator_id": "sets-anna", "_timestamp": 1767225600}
    options = [{"id": "sport", "text": "Sport"}, {"id": "politics", "text": "Politics"}]
    rows = [
        {"text": "one", "accept": ["sport"], "options": options, "answer": "accept", **hashes},
        {"text": "two", "label": "politics", "answer": "accept", **hashes},
        {"text": "three", "label": "politics", "answer": "reject", **hashes},
        {"text": "four", "accept": [], "options": options, "answer": "ignore", **hashes},
    ]
    reading = open_given(written("a.jsonl", rows), SINGLE)
    found = list(reading.rows)
    assert [one.value for one in found if isinstance(one, GivenRow)] == [("sport",), ("politics",), ()]
    assert isinstance(found[2], Fault)
    assert isinstance(found[3], GivenRow)
    assert (found[3].status, found[3].annotator) == (AnnotationStatus.SKIPPED, "sets-anna")
    spans = [{"start": 0, "end": 3, "token_start": 0, "token_end": 0, "label": "PER"}]
    marks = [{"text": "Ada in Rome", "spans": spans, "answer": "accept", **hashes}]
    assert values(open_given(written("b.jsonl", marks), MARKS)) == [(Span(0, 3, "PER"),)]


def test_conll(written: Write):
    ada = "# id = u1\nAda NNP B-PER\nLovelace NNP I-PER\nin IN O\nRome NNP B-LOC\n"
    text = f"-DOCSTART- -X- -X- O\n\n{ada}\nno DT O\n\nodd\n"
    reading = open_given(written("a.conll", text), MARKS)
    first, second, odd = list(reading.rows)
    assert isinstance(first, GivenRow)
    assert (first.text, first.ids, first.number) == ("Ada Lovelace in Rome", ("u1",), 4)
    assert first.value == (Span(0, 12, "PER"), Span(16, 20, "LOC"))
    assert isinstance(second, GivenRow)
    assert second.value == ()
    assert isinstance(odd, Fault)
    assert "line 11 has no tag" in odd.reason


def test_tokens_and_tags_in_a_text_file_are_known_by_what_they_are(written: Write):
    assert open_given(written("a.txt", "Ada\tB-PER\nruns\tO\n\n"), MARKS).format == "conll"
    assert open_given(written("a.tsv", "text\tlabel\nAda\t[]\n"), MARKS).format == "table"


@pytest.mark.parametrize(
    "tags",
    [("B-P", "I-P", "O", "B-P"), ("I-P", "I-P", "O", "I-P"), ("B-P", "L-P", "O", "U-P"), ("B-P", "E-P", "O", "S-P")],
)
def test_all_schemes_of_tags_say_the_same(tags: Sequence[str]):
    places = [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert spans_of_tags(tags, places) == (Span(0, 3, "P"), Span(6, 7, "P"))


def test_spacy_documents(tmp_path: Path):
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    nlp = spacy.blank("en")
    document = nlp("Ada Lovelace in Rome")
    document.ents = [document.char_span(0, 12, label="PER")]
    document.spans["sc"] = [document.char_span(16, 20, label="LOC")]
    labelled = nlp("one")
    labelled.cats = {"sport": 1.0, "politics": 0.0}
    for name, docs in (("marks.spacy", [document]), ("cats.spacy", [labelled])):
        DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / name)
    [found] = taken(open_given(str(tmp_path / "marks.spacy"), MARKS))
    assert (found.text, found.value) == ("Ada Lovelace in Rome", (Span(0, 12, "PER"), Span(16, 20, "LOC")))
    assert values(open_given(str(tmp_path / "cats.spacy"), SINGLE)) == [("sport",)]
    (tmp_path / "broken.spacy").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="no documents of spaCy"):
        open_given(str(tmp_path / "broken.spacy"), MARKS)


def test_a_format_may_be_said(written: Write):
    rows = [{"id": 1, "text": "one", "label": ["sport"]}]
    assert open_given(written("a.jsonl", rows), SINGLE, "table").format == "table"
    with pytest.raises(ConfigError, match="there are table"):
        open_given("a.csv", SINGLE, "excel")
    with pytest.raises(DataError, match="no such file"):
        open_given("missing.csv", SINGLE)
    assert "doccano" in FORMATS


def test_a_column_of_ids_has_to_be_there_if_somebody_named_it(written: Write):
    file = written("a.csv", "text,label\none,sport\n")
    assert values(open_given(file, replace(SINGLE, id="number"))) == [("sport",)], "the recipe's, of other data"
    with pytest.raises(DataError, match="no column 'number'"):
        open_given(file, replace(SINGLE, id="number", id_said=True))


def test_reading_options_hold(written: Write):
    wanted = Wanted(
        "label", SINGLE.labels, {"text": "column 1"}, label="column 2", options=ReadingOptions(header=False)
    )
    assert values(open_given(written("a.csv", "one;sport\n"), wanted)) == [("sport",)]
