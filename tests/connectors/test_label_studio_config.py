import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nextlabel.connectors.differences import expect
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.label_studio.config import (
    NOT_XML,
    UID_KEY,
    form_of,
    read_config,
    write_config,
)
from nextlabel.connectors.label_studio.page import value_at
from nextlabel.connectors.label_studio.payloads import read_result, record_from_task, write_result, write_task
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Span

names = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=12).map(lambda text: "f" + text)
words = st.text(max_size=40).filter(lambda text: not NOT_XML.search(text) and "\r" not in text)
labels = words.filter(lambda text: text.strip() != "")


@st.composite
def labelings(draw: st.DrawFn) -> Labeling:
    kind = draw(st.sampled_from(LabelKind))
    options = tuple(draw(st.lists(labels, min_size=1, max_size=6, unique=True)))
    kinds = st.lists(st.sampled_from(FieldKind), min_size=1, max_size=3)
    fields = tuple(Field(f"{draw(names)}{place}", kind) for place, kind in enumerate(draw(kinds)))
    marked = next((field for field in fields if field.kind is not FieldKind.IMAGE), None)
    assume(kind is not LabelKind.SPAN or marked is not None)
    if kind is LabelKind.SPAN:  # what is marked comes first, as the page has it
        fields = tuple(sorted(fields, key=lambda field: field is not marked))
    instruction = draw(words.filter(lambda text: not text.startswith("$")))
    described = draw(st.dictionaries(st.sampled_from(options), words.filter(bool)))
    return Labeling(kind, options, fields, "question", instruction, described)


@given(labelings())
def test_what_is_written_is_read_back(labeling: Labeling):
    xml = write_config(labeling)
    assert read_config(xml).labeling == labeling
    assert read_config(xml) == form_of(labeling)


@given(st.text())
def test_any_text_is_a_labeling_or_a_clear_refusal(xml: str):
    with pytest.raises(LabelingMismatch):
        read_config(xml)


def test_configs_are_short_and_readable():
    labeling = Labeling(LabelKind.SINGLE, ("sport", "politics"), instruction="Which section?")
    assert write_config(labeling) == (
        '<View><Header value="Which section?" /><Text name="text" value="$text" />'
        '<Choices name="label" toName="text" choice="single" required="true">'
        '<Choice value="sport" /><Choice value="politics" /></Choices></View>'
    )


def test_a_project_made_by_hand_is_understood():
    form = read_config(
        """<View style="display: flex">
          <!-- made in the browser -->
          <Header value="$headline"/><Header value="Is it hateful?"/>
          <Image name="img" value="$picture_url" zoom="true"/>
          <View className="right"><HyperText name="words" value="$caption"/></View>
          <Choices name="hateful" toName="img" choice="single-radio">
            <Choice value="Yes, it is" alias="yes" hint="aimed at people"/>
            <View><Choice value="no"/></View>
          </Choices>
          <TextArea name="why" toName="img"/>
        </View>"""
    )
    assert form.labeling == Labeling(
        LabelKind.SINGLE,
        ("yes", "no"),
        (Field("picture_url", FieldKind.IMAGE), Field("caption", FieldKind.HTML)),
        "hateful",
        "Is it hateful?",
        {"yes": "aimed at people"},
    )
    assert (form.control, form.target) == ("hateful", "img")
    assert dict(form.objects) == {"picture_url": "img", "caption": "words"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('<Text name="t" value="$t"/><Rating name="r" toName="t"/>', "Rating 'r' asks for a number of stars"),
        ('<Text name="t" value="$t"/>', "it has no question"),
        (
            '<Audio name="a" value="$a"/><Choices name="c" toName="a"><Choice value="x"/></Choices>',
            "is about Audio 'a'",
        ),
        ('<Text name="t" value="$t"/><Choices name="c" toName="t" value="$options"/>', "other labels in each task"),
        ('<Text name="t" value="$t"/><Choices name="c" toName="t"/>', "needs labels"),
        (
            '<Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="x"/><Choice value="x"/></Choices>',
            "repeat",
        ),
        (
            '<Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="x"/></Choices>'
            '<Labels name="l" toName="t"><Label value="y"/></Labels>',
            "several questions: Choices 'c', Labels 'l'; name one of them in the recipe, as in `question: c`$",
        ),
    ],
)
def test_what_can_not_be_asked_is_refused_with_the_reason(body: str, says: str):
    with pytest.raises(LabelingMismatch, match=says):
        read_config(f"<View>{body}</View>")


