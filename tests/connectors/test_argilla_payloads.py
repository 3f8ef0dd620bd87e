"""Argilla's JSON and our words."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextlabel.connectors.argilla.config import NONE, Form
from nextlabel.connectors.argilla.payloads import (
    DATA_URL_LENGTH,
    WEB_URL_LENGTH,
    placed,
    read_event,
    read_record,
    read_response,
    read_responses,
    write_record,
    write_suggestion,
)
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import (
    Annotation,
    AnnotationStatus,
    Field,
    FieldKind,
    Hint,
    Labeling,
    LabelKind,
    Record,
    RemoteRecord,
    Span,
    Suggestion,
    spans_of,
)

LABELS = ("sport", "politics", "ثقافة", "🎬 film")
TEXT = frozenset({"text"})
SINGLE = Form(Labeling(LabelKind.SINGLE, LABELS), "label", "q", required=TEXT)
MULTI = Form(Labeling(LabelKind.MULTI, LABELS), "label", "q", required=TEXT, has_none=True)
BARE_MULTI = Form(Labeling(LabelKind.MULTI, LABELS), "label", "q", required=TEXT)
SPAN = Form(Labeling(LabelKind.SPAN, LABELS), "label", "q", "text", TEXT, overlapping=True)
STRICT_SPAN = Form(Labeling(LabelKind.SPAN, LABELS), "label", "q", "text", TEXT)
PHOTO = Form(
    Labeling(LabelKind.SINGLE, LABELS, (Field("text"), Field("photo", FieldKind.IMAGE))), "label", "q", required=TEXT
)

spans = st.builds(
    lambda start, length, label: Span(start, start + length, label),
    st.integers(0, 10**5),
    st.integers(1, 50),
    st.sampled_from(LABELS),
)
some_labels = st.lists(st.sampled_from(LABELS), unique=True).map(tuple)

RESPONSE = {
    "id": "r-1",
    "values": {"label": {"value": "sport"}},
    "status": "submitted",
    "user_id": "u-1",
    "updated_at": "2026-11-22T06:29:07.093071",
}


def event(kind: str, **data: Any) -> Hint:
    record = {"id": "rec-1", "dataset": {"id": "ds-1"}}
    body = {key: value for key, value in RESPONSE.items() if key != "user_id"}
    return read_event("ds-1", {"type": kind, "data": {**body, "record": record, "user": {"id": "u-1"}, **data}})


def answered(form: Form, suggestion: dict[str, Any]) -> Annotation:
    """What is read when somebody submits the suggestion as it stands."""
    found = read_response(form, "rec-1", {**RESPONSE, "values": {"label": {"value": suggestion["value"]}}})
    assert found is not None
    return found


@given(st.sampled_from(LABELS))
def test_a_label_that_is_submitted_as_suggested_is_read_back(label: str):
    written = write_suggestion(SINGLE, Suggestion((label,), 0.7, "m-1"))
    assert written == {"question_id": "q", "value": label, "score": 0.7, "agent": "nextlabel/m-1", "type": "model"}
    assert answered(SINGLE, written).value == (label,)


@given(some_labels)
def test_several_labels_have_a_score_each_and_are_read_back(labels: tuple[str, ...]):
    written = write_suggestion(MULTI, Suggestion(labels, 0.7, "m-1"))
    assert written is not None
    assert written["score"] == [0.7] * len(written["value"])
    assert written["value"] == (list(labels) or [NONE])
    assert answered(MULTI, written).value == labels


@given(st.lists(spans, max_size=6).map(tuple))
def test_spans_are_read_back_and_no_two_overlap_where_that_is_forbidden(value: tuple[Span, ...]):
    written = write_suggestion(SPAN, Suggestion(value, 0.7, "m-1"))
    assert written is not None
    assert answered(SPAN, written).value == value
    assert written["score"] == ([0.7] * len(value) or None)
    strict = write_suggestion(STRICT_SPAN, Suggestion(value, 0.7, "m-1"))
    assert strict is not None
    kept = answered(STRICT_SPAN, strict).value
    assert set(kept) <= set(value)
    assert kept[:1] == value[:1]
    for number, one in enumerate(kept):
        for other in kept[number + 1 :]:
            assert isinstance(one, Span)
            assert isinstance(other, Span)
            assert one.end <= other.start or other.end <= one.start


@given(st.text(st.sampled_from("aé👩🏽🎬\u200dم "), max_size=30), st.data())
def test_spans_are_counted_as_the_web_page_counts_and_read_back(text: str, data: st.DataObject):
    places = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted)
    value = tuple(Span(start, end, "sport") for start, end in data.draw(st.lists(places, max_size=4)) if start < end)
    suggestion = Suggestion(value, 0.7, "m-1")
    written = placed(SPAN, write_suggestion(SPAN, suggestion), {"text": text})
    assert written is not None
    units = text.encode("utf-16-le")
    fit = [span for span in value if len(text[: span.end].encode("utf-16-le")) // 2 <= len(text)]
    shown = [units[2 * one["start"] : 2 * one["end"]].decode("utf-16-le") for one in written["value"]]
    assert shown == [text[span.start : span.end] for span in fit]
    assert written["score"] == ([0.7] * len(fit) or None)
    response = {**RESPONSE, "values": {"label": {"value": written["value"]}}}
    found = read_response(SPAN, "rec-1", response, {"text": text})
    assert found is not None
    assert found.value == tuple(fit)


def test_an_offset_inside_an_emoji_or_behind_the_text_stays_within():
    value = [{"start": 1, "end": 9, "label": "sport"}]
    found = read_response(SPAN, "rec-1", {**RESPONSE, "values": {"label": {"value": value}}}, {"text": "👩a"})
    assert found is not None
    assert found.value == (Span(0, 2, "sport"),)


@pytest.mark.parametrize(
    ("written", "words"),
    [("2026-11-22T06:29:07.500000", "anna"), ("2026-11-22T06:20:00.000000", "anna"), ("2026-11-22T06:29:09", "")],
)
def test_which_words_were_marked_is_known_where_the_record_was_not_written_to_since(written: str, words: str):
    """Argilla itself writes to a record that an answer completes."""
    marked = {**RESPONSE, "values": {"label": {"value": [{"start": 3, "end": 7, "label": LABELS[0]}]}}}
    item = {"id": "rec-1", "fields": {"text": "to anna"}, "responses": [marked], "updated_at": written}
    [one] = read_responses(SPAN, item)
    assert isinstance(one, Annotation)
    assert [span.text for span in spans_of(one.value)] == [words]


def test_other_suggestions_are_the_same_wherever_they_are_placed():
    assert placed(SPAN, None, {"text": "👩"}) is None
    written = write_suggestion(SINGLE, Suggestion(("sport",), 0.7, "m"))
    assert placed(SINGLE, written, {"text": "👩"}) is written


def test_what_argilla_can_not_show_is_no_suggestion():
    assert write_suggestion(SINGLE, Suggestion((), 0.7, "m")) is None
    assert write_suggestion(BARE_MULTI, Suggestion((), 0.7, "m")) is None


@pytest.mark.parametrize(("score", "stored"), [(1.0000001, 1.0), (-1e-9, 0.0), (0.25, 0.25)])
def test_scores_stay_between_zero_and_one(score: float, stored: float):
    written = write_suggestion(SINGLE, Suggestion(("sport",), score, "m"))
    assert written is not None
    assert written["score"] == stored


@pytest.mark.parametrize("form", [SINGLE, MULTI])
def test_a_label_that_is_no_option_is_refused(form: Form):
    with pytest.raises(LabelingMismatch, match="economy"):
        write_suggestion(form, Suggestion(("economy",), 0.7, "m"))
    with pytest.raises(LabelingMismatch, match="economy"):
        write_suggestion(SPAN, Suggestion((Span(0, 1, "economy"),), 0.7, "m"))
    with pytest.raises(LabelingMismatch, match="no span"):
        write_suggestion(SPAN, Suggestion(("sport",), 0.7, "m"))


# -- records ---------------------------------------------------------------------------------------------------------


def listed(item: dict[str, Any], number: str = "7") -> dict[str, Any]:
    return {"id": number, **item}


def test_fields_that_are_not_read_tell_records_apart():
    def of(**fields: Any) -> str:
        return read_record(SINGLE, {"id": "7", "fields": {"text": "same", **fields}}).unread

    chat = [{"role": "user", "content": "hello"}]
    assert of() == of(chat=None) == ""
    assert of(chat=chat) == of(chat=list(chat)) != of(chat=[]) != of(custom={"html": "<b>"})


def test_metadata_may_hold_the_id_that_the_data_has():
    item = {"id": "7", "fields": {"text": "x"}, "metadata": {"doc": 12, "note": "x" * 500, "tags": ["a"]}}
    assert read_record(SINGLE, item).ids == {"doc": "12"}


@given(st.text(min_size=1), st.text(), st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)))
def test_a_record_is_read_back_as_it_was(uid: str, text: str, metadata: dict[str, Any]):
    record = Record(uid, {"text": text}, metadata)
    with contextlib.suppress(LabelingMismatch):
        assert read_record(SINGLE, listed(write_record(SINGLE, record))) == RemoteRecord("7", record)
        assert "\0" not in uid + text
        return
    assert "\0" in uid + text


def test_places_in_queues_are_no_metadata_of_a_record():
    item = {"id": "7", "external_id": "u", "fields": {"text": "t"}, "metadata": {"row": 1, "queue_0a1b2c3d": 5}}
    assert read_record(SINGLE, item).record.metadata == {"row": 1}
    with pytest.raises(LabelingMismatch, match="queue_0a1b2c3d"):
        write_record(SINGLE, Record("u", {"text": "t"}, {"queue_0a1b2c3d": 5}))
    assert write_record(SINGLE, Record("u", {"text": "t"}, {"queue_position": 5}))["metadata"] == {"queue_position": 5}


TYPES = {"stars": "integer", "price": "float", "tag": "terms"}


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"stars": "3", "price": "2.5", "tag": "a"}, {"stars": 3, "price": 2.5, "tag": "a"}),
        ({"stars": 3.0, "price": 2, "tag": 7}, {"stars": 3, "price": 2, "tag": "7"}),
        ({"stars": " 4 ", "tag": ["a", "b"]}, {"stars": 4, "tag": ["a", "b"]}),
        ({"stars": "", "price": None, "tag": " "}, {}),
        ({"other": "3", "none": None}, {"other": "3", "none": None}),
        ({"stars": 2**60}, {"stars": 2**60}),
    ],
)
def test_metadata_take_the_type_that_the_dataset_asks_for(given: dict[str, Any], stored: dict[str, Any]):
    metadata = write_record(SINGLE, Record("u", {"text": "t"}, given), TYPES)["metadata"]
    assert metadata == stored
    assert [type(one) for one in metadata.values()] == [type(one) for one in stored.values()]


@pytest.mark.parametrize("given", [{"stars": "many"}, {"stars": "1.5"}, {"price": "nan"}, {"stars": True}])
def test_metadata_that_are_no_number_where_one_is_asked_for_are_named(given: dict[str, Any]):
    with pytest.raises(LabelingMismatch, match=f"record 'u': the metadata '{next(iter(given))}' is .*numbers there"):
        write_record(SINGLE, Record("u", {"text": "t"}, given), TYPES)


def test_a_record_of_others_gets_a_uid_of_its_own():
    item = {"id": "7", "external_id": None, "fields": {"text": None, "other": 1}, "metadata": None}
    assert read_record(SINGLE, item) == RemoteRecord("7", Record("argilla-7", {"text": ""}))


def test_fields_that_are_not_shown_stay_here_and_missing_ones_are_named():
    assert write_record(SINGLE, Record("u", {"text": "t", "more": "m"}))["fields"] == {"text": "t"}
    for lacking in ({"text": "t"}, {"text": "t", "photo": ""}, {"text": "t", "photo": " "}):
        assert write_record(PHOTO, Record("u", lacking))["fields"] == {"text": "t"}, "the photo is not required"
    with pytest.raises(LabelingMismatch, match="'u' lacks the fields text"):
        write_record(SINGLE, Record("u", {"more": "m"}))


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("/data/local/x.png", "no address"),
        ("ftp://host/x.png", "no address"),
        ("http://host", "no address"),
        ("http://[::1/x.png", "no address"),
        ("http://host/" + "x" * WEB_URL_LENGTH, "2,038"),
        ("data:image/png;base64," + "A" * DATA_URL_LENGTH, "5,000,000"),
    ],
)
def test_images_that_argilla_does_not_show_are_named(address: str, says: str):
    with pytest.raises(LabelingMismatch, match=says):
        write_record(PHOTO, Record("u", {"text": "t", "photo": address}))


@pytest.mark.parametrize("address", ["https://host/x.png?size=3", "data:image/png;base64,AAAA"])
def test_images_by_address_and_as_data_are_taken(address: str):
    assert write_record(PHOTO, Record("u", {"text": "t", "photo": address}))["fields"]["photo"] == address


# -- responses and events --------------------------------------------------------------------------------------------


def test_times_are_utc_whether_they_say_so_or_not():
    found = read_response(SINGLE, "rec-1", RESPONSE)
    when = datetime(2026, 11, 22, 6, 29, 7, 93071, tzinfo=UTC)
    assert found == Annotation("r-1", "rec-1", "u-1", ("sport",), AnnotationStatus.SUBMITTED, when)
    assert read_response(SINGLE, "rec-1", {**RESPONSE, "updated_at": "2026-11-22T06:29:07.093071Z"}) == found


@pytest.mark.parametrize(
    ("status", "read"),
    [
        ("submitted", AnnotationStatus.SUBMITTED),
        ("discarded", AnnotationStatus.SKIPPED),
        ("draft", AnnotationStatus.DRAFT),
    ],
)
@pytest.mark.parametrize("values", [None, {}, {"other": {"value": "x"}}, {"label": None}, {"label": {"value": None}}])
def test_a_response_without_our_answer_is_an_empty_value(status: str, read: AnnotationStatus, values: Any):
    found = read_response(SINGLE, "rec-1", {**RESPONSE, "status": status, "values": values})
    assert found is not None
    assert (found.status, found.value) == (read, ())


def test_a_pending_response_says_nothing():
    assert read_response(SINGLE, "rec-1", {**RESPONSE, "status": "pending"}) is None


def test_a_label_named_like_none_of_these_counts_where_it_is_no_option_of_ours():
    values = {"label": {"value": [NONE, "sport"]}}
    for form, value in ((MULTI, ("sport",)), (BARE_MULTI, (NONE, "sport"))):
        found = read_response(form, "r", {**RESPONSE, "values": values})
        assert found is not None
        assert found.value == value


@pytest.mark.parametrize("kind", ["response.created", "response.updated", "response.deleted"])
def test_events_of_responses_say_where_to_look(kind: str):
    assert event(kind) == Hint(annotations={"r-1": "rec-1"})
    assert event(kind, status="draft", updated_at="in the year 2030", values=3) == Hint(annotations={"r-1": "rec-1"})


@pytest.mark.parametrize("kind", ["ping", "record.updated", "dataset.published", "nobody.knows"])
def test_other_events_change_nothing(kind: str):
    assert event(kind) == Hint()
    assert read_event("ds-1", {"type": kind}) == Hint()


def test_events_of_other_datasets_change_nothing():
    assert event("response.created", record={"id": "rec-9", "dataset": {"id": "ds-2"}}) == Hint()


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"type": "response.created"},
        {"type": "response.created", "data": {"record": None}},
        {"type": "response.created", "data": {"record": {"dataset": {"id": "ds-1"}}}},
    ],
)
def test_malformed_events_are_value_errors(body: Any):
    with pytest.raises(ValueError, match="malformed event"):
        read_event("ds-1", body)


@pytest.mark.parametrize("broken", [{"id": None, "status": 3}, {"updated_at": "yesterday"}, {"values": "sport"}])
def test_malformed_responses_raise_nothing_but_value_errors(broken: dict[str, Any]):
    with contextlib.suppress(ValueError):
        event("response.created", **broken)
