"""Classifiers of transformers as suggesters."""

from __future__ import annotations

import pytest

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.suggesters import SuggesterSpec, Surroundings, open_suggesters
from nextlabel.backend.suggesters.classifiers import of_transformers
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Labeling, LabelKind
from tests.backend.frozen.conftest import classifier


def test_a_classifier_of_texts_and_one_of_tokens(tmp_path_factory: pytest.TempPathFactory) -> None:
    texts = classifier(tmp_path_factory.mktemp("texts"), "BertForSequenceClassification", ("a", "b"))
    say, labels = of_transformers(str(texts), EncoderSpec(""), 1)
    assert labels == ("a", "b")
    assert sum(say(["the cat"])[0].probabilities.values()) == pytest.approx(1, abs=1e-5)
    tokens = classifier(tmp_path_factory.mktemp("tokens"), "BertForTokenClassification", ("O", "B-ART", "I-ART"))
    say, labels = of_transformers(str(tokens), EncoderSpec(""), 1)
    assert labels == ("ART",)
    assert all(mark.label == "ART" for mark in say(["the cat"])[0].marks)
    with pytest.raises(ConfigError, match="none of its labels is one of ours; it has 'a', 'b', ours are 'x', 'y'"):
        open_suggesters(
            [SuggesterSpec(model=str(texts))],
            Labeling(LabelKind.SINGLE, ("x", "y")),
            Surroundings(EncoderSpec(""), lambda spec: {}),
        )
