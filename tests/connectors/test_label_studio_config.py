import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.label_studio.config import (
    NOT_XML,
    UID_KEY,
    form_of,
    read_config,
    write_config,
)
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, expect

names = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=12).map(lambda text: "f" + text)
words = st.text(max_size=40).filter(lambda text: not NOT_XML.search(text) and "\r" not in text)
labels = words.filter(lambda text: text.strip() != "")


@st.composite
def labelings(draw: st.DrawFn) -> Labeling:
    kind = draw(st.sampled_from(LabelKind))
    options = tuple(draw(st.lists(labels, min_size=1, max_size=6, unique=True)))
    kinds = st.lists(st.sampled_from(FieldKind), min_size=1, max_size=3)
    fields = tuple(Field(f"{draw(names)}{place}", kind) for place, kind in enumerate(draw(kinds)))
    assume(kind is not LabelKind.SPAN or any(field.kind is FieldKind.TEXT for field in fields))
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
        (Field("picture_url", FieldKind.IMAGE), Field("caption")),
        "hateful",
        "Is it hateful?",
        {"yes": "aimed at people"},
    )
    assert (form.control, form.target) == ("hateful", "img")
    assert dict(form.objects) == {"picture_url": "img", "caption": "words"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('<Text name="t" value="$t"/><Rating name="r" toName="t"/>', "asks with Rating"),
        ('<Text name="t" value="$t"/>', "asks with nothing"),
        ('<Audio name="a" value="$a"/><Choices name="c" toName="a"><Choice value="x"/></Choices>', "no text or image"),
        ('<Text name="t" value="$t"/><Choices name="c" toName="t" value="$options"/>', "asks with Choices"),
        ('<Text name="t" value="$t"/><Choices name="c" toName="t"/>', "needs labels"),
        (
            '<Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="x"/><Choice value="x"/></Choices>',
            "repeat",
        ),
        (
            '<Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="x"/></Choices>'
            '<Labels name="l" toName="t"><Label value="y"/></Labels>',
            "several questions, name one of them: Choices 'c', Labels 'l'",
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
    with pytest.raises(LabelingMismatch, match="no Choices or Labels named 'z'"):
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
