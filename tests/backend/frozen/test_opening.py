"""Models that others made say here what they say in transformers, and what is no model is refused in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.frozen import FrozenModel, open_model
from nextlabel.backend.questions import spans_of
from nextlabel.connectors.errors import ConfigError, LearningError
from nextlabel.connectors.records import LabelKind, Span
from tests.backend.tiny_bert import WORDS

from .conftest import Make

TEXTS = ["word1 word2 word3", "word7", " ".join(WORDS[:100]), "word9 word8 word7 word150 \ud800"]
LABELS = ("late", "rude", "wrong")


def opened(folder: Path) -> FrozenModel:
    return open_model(str(folder), EncoderSpec(str(folder)), threads=1)


@pytest.fixture(scope="module")
def single(make_classifier: Make) -> Path:
    return make_classifier("BertForSequenceClassification", LABELS)


@pytest.mark.parametrize("several", [False, True])
def test_a_classifier_of_texts_says_what_its_pipeline_says(make_classifier: Make, several: bool) -> None:
    from transformers import pipeline

    kind = "multi_label_classification" if several else "single_label_classification"
    folder = make_classifier("BertForSequenceClassification", LABELS, problem_type=kind)
    model = opened(folder)
    assert model.question.labeling.kind is (LabelKind.MULTI if several else LabelKind.SINGLE)
    found = [one.probabilities for one in model.predictions(model.read(TEXTS))]
    theirs = pipeline("text-classification", model=str(folder), top_k=None, truncation=True, max_length=64)
    for ours, text in zip(found, [*TEXTS[:3], TEXTS[3].replace("\ud800", "\ufffd")], strict=True):
        expected = {one["label"]: one["score"] for one in theirs([text])[0]}
        assert ours == pytest.approx(expected, abs=1e-5)


def test_a_text_is_answered_alike_alone_and_among_others(single: Path) -> None:
    model = opened(single)
    together = model.read(TEXTS * 20)
    alone = np.concatenate([model.read([text]) for text in TEXTS])
    assert np.allclose(together, np.tile(alone, (20, 1)), atol=1e-5)


def test_a_classifier_of_tokens_marks_spans(make_classifier: Make) -> None:
    tags = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG")
    model = opened(make_classifier("BertForTokenClassification", tags))
    assert model.question.labeling.kind is LabelKind.SPAN
    assert model.question.labeling.labels == ("PER", "ORG")
    found = model.predictions(model.read(TEXTS))
    spans = [span for one in found for span in spans_of(one.suggestion.value)]
    assert {span.label for span in spans} == {"PER", "ORG"}
    renamed = model.renamed({"PER": "person", "ORG": ""})
    assert renamed.question.labeling.labels == ("person",)
    kept = [span for one in renamed.predictions(renamed.read(TEXTS)) for span in spans_of(one.suggestion.value)]
    assert kept == [Span(one.start, one.end, "person") for one in spans if one.label == "PER"]


def test_labels_are_renamed_joined_and_left_out(single: Path) -> None:
    model = opened(single)
    before = model.read(TEXTS)
    joined = model.renamed({"late": "bad", "rude": "bad"})
    assert joined.question.labeling.labels == ("bad", "wrong")
    assert np.allclose(joined.read(TEXTS), np.stack([before[:, 0] + before[:, 1], before[:, 2]], axis=1), atol=1e-6)
    without = model.renamed({"wrong": ""})
    assert np.allclose(without.read(TEXTS), before[:, :2] / before[:, :2].sum(axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("names", "reason"),
    [({"lat": "x"}, "no label 'lat'; it has late, rude, wrong"), (dict.fromkeys(LABELS, ""), "none")],
)
def test_a_renaming_that_makes_no_sense_is_refused(single: Path, names: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        opened(single).renamed(names)


def test_of_several_labels_that_become_one_the_likeliest_counts(make_classifier: Make) -> None:
    kind = {"problem_type": "multi_label_classification"}
    model = opened(make_classifier("BertForSequenceClassification", LABELS, **kind))
    joined = model.renamed({"late": "bad", "rude": "bad"})
    assert np.allclose(joined.read(TEXTS)[:, 0], model.read(TEXTS)[:, :2].max(axis=1))


@pytest.mark.parametrize(
    ("name", "labels", "config", "reason"),
    [
        ("BertForSequenceClassification", ("score",), {}, "one number for a text"),
        ("BertForSequenceClassification", ("a", "a"), {}, "repeat"),
        ("BertModel", ("a", "b"), {}, "is no model yet: name it as `encoder:`"),
        ("BertForMaskedLM", ("a", "b"), {}, "BertForMaskedLM, and neither"),
        ("BertForTokenClassification", ("noun", "verb"), {}, "tags"),
        ("BertForSequenceClassification", ("a", "b"), {"auto_map": {"AutoModel": "theirs.Model"}}, "code of its own"),
    ],
)
def test_what_suggests_nothing_is_refused(
    make_classifier: Make, name: str, labels: tuple[str, ...], config: dict[str, object], reason: str
) -> None:
    folder = make_classifier(name, labels, **config)
    with pytest.raises(LearningError, match=reason):
        opened(folder)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LearningError, match=r"there is no model '\./nowhere'"):
        open_model("./nowhere", EncoderSpec("./nowhere"))
    with pytest.raises(LearningError, match="there is no model"):
        opened(tmp_path)