def test_one_of_several_questions_can_be_named():
    xml = (
        '<View><Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="x"/></Choices>'
        '<Labels name="l" toName="t"><Label value="y"/></Labels></View>'
    )
    assert read_config(xml, "l").labeling.kind is LabelKind.SPAN
    with pytest.raises(LabelingMismatch, match="no question named 'z'; name one of them"):
        read_config(xml, "z")


def test_choices_that_ask_about_regions_are_not_the_question():
    form = read_config(
        '<View><Text name="t" value="$t"/><Labels name="l" toName="t"><Label value="y"/></Labels>'
        '<Choices name="c" toName="t" perRegion="true"><Choice value="x"/></Choices></View>'
    )
    assert form.control == "l"


@pytest.mark.parametrize(
    "labeling",
    [
        Labeling(LabelKind.SINGLE, ("a",), (Field("my text"),)),
        Labeling(LabelKind.SINGLE, ("a",), (Field(UID_KEY),)),
        Labeling(LabelKind.SINGLE, ("a",), (Field("label"),)),
        Labeling(LabelKind.SINGLE, ("a",), (Field("text"), Field("text"))),
        Labeling(LabelKind.SINGLE, ("a\x00",)),
        Labeling(LabelKind.SPAN, ("a",), (Field("image", FieldKind.IMAGE),)),
    ],
)
def test_what_label_studio_can_not_hold_is_refused(labeling: Labeling):
    with pytest.raises(LabelingMismatch):
        write_config(labeling)


def test_a_difference_is_told_in_full():
    found = form_of(Labeling(LabelKind.MULTI, ("a", "c")))
    expect(found, found.labeling)
    with pytest.raises(LabelingMismatch, match=r"multi answer, not a single one.*lacks the labels b.*other labels: c"):
        expect(found, Labeling(LabelKind.SINGLE, ("a", "b")))
    with pytest.raises(LabelingMismatch, match="does not show the fields title"):
        expect(found, Labeling(LabelKind.MULTI, ("a", "c"), (Field("title"),)))


TEXT = '<Text name="t" value="$t"/>'
ONE = '<Choice value="one"/><Choice value="two"/>'
ASK = f'<Choices name="c" toName="t">{ONE}</Choices>'


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            '<Choices name="c" toName="t,u">' + ONE + "</Choices>" + TEXT + '<Text name="u" value="$u"/>',
            "toName name one",
        ),
        ('<Choices name="c" toName="t"><Choice value="$one"/></Choices>' + TEXT, "other labels in each task"),
        (
            '<Choices name="c" toName="t">' + ONE + '</Choices><Text name="t" value="Is it?"/>',
            "shows nothing of the task",
        ),
        (ASK + '<Text name="t" value="$my-text"/>', "reads a part"),
        (ASK + '<Text name="t" value="$текст"/>', "reads a part"),
        (
            '<Choices name="c" toName="i">' + ONE + '</Choices><Image name="i" valueList="$pages"/>',
            "a list of pictures",
        ),
        ('<Labels name="l" toName="i"><Label value="one"/></Labels><Image name="i" value="$i"/>', "parts of Image 'i'"),
        ('<Labels name="l" toName="t"><Label value="one"/></Labels><Text name="t" value="Ticket: $t"/>', "one key"),
        (
            '<Labels name="l" toName="t"><Label value="one"/></Labels><Text name="t" value="$t" encoding="base64"/>',
            "import them as they are",
        ),
        (
            ASK + '<Rating name="r" toName="t"/>' + TEXT,
            "several questions: Choices 'c', Rating 'r'; name one of them in the recipe, as in `question: c`",
        ),
        (
            '<Repeater on="$all"><Text name="t" value="$t"/><Choices name="c" toName="t">'
            + ONE
            + "</Choices></Repeater>",
            "Repeater",
        ),
    ],
)
def test_what_looks_like_a_question_of_ours_and_is_none_is_refused(body: str, says: str):
    with pytest.raises(LabelingMismatch, match=says):
        read_config(f"<View>{body}</View>")


