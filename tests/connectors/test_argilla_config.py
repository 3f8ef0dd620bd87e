"""Labelings as Argilla's fields and questions, and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextlabel.connectors.argilla.config import NONE, read, shortened, write_fields, write_question
from nextlabel.connectors.differences import expect
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind

Json = dict[str, Any]
IMAGE = Field("photo", FieldKind.IMAGE)


def stored(labeling: Labeling) -> tuple[list[Json], list[Json]]:
    """What the server lists of what we write: ids, and nulls where we said nothing."""
    question = {"id": "q-1", "description": None, **write_question(labeling)}
    return [{"id": "f", **field} for field in write_fields(labeling)], [question]


names = st.text("abcdefghijklmnopqrstuvwxyz_-0123456789äé", min_size=1, max_size=30)
words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=60).filter(str.strip)
labelings = st.builds(
    lambda kind, labels, fields, instruction, described: Labeling(
        kind,
        tuple(labels),
        (Field(fields[0]), *(Field(name, FieldKind.IMAGE) for name in fields[2:])),
        fields[1],
        instruction,
        {labels[0]: described} if described else {},
    ),
    st.sampled_from(LabelKind),
    st.lists(words.filter(lambda word: word != NONE), min_size=2, max_size=8, unique=True),
    st.lists(names, min_size=2, max_size=4, unique=True),
    st.one_of(st.just(""), words),
    st.one_of(st.just(""), words),
)


@given(labelings)
def test_what_is_written_is_read_back(labeling: Labeling):
    form = read(*stored(labeling), None)
    assert form.labeling == labeling
    assert form.question == labeling.name
    images = {field.name for field in labeling.fields if field.kind is FieldKind.IMAGE}
    assert form.required == {field.name for field in labeling.fields} - images
    expect(form, labeling)


def test_a_question_with_several_labels_has_an_option_for_none_of_them():
    labeling = Labeling(LabelKind.MULTI, ("a", "b"))
    assert [option["value"] for option in write_question(labeling)["settings"]["options"]] == ["a", "b", NONE]
    assert read(*stored(labeling), None).has_none
    fields, questions = stored(labeling)
    questions[0]["settings"]["options"].pop()
    form = read(fields, questions, None)
    assert form.labeling == labeling
    assert not form.has_none


def test_none_of_these_is_a_label_like_any_other_where_one_label_is_chosen():
    labeling = Labeling(LabelKind.SINGLE, ("a", NONE))
    form = read(*stored(labeling), None)
    assert form.labeling == labeling
    assert not form.has_none


def test_spans_are_about_the_first_text_field_and_may_overlap():
    labeling = Labeling(LabelKind.SPAN, ("a",), (IMAGE, Field("body"), Field("title")))
    form = read(*stored(labeling), None)
    assert form.target == "body"
    assert form.overlapping


@pytest.mark.parametrize(
    ("labeling", "says"),
    [
        (Labeling(LabelKind.SINGLE, ("only",)), "two labels or more"),
        (Labeling(LabelKind.MULTI, ("a", NONE)), "our own"),
        (Labeling(LabelKind.SPAN, ("a",), (IMAGE,)), "need a text field"),
        (Labeling(LabelKind.SINGLE, ("a", "b" * 201)), "too long"),
        (Labeling(LabelKind.SINGLE, ("a", "b\0")), "NUL"),
    ],
)
def test_questions_that_argilla_can_not_ask_are_refused(labeling: Labeling, says: str):
    with pytest.raises(LabelingMismatch, match=says):
        write_question(labeling)


@pytest.mark.parametrize("name", ["", "a.b", "x" * 201, "tab\t", " edge"])
def test_names_that_would_break_addresses_are_refused(name: str):
    with pytest.raises(LabelingMismatch, match="can't be a name"):
        write_fields(Labeling(LabelKind.SINGLE, ("a", "b"), (Field(name),)))
    with pytest.raises(LabelingMismatch, match="can't be a name"):
        write_fields(Labeling(LabelKind.SINGLE, ("a", "b"), name=name))


def test_names_must_differ():
    with pytest.raises(LabelingMismatch, match="repeat"):
        write_fields(Labeling(LabelKind.SINGLE, ("a", "b"), (Field("label"),)))


def test_long_words_are_cut_where_people_read_them():
    labeling = Labeling(LabelKind.SINGLE, ("a", "b"), instruction="i" * 2000, descriptions={"a": "d" * 2000})
    question = write_question(labeling)
    assert len(question["description"]) == 1000
    assert question["description"].endswith("…")
    assert len(question["settings"]["options"][0]["description"]) == 1000
    assert shortened("abc", 3) == "abc"


def question(name: str, kind: str, **settings: Any) -> Json:
    options = [{"value": value, "text": value.upper(), "description": None} for value in ("a", "b")]
    return {
        "id": f"id-{name}",
        "name": name,
        "description": None,
        "settings": {"type": kind, "options": options, **settings},
    }


def field(name: str, kind: str, required: bool = True) -> Json:
    return {"name": name, "required": required, "settings": {"type": kind}}


def test_a_dataset_made_by_hand_is_read_among_other_questions_and_fields():
    fields = [field("chat", "chat"), field("text", "text"), field("photo", "image", required=False)]
    form = read(fields, [question("why", "text"), question("topic", "label_selection")], None)
    assert form.labeling == Labeling(LabelKind.SINGLE, ("a", "b"), (Field("text"), IMAGE), "topic")
    assert form.question_id == "id-topic"
    assert form.required == {"chat", "text"}


def test_one_of_several_questions_is_chosen_by_name():
    both = [question("topic", "label_selection"), question("tone", "multi_label_selection")]
    assert read([field("text", "text")], both, "tone").labeling.kind is LabelKind.MULTI
    with pytest.raises(LabelingMismatch, match=r"several questions.*'topic'.*'tone'; name one .* `question: topic`$"):
        read([field("text", "text")], both, None)
    with pytest.raises(LabelingMismatch, match=r"no question 'mood'.*'topic'"):
        read([field("text", "text")], both, "mood")


@pytest.mark.parametrize(
    ("fields", "questions", "says"),
    [
        ([field("text", "text")], [question("stars", "rating")], "asks with rating"),
        ([field("text", "text")], [], "asks with nothing"),
        ([field("talk", "chat")], [question("topic", "label_selection")], "neither text nor image"),
        ([field("photo", "image")], [question("parts", "span", field="photo")], "no text field"),
    ],
)
def test_what_can_not_be_asked_is_refused_with_the_reason(fields: list[Json], questions: list[Json], says: str):
    with pytest.raises(LabelingMismatch, match=says):
        read(fields, questions, None)


def test_a_difference_is_named_with_the_fix():
    form = read(*stored(Labeling(LabelKind.SINGLE, ("a", "b"))), None)
    with pytest.raises(LabelingMismatch) as caught:
        expect(form, Labeling(LabelKind.MULTI, ("a", "c"), (Field("body"),)))
    for part in (
        "single answer, not a multi one",
        "lacks the labels c",
        "other labels: b",
        "the fields body",
        "Change",
    ):
        assert part in str(caught.value)


def test_html_is_shown_as_such_and_not_marked() -> None:
    page = Field("page", FieldKind.HTML)
    asked = Labeling(LabelKind.SINGLE, ("a", "b"), (page,))
    [field] = write_fields(asked)
    assert field["settings"] == {"type": "text", "use_markdown": True}
    with pytest.raises(LabelingMismatch, match="plain texts only, and page is `kind: html`"):
        write_question(Labeling(LabelKind.SPAN, ("a",), (page,)))


def test_a_record_may_lack_an_image_but_not_everything() -> None:
    one, two = Field("one", FieldKind.IMAGE), Field("two", FieldKind.IMAGE)
    for fields, required in (([one, two], ["one"]), ([one, Field("text"), two], ["text"]), ([Field("text")], ["text"])):
        made = write_fields(Labeling(LabelKind.SINGLE, ("a", "b"), tuple(fields)))
        assert [field["name"] for field in made if field["required"]] == required
