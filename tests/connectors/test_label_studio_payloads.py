import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextlabel.connectors.answers import storable
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.label_studio.config import UID_KEY, form_of, read_config
from nextlabel.connectors.label_studio.payloads import (
    prediction_from,
    read_annotation,
    read_event,
    read_result,
    record_from_task,
    remote_record,
    write_finished,
    write_result,
    write_task,
)
from nextlabel.connectors.records import (
    Annotation,
    AnnotationStatus,
    Field,
    FieldKind,
    Finished,
    Given,
    Hint,
    Labeling,
    LabelKind,
    Record,
    Span,
    Suggestion,
    as_text,
)

LABELS = ("sport", "politics", "ثقافة", "🎬 film")
SINGLE = form_of(Labeling(LabelKind.SINGLE, LABELS))
MULTI = form_of(Labeling(LabelKind.MULTI, LABELS))
SPAN = form_of(Labeling(LabelKind.SPAN, LABELS))
spans = st.builds(
    lambda start, length, label: Span(start, start + length, label),
    st.integers(0, 10**5),
    st.integers(1, 50),
    st.sampled_from(LABELS),
)

ANNOTATION: dict[str, Any] = {
    "id": 44,
    "task": 7,
    "result": [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["sport"]}}],
    "was_cancelled": False,
    "updated_at": "2026-11-22T06:29:07.093071Z",
    "completed_by": 3,
    "prediction": {"model_version": "nl-a-1", "result": [{"value": {"choices": ["sport"]}}]},
}


def event(action: str, **body: Any) -> Hint:
    return read_event("<View/>", "9", {"action": action, "project": {"id": 9}, **body})


@given(st.sampled_from(LABELS))
def test_single_answers_go_round(label: str):
    assert read_result(SINGLE, write_result(SINGLE, (label,))) == (label,)


@given(st.lists(st.sampled_from(LABELS), unique=True).map(tuple))
def test_multi_answers_go_round(value: tuple[str, ...]):
    assert read_result(MULTI, write_result(MULTI, value)) == value


@given(st.lists(spans, max_size=5).map(tuple))
def test_span_answers_go_round(value: tuple[Span, ...]):
    assert read_result(SPAN, write_result(SPAN, value)) == value


@given(
    st.text(min_size=1).filter(storable),
    st.text(),
    st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=3),
)
def test_records_go_round(uid: str, text: str, metadata: dict[str, Any]):
    record = Record(uid, {"text": text}, metadata)
    assert remote_record({"id": 5, **write_task(SINGLE, record)}, SINGLE.labeling).record == record


def test_regions_carry_the_names_of_a_foreign_config():
    form = read_config(
        '<View><Text name="words" value="$caption"/>'
        '<Labels name="who" toName="words"><Label value="PER"/></Labels></View>'
    )
    assert write_result(form, (Span(0, 4, "PER"),), 0.5) == [
        {
            "from_name": "who",
            "to_name": "words",
            "type": "labels",
            "score": 0.5,
            "id": "span-0",
            "value": {"start": 0, "end": 4, "labels": ["PER"]},
        }
    ]


def test_regions_of_other_controls_and_empty_ones_are_not_the_answer():
    other = {"from_name": "why", "to_name": "text", "type": "textarea", "value": {"text": ["because"]}}
    empty = {"from_name": "label", "to_name": "text", "type": "choices"}
    assert read_result(SINGLE, [other, empty, *ANNOTATION["result"]]) == ("sport",)


def test_a_label_that_left_the_config_is_kept_when_read_and_refused_when_written():
    region = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["economy"]}}
    assert read_result(SINGLE, [region]) == ("economy",)
    with pytest.raises(LabelingMismatch, match="not in the project's labeling config: economy; it has sport"):
        write_result(SINGLE, ("economy",))


def test_one_label_at_most_for_a_single_question():
    with pytest.raises(LabelingMismatch, match="takes one label, not 2"):
        write_result(SINGLE, ("sport", "politics"))
    with pytest.raises(LabelingMismatch, match="no span"):
        write_result(SPAN, ("sport",))
    with pytest.raises(LabelingMismatch, match="is a span"):
        write_result(SINGLE, (Span(0, 1, "sport"),))


def test_live_predictions_look_like_stored_ones():
    made = prediction_from(SINGLE.labeling, Suggestion(("sport",), 0.75, "nl-a-1"))
    assert (made["model_version"], made["score"]) == ("nl-a-1", 0.75)
    assert made["result"] == write_result(SINGLE, ("sport",), 0.75)


def test_tasks_that_we_never_pushed_get_a_uid_from_their_id():
    assert record_from_task({"id": 12, "data": {"text": "a"}}, SINGLE.labeling) == Record(
        "label-studio-12", {"text": "a"}
    )
    assert record_from_task({"id": 12, "data": {"text": "a", UID_KEY: 7}}, SINGLE.labeling).uid == "label-studio-12"
    with pytest.raises(ValueError, match="neither uid nor id"):
        record_from_task({"data": {"text": "a"}}, SINGLE.labeling)