@pytest.mark.parametrize("value", ["$body.text", "Ticket $body.text, by $author", "$t"])
def test_fields_are_what_the_page_shows_of_a_task(value: str):
    form = read_config(f'<View><Text name="t" value="{value}"/><Choices name="c" toName="t">{ONE}</Choices></View>')
    task = {"id": 3, "data": {"body": {"text": "deep"}, "author": "Anna", "t": "flat"}}
    record = record_from_task(task, form.labeling)
    assert " ".join(record.fields.values()) == {"$t": "flat", "$body.text": "deep"}.get(value, "deep Anna")
    assert value_at(write_task(form, record)["data"], next(iter(record.fields))) == next(iter(record.fields.values()))


def test_spans_are_of_the_text_that_the_control_is_about():
    xml = (
        '<View><Text name="q" value="$question"/><Labels name="l" toName="p"><Label value="PER"/></Labels>'
        '<Text name="p" value="$passage"/><Video name="v" value="$film"/></View>'
    )
    form = read_config(xml)
    assert (form.target, form.labeling.marked) == ("p", "passage")
    assert form.unread == ("Video 'v': nextlabel reads Text, HyperText and Image",)
    fields = (Field("question"), Field("passage"))
    with pytest.raises(LabelingMismatch, match="spans are marked in passage: put it first under `fields:`"):
        expect(form, Labeling(LabelKind.SPAN, ("PER",), fields))
    expect(form, Labeling(LabelKind.SPAN, ("PER",), fields[::-1]))


def test_a_choice_inside_another_is_none_for_the_page():
    form = read_config(
        f'<View>{TEXT}<Choices name="c" toName="t"><Choice value="one"><Choice value="less"/></Choice>'
        '<View visibleWhen="region-selected"><Choice value="two"/></View></Choices></View>'
    )
    assert form.labeling.labels == ("one", "two")


def test_a_dollar_stands_as_it_is():
    labeling = Labeling(LabelKind.SINGLE, ("$5 off", "none"), instruction="Is it $5, or $more?")
    xml = write_config(labeling)
    assert "$5" not in xml.replace('alias="$5 off"', "")
    assert read_config(xml).labeling == labeling


def test_a_field_that_the_page_cannot_show_is_told_with_the_way_on():
    with pytest.raises(LabelingMismatch, match=r"`fields: \{text: Kunden-Text}`"):
        write_config(Labeling(LabelKind.SINGLE, ("a",), (Field("Kunden-Text"),)))
    asked = Labeling(LabelKind.SINGLE, ("a",), name="Stimmung, 感情")
    assert read_config(write_config(asked)).control == asked.name


def test_a_field_of_another_kind_is_told_with_what_to_write():
    form = read_config(f'<View><HyperText name="t" value="$t"/><Choices name="c" toName="t">{ONE}</Choices></View>')
    with pytest.raises(
        LabelingMismatch, match=r"field t is html there, not text: write `t: {column: ..., kind: html}`"
    ):
        expect(form, Labeling(LabelKind.SINGLE, ("one", "two"), (Field("t"),)))


def test_places_in_a_web_page_are_global_offsets_both_ways():
    form = read_config(
        '<View><HyperTextLabels name="l" toName="t"><Label value="PER"/></HyperTextLabels>'
        '<HyperText name="t" value="$t"/></View>'
    )
    value = (Span(3, 7, "PER"),)
    [region] = write_result(form, value, 0.5)
    assert region["type"] == "hypertextlabels"
    assert region["value"]["globalOffsets"] == {"start": 3, "end": 7}
    assert read_result(form, [region]) == value
    del region["value"]["globalOffsets"]
    with pytest.raises(ValueError, match="no globalOffsets"):
        read_result(form, [{**region, "value": {**region["value"], "start": "/p[1]/text()[1]"}}])
