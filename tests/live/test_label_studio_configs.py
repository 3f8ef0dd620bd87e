"""Labeling configs as Label Studio and people write them: learned as what they are on a real server, or refused.

What is learned is tried: an annotation as the page makes it is read back, and our suggestion for it is one that Label
Studio's own checks take.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from label_studio_sdk.label_interface import LabelInterface

from nextlabel.backend.stack import LabelStudioServer, LabelStudioStack
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.label_studio.config import Form, read_config
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import LabelKind, QueueEntry, Span, Suggestion, Value
from tests.live.label_studio_calls import api

DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
LEARNED = {
    "community-contributions/html-ner-tagging-person-and-organization": "span ner of text",
    "community-contributions/ner-tagging-invoices-bio-format": "span ner of ocr",
    "computer-vision/image-classification": "single choice of image",
    "computer-vision/medical-image-classification-with-bboxes": "single classification of image",
    "computer-vision/visual-question-answering": "span aspect of q1, image, q2, q3, q4",
    "conversational-ai/coreference-resolution-and-entity-linking": "span label of corefText",
    "natural-language-processing/content-moderation": "multi content_moderation of text",
    "natural-language-processing/named-entity-recognition": "span label of text",
    "natural-language-processing/question-answering": "span answer of text, question",
    "natural-language-processing/relation-extraction": "span label of text",
    "natural-language-processing/taxonomy": "multi taxonomy of text",
    "natural-language-processing/text-classification": "single sentiment of text",
    "ranking-and-scoring/content-based-image-search": "multi similar of query_image, image1, image2, image3",
    "structured-data-parsing/html-entity-recognition": "span ner of html",
}
"""Templates of Label Studio that ask one question of ours."""
NAMED = {
    "community-contributions/two-level-sentiment-analysis-of-x-twitter-posts": "multi other-props of tweet",
    "ranking-and-scoring/serp-ranking": "single confidence of text",
}
"""Those that ask several, and a recipe has to name one."""
REPEATED = {"ranking-and-scoring/document-retrieval"}
"""What has a label twice."""
SEEN = "Anna met\nZoë 👩‍👧 in the house of Acme"


def templates() -> dict[str, str]:
    """The labeling configs that come with the installed Label Studio."""
    [folder] = LabelStudioStack().install().parent.parent.glob("lib/python*/site-packages/label_studio")
    files = (folder / "annotation_templates").rglob("config.yml")
    return {str(Path(*file.parts[-3:-1])): yaml.safe_load(file.read_text(encoding="utf-8"))["config"] for file in files}


def asked(form: Form) -> str:
    return f"{form.labeling.kind} {form.control} of {', '.join(one.name for one in form.labeling.fields)}"


def test_every_template_is_learned_as_what_it_is_or_refused_by_name(label_studio: LabelStudioServer) -> None:
    found = templates()
    assert len(found) >= 69
    assert found.keys() >= LEARNED.keys() | NAMED.keys() | REPEATED
    for name, config in found.items():
        if name in LEARNED:
            assert asked(read_config(config)) == LEARNED[name]
            continue
        with pytest.raises(LabelingMismatch) as refused:
            read_config(config)
        said = str(refused.value)
        if name in NAMED:
            assert "the project asks several questions: Choices" in said
            assert "`question: " in said
            assert asked(read_config(config, NAMED[name].split()[1])) == NAMED[name]
        elif name in REPEATED:
            assert "labels repeat" in said
            assert "alias" in said
        else:
            assert "nextlabel learns Choices about Text" in said
            for tag, control in re.findall(r'<(\w+)[^>]*? name="([^"]+)"[^>]*? toName=', config):
                assert f"{tag} '{control}'" in said or tag in ("Chat", "Shortcut")


def project(server: LabelStudioServer, config: str, data: dict[str, Any]) -> tuple[str, int]:
    """A project that asks ``config``, and its one task."""
    made = api(server, "POST", "/api/projects/", json={"title": "a template", "label_config": config}).json()
    path = f"/api/projects/{made['id']}/import"
    answer = api(server, "POST", path, params={"return_task_ids": "true"}, json=[{"data": data}]).json()
    return str(made["id"]), answer["task_ids"][0]


def as_on_the_page(form: Form, value: Value) -> list[dict[str, Any]]:
    """What the page stores for ``value``, as it was seen to."""
    names = {"from_name": form.control, "to_name": form.target, "type": form.tag.lower(), "origin": "manual"}
    if form.labeling.kind is not LabelKind.SPAN:
        given = {"choices": list(value), "taxonomy": [str(label).split(" > ") for label in value]}
        return [{**names, "id": "xyz", "value": {form.tag.lower(): given[form.tag.lower()]}}]
    regions = []
    for number, one in enumerate(value):
        assert isinstance(one, Span)
        place: dict[str, Any] = {"start": one.start, "end": one.end, "text": SEEN[one.start : one.end]}
        if form.in_html:
            offsets = {"start": one.start, "end": one.end}
            node = "/p[1]/text()[1]"
            place = {"start": node, "end": node, "startOffset": 0, "endOffset": 4, "globalOffsets": offsets}
        regions.append({**names, "id": f"r{number}", "value": {**place, form.tag.lower(): [one.label]}})
    return regions


@pytest.mark.parametrize("name", [*LEARNED, *NAMED])
def test_what_is_learned_of_a_template_goes_both_ways(label_studio: LabelStudioServer, name: str) -> None:
    config = templates()[name]
    wanted = NAMED.get(name) or LEARNED[name]
    form = read_config(config, wanted.split()[1])
    asked = form.labeling
    filled = dict.fromkeys(re.findall(r'value="\$(\w+)"', config), SEEN) | {
        one.name: DOT if one.kind == "image" else SEEN for one in asked.fields
    }
    if asked.kind is LabelKind.SPAN:
        value: Value = (Span(0, 4, asked.labels[0]), Span(SEEN.index("Acme"), len(SEEN), asked.labels[-1]))
    else:
        value = asked.labels[-2 if asked.kind is LabelKind.MULTI else -1 :]
    number, task = project(label_studio, config, filled)
    made = as_on_the_page(form, value)
    api(label_studio, "POST", f"/api/tasks/{task}/annotations", json={"result": made, "lead_time": 1.0})
    connector = LabelStudioConnector.attach(label_studio.url, label_studio.token, number, question=form.control)
    try:
        connector.expect(asked)
        [read] = connector.changes(None).annotations
        assert read.value == value
        [record] = connector.records()
        assert set(record.record.fields) == {one.name for one in asked.fields}
        connector.publish("nl-1", [QueueEntry(str(task), 0, Suggestion(value, 0.9, "nl-1"))])
    finally:
        connector.close()
    [stored] = api(label_studio, "GET", "/api/predictions", params={"project": number}).json()
    told = {key: stored[key] for key in ("model_version", "score", "result")}
    assert LabelInterface(config).validate_prediction(told, return_errors=True) == []