@pytest.mark.parametrize("task", [{}, {"data": None}, {"data": 3}, {"data": {}}, {"data": {"text": None}}])
def test_a_task_that_says_nothing_is_a_record_with_nothing_in_it(task: dict[str, Any]):
    assert record_from_task({"id": 12, **task}, SINGLE.labeling) == Record("label-studio-12", {"text": ""})


@pytest.mark.parametrize("uid", ["", "\ud800", None, ["a"]])
def test_a_uid_that_no_database_stores_is_none(uid: Any):
    assert record_from_task({"id": 12, "data": {UID_KEY: uid}}, SINGLE.labeling).uid == "label-studio-12"


@pytest.mark.parametrize(("value", "text"), [(None, ""), ("a", "a"), (3, "3"), (["x"], '["x"]'), (True, "true")])
def test_fields_are_text(value: Any, text: str):
    assert as_text(value) == text


def test_a_record_must_have_the_fields_that_are_shown():
    form = form_of(Labeling(LabelKind.SINGLE, ("a",), (Field("text"), Field("image", FieldKind.IMAGE))))
    with pytest.raises(LabelingMismatch, match="'u1' lacks the fields image"):
        write_task(form, Record("u1", {"text": "a"}))


def test_an_annotation_is_read_with_what_its_annotator_saw():
    assert read_annotation(SINGLE, ANNOTATION) == Annotation(
        "44",
        "7",
        "3",
        ("sport",),
        AnnotationStatus.SUBMITTED,
        datetime(2026, 11, 22, 6, 29, 7, 93071, tzinfo=UTC),
    )
    assert read_annotation(SINGLE, ANNOTATION | {"ground_truth": True}).is_truth
    skipped = read_annotation(SINGLE, ANNOTATION | {"was_cancelled": True, "result": [], "completed_by": {"id": 3}})
    assert (skipped.status, skipped.value, skipped.annotator) == (AnnotationStatus.SKIPPED, (), "3")


@pytest.mark.parametrize("prediction", [None, {}, 3, {"model_version": "nl-a-1", "result": []}])
def test_a_blind_record_was_seen_under_no_version(prediction: Any):
    hint = event("ANNOTATION_CREATED", annotation=ANNOTATION | {"prediction": prediction})
    assert hint.seen_versions == {}


def test_events_say_where_to_look():
    number, task = str(ANNOTATION["id"]), str(ANNOTATION["task"])
    there = Hint(annotations={number: task}, seen_versions={number: "nl-a-1"})
    assert event("ANNOTATION_CREATED", annotation=ANNOTATION) == there
    assert event("ANNOTATION_UPDATED", annotation=ANNOTATION) == there
    assert event("ANNOTATIONS_CREATED", annotation=[ANNOTATION], task=[{"id": 7}]) == there
    assert event("ANNOTATIONS_DELETED", annotations=[{"id": 44}]) == Hint(annotations={"44": None})
    assert event("TASKS_DELETED", tasks=[{"id": 7}, {"id": 8}]) == Hint(records=frozenset({"7", "8"}))
    assert event("TASKS_CREATED") == Hint(records_added=True)
    assert event("START_TRAINING") == Hint(train_requested=True)
    assert event("PROJECT_CREATED") == Hint()
    assert event("SOMETHING_NEW", annotation=None) == Hint()


@pytest.mark.parametrize("number", [0, -1, 2**63, "1e3", None, 10**40])
def test_numbers_that_no_database_holds_are_refused(number: Any):
    for action, body in (
        ("ANNOTATIONS_DELETED", {"annotations": [{"id": number}]}),
        ("TASKS_DELETED", {"tasks": [{"id": number}]}),
        ("ANNOTATION_CREATED", {"annotation": ANNOTATION | {"task": number}}),
    ):
        with pytest.raises(ValueError, match="malformed event"):
            event(action, **body)


def test_a_project_that_changed_elsewhere_than_in_its_labeling_is_no_news():
    def updated(xml: str) -> Hint:
        return read_event("<View/>", "9", {"action": "PROJECT_UPDATED", "project": {"id": 9, "label_config": xml}})

    assert updated("<View/>") == Hint()
    assert updated("<View><Text/></View>") == Hint(labeling_changed=True)


def test_events_of_other_projects_are_not_ours():
    body = {"action": "ANNOTATION_CREATED", "project": {"id": 10}, "annotation": ANNOTATION}
    assert read_event("<View/>", "9", body) == Hint()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "ANNOTATION_CREATED"},
        {"action": "ANNOTATION_CREATED", "annotation": None},
        {"action": "ANNOTATION_CREATED", "annotation": "x"},
        {"action": "ANNOTATION_CREATED", "annotation": ANNOTATION | {"id": "44; drop"}},
        {"action": "ANNOTATION_CREATED", "annotation": ANNOTATION | {"id": float("inf")}},
        {"action": "ANNOTATIONS_DELETED", "annotations": [44]},
        {"action": "ANNOTATIONS_DELETED", "annotations": 44},
        {"action": "TASKS_DELETED", "tasks": [{"number": 7}]},
        {"action": "PROJECT_UPDATED", "project": "9"},
    ],
)
def test_malformed_events_are_value_errors(body: dict[str, Any]):
    with pytest.raises(ValueError, match="malformed event"):
        read_event("<View/>", "9", body)


