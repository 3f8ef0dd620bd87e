"""The labeling configs of Label Studio's ML-backend examples: each is learned as what it is, or refused by name.

In short: ``tag name>what it is about $key``, one after the other; what has labels has two.
"""

from __future__ import annotations

import re

import pytest

from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.label_studio.config import read_config

LEARNED = {
    "Text text $text; Choices label>text": "single label of text",
    "Text text $text; Choices topic>text": "single topic of text",
    "Labels label>text; Text text $text": "span label of text",
    "Labels ner_tags>text; Text text $text": "span ner_tags of text",
    "Text text $text; Labels ner>text": "span ner of text",
    "Text input $text; TextArea prompt>input; "
    "TextArea response>input; TextArea snippets>input; Choices classification>input": "single classification of text",
    "Text text $text; TextArea prompt>text; "
    "TextArea response>text; Choices sentiment>text choice=multiple": "multi sentiment of text",
    "TextArea prompt>image; Choices category>image; "
    "TextArea summarization-response>image; Image image $image": "single category of image",
    "Text text $text; TextArea prompt>text; Choices topic>text": "single topic of text",
    "Text txt $text; Choices choice>txt": "single choice of text",
    "Text text $text; Choices sentiment>text": "single sentiment of text",
    "Image image1 $image; RectangleLabels label>image1; "
    "Image image2 $image; Choices choice>image2": "single choice of image",
    "Image image $image; Choices choice>image": "single choice of image",
    "Image image $image; Choices label>image": "single label of image",
    "Image image $image; Choices label>image choice=multiple": "multi label of image",
    "Text text $transcript; Choices sentiment>text": "single sentiment of transcript",
    "Text Text $text; Labels Labels>Text": "span Labels of text",
}
REFUSED = [
    "TextArea text>audio $text; Audio audio $audio",
    "TextArea text>audio",
    "Image image $image; Labels label>image; "
    "Rectangle bbox>image; Polygon poly>image; TextArea transcription>image perRegion=true",
    "TextArea prompt>image; Image image $image; RectangleLabels label>image",
    "Image image $image; TextArea prompt>image; RectangleLabels label>image; BrushLabels label2>image",
    "Text input_text $text; TextArea generated_text>input_text",
    "Paragraphs chat $dialogue; TextArea prompt>chat; TextArea response>chat",
    "Image image $image; RectangleLabels label>image",
    "Audio audio $audio; TextArea transcription>audio",
    "Image image $image; Labels label>image; Polygon poly>image; TextArea transcription>image perRegion=true",
    "Image image $image; Labels label>image; Rectangle bbox>image; TextArea transcription>image perRegion=true",
    "Image image $image; Polygon poly>image; TextArea transcription>image perRegion=true; Labels label>image",
    "BrushLabels tag>image; KeyPointLabels tag2>image; RectangleLabels tag3>image; Image image $image",
    "Labels videoLabels>video; Video video $video; VideoRectangle box>video",
    "Image image $image; BrushLabels tag>image; KeyPointLabels tag2>image; RectangleLabels tag3>image",
    "Video video $video; VideoRectangle box>video",
    "Image image $image; BrushLabels tag>image",
    "VideoVector videovec>video; Labels labels>video; Video video $video",
    "VideoVectorLabels videolabels>video; Video video $video",
    "VideoRectangle box>video; Labels labels>video; Video video $video",
    "Image image $image; RectangleLabels tag>image",
    "Image image $ocr; RectangleLabels bbox>image; TextArea transcription>image perRegion=true",
    "Image image $image; RectangleLabels bbox>image; TextArea transcription>image perRegion=true",
    "TimeSeriesLabels label>ts; TimeSeries ts $csv_url valueType=url",
    "Text context $text; TextArea prompt>context; TextArea response>context; Rating rating>context",
    "Image image1 $image; RectangleLabels label1>image1; RectangleLabels label2>image1",
    "Image image $image; PolygonLabels label>image",
    "RectangleLabels keypoints_bbox>image; KeyPointLabels keypoints>image; Image image $image",
    "KeyPointLabels keypoints>image; Image image $image",
    "Video video $video; VideoRectangle box>video; Labels label>video",
    "Video video $video; TimelineLabels label>video",
    "TimelineLabels label>video; Video video $video",
    "TimelineLabels videoLabels>video; Video video $video",
    "Image image $image; BrushLabels label>image",
    "Image image $image; RectangleLabels label>image; Image image2 $image2; RectangleLabels label2>image2",
    "Image image $image; RectangleLabels rect>image",
]


def config(short: str) -> str:
    """The labeling config that ``short`` stands for."""
    tags = []
    for tag, name, about, key, more in re.findall(r"(\w+) ([\w-]+)(?:>(\w+))?(?: (\$\w+))?((?: \w+=\w+)*)", short):
        given = {"name": name, "toName": about, "value": key, **dict(re.findall(r"(\w+)=(\w+)", more))}
        attributes = " ".join(f'{attribute}="{value}"' for attribute, value in given.items() if value)
        option = "Choice" if tag in ("Choices", "Taxonomy") else "Label" if tag.endswith("Labels") else ""
        labels = "".join(f'<{option} value="{label}"/>' for label in ("one", "two") if option)
        tags.append(f"<{tag} {attributes}>{labels}</{tag}>")
    return f"<View>{''.join(tags)}</View>"


@pytest.mark.parametrize("short", LEARNED)
def test_a_config_of_labels_is_learned(short: str) -> None:
    form = read_config(config(short))
    asked = form.labeling
    fields = ", ".join(one.name for one in asked.fields)
    assert f"{asked.kind} {asked.name} of {fields}" == LEARNED[short]
    assert asked.labels == ("one", "two")
    assert form.target in form.objects.values()


def test_a_taxonomy_beside_another_question_has_to_be_named() -> None:
    """An example of an ML backend that was refused before trees could be learned."""
    short = "TextArea response>context; Taxonomy evals>context maxUsages=1; Rating rating>context"
    xml = config(f"Text context $text; TextArea prompt>context; {short}")
    with pytest.raises(LabelingMismatch, match="Taxonomy 'evals', Rating 'rating'; name one of them in the recipe"):
        read_config(xml)
    assert read_config(xml, "evals").labeling.kind == "single"


@pytest.mark.parametrize("short", REFUSED)
def test_another_is_refused_and_all_that_it_asks_is_named(short: str) -> None:
    with pytest.raises(LabelingMismatch, match="nextlabel learns Choices about Text") as refused:
        read_config(config(short))
    for tag, name in re.findall(r"(\w+) ([\w-]+)>", short):
        assert f"{tag} '{name}'" in str(refused.value)