@pytest.mark.parametrize(
    "broken",
    [
        {"updated_at": "yesterday"},
        {"updated_at": None},
        {"result": 3},
        {"result": [3]},
        {"result": [{"from_name": "label", "value": 3}]},
    ],
)
def test_malformed_annotations_are_key_type_or_value_errors_and_their_events_still_say_where_to_look(broken: Any):
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        read_annotation(SINGLE, ANNOTATION | broken)
    assert event("ANNOTATION_CREATED", annotation=ANNOTATION | broken).annotations


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ANNOTATION, "value", "x"]), inner),
    max_leaves=12,
)
actions = st.sampled_from(
    ["ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATIONS_DELETED", "TASKS_DELETED", "PROJECT_UPDATED"]
)


@given(actions, st.dictionaries(st.sampled_from(["annotation", "annotations", "tasks", "project"]), json_values))
def test_no_event_body_escapes_with_another_error(action: str, body: dict[str, Any]):
    with contextlib.suppress(ValueError):
        assert isinstance(read_event("<View/>", "9", {"action": action, **body}), Hint)


IMAGES = Labeling(LabelKind.SINGLE, ("a", "b"), fields=(Field("picture", FieldKind.IMAGE), Field("text")))


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com/a.png",
        "HTTPS://example.com/a%20b.jpg?x=1",
        "data:image/png;base64,iVBORw0KGgo=",
        "/data/local-files/?d=a.png",
        "/data/upload/1/a.png",
        "s3://bucket/a.png",
        "",
    ],
)
def test_images_that_a_browser_loads_are_sent_as_they_are(address: str) -> None:
    task = write_task(form_of(IMAGES), Record("u1", {"picture": address, "text": "./not/an/image"}))
    assert task["data"]["picture"] == address


@pytest.mark.parametrize(
    "address",
    [
        "memes/1.jpg",
        "/home/me/1.jpg",
        "C:\\1.jpg",
        "file:///1.jpg",
        "1.jpg",
        "data:text/html,x",
        "javascript:1",
        "a cat",
    ],
)
def test_images_that_no_browser_loads_are_refused_with_the_fix(address: str) -> None:
    with pytest.raises(LabelingMismatch, match=r"record 'u1'.*in 'picture'.*serve them over http"):
        write_task(form_of(IMAGES), Record("u1", {"picture": address, "text": "x"}))


def test_a_long_address_is_cut_in_the_message() -> None:
    with pytest.raises(LabelingMismatch) as caught:
        write_task(form_of(IMAGES), Record("u1", {"picture": "x" * 10**6, "text": "x"}))
    assert len(str(caught.value)) < 600


def test_what_is_shown_and_not_read_tells_tasks_apart() -> None:
    form = read_config(
        '<View><Text name="text" value="$text"/><Audio name="sound" value="$sound"/><Choices name="label" '
        'toName="text"><Choice value="sport"/><Choice value="politics"/></Choices></View>'
    )

    def of(**data: Any) -> str:
        return remote_record({"id": 5, "data": {"text": "a", **data}}, form.labeling, form.unread_keys).unread

    assert of() == of(note="x") == ""
    assert of(sound="/data/1.wav") == of(sound="/data/1.wav", note="x") != of(sound="/data/2.wav")


def test_what_else_a_task_holds_may_be_the_id_that_the_data_has() -> None:
    data = {"text": "a", "doc": 12, "body": "x" * 500, "tags": ["a"], "nul": "\0", UID_KEY: "u"}
    found = remote_record({"id": 5, "data": data, "meta": {"row": "r1"}}, SINGLE.labeling)
    assert found.ids == {"doc": "12", "row": "r1"}


def test_a_finished_record_is_of_the_projects_own_form() -> None:
    config = (
        '<View><Text name="shown" value="$review"/><Choices name="verdict" toName="shown">'
        '<Choice value="good"/><Choice value="bad"/></Choices></View>'
    )
    labeling = read_config(config).labeling
    people = (Given("7", "ann@example.com", ("good",)), Given("8", "ben", ("bad",)), Given("None", "None", ("bad",)))
    suggestion = Suggestion(("bad",), 0.5, "probe-1")
    done = Finished(Record("u1", {"review": "fine"}, {"row": 1}), ("good",), True, people, suggestion)
    task = write_finished(labeling, done, config)
    assert task["data"]["review"] == "fine"
    assert [one.get("completed_by") for one in task["annotations"]] == [{"email": "ann@example.com"}, 8, None]
    assert [one["ground_truth"] for one in task["annotations"]] == [True, False, False]
    [region] = task["annotations"][0]["result"]
    assert (region["from_name"], region["to_name"], region["value"]) == ("verdict", "shown", {"choices": ["good"]})
    assert task["predictions"][0]["model_version"] == "probe-1"
    alone = write_finished(labeling, Finished(done.record, ("good",)), config)
    assert [one.keys() for one in alone["annotations"]] == [{"result", "ground_truth"}]
    assert write_finished(labeling, Finished(done.record, None), config)["annotations"] == []
